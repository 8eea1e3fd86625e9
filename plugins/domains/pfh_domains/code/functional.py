"""Tests that compare what a function returns, as LiveCodeBench does: a tuple is as good as a list."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from typing import Any

_COMPARISON = '''
def same(got, wanted, any_order=False):
    """Equal, tuples being lists and arrays being lists of their items."""
    got, wanted = plain(got), plain(wanted)
    if any_order and isinstance(got, list) and isinstance(wanted, list):
        return sorted(map(repr, got)) == sorted(map(repr, wanted))
    if isinstance(got, float) or isinstance(wanted, float):
        numbers = all(isinstance(side, (int, float)) and not isinstance(side, bool) for side in (got, wanted))
        return got == wanted or (numbers and abs(got - wanted) <= 1e-9 * max(1.0, abs(wanted)) < float("inf"))
    return type(got) in (type(wanted), bool, int) and got == wanted

def plain(value):
    if value is None or isinstance(value, (bool, int, float, str, bytes, dict, complex)):
        return value
    if isinstance(value, (list, tuple, range)):
        return [plain(item) for item in value]
    return plain(value.tolist()) if type(value).__name__ == "Remote" else value
'''

_EVERYTHING = "string re datetime collections heapq bisect copy math random itertools functools operator io sys json"
JUDGE_IMPORTS = "".join(f"from {module} import *\n" for module in _EVERYTHING.split()) + (
    f"import {', '.join(_EVERYTHING.split())}\n"
    "from typing import *\nfrom builtins import *\nfrom functools import cache, lru_cache\n"
)
"""What the judge of such problems has imported, as LiveCodeBench's does: starters use List, programs what they like."""
NODES = """
class ListNode:
    def __init__(self, val=0, next=None):
        self.val, self.next = val, next

class TreeNode:
    def __init__(self, val=0, left=None, right=None):
        self.val, self.left, self.right = val, left, right
"""
"""What starters of linked lists and binary trees presume, for the program."""
NODE_TESTS = """
def list_node(values):
    head = None
    for value in reversed(values):
        head = ListNode(value, head)
    return head

def tree_node(values):
    if not values or values[0] is None:
        return None
    rest = iter(values[1:])
    root = TreeNode(values[0])
    level = [root]
    while level:
        below = []
        for node in level:
            for side in ("left", "right"):
                value = next(rest, None)
                if value is not None:
                    child = TreeNode(value)
                    setattr(node, side, child)
                    below.append(child)
        level = below
    return root

def is_same_list(ours, theirs):
    while ours is not None and theirs is not None:
        if ours.val != theirs.val:
            return False
        ours, theirs = ours.next, theirs.next
    return ours is None and theirs is None

def is_same_tree(ours, theirs):
    if ours is None or theirs is None:
        return ours is None and theirs is None
    return (ours.val == theirs.val and is_same_tree(ours.left, theirs.left)
            and is_same_tree(ours.right, theirs.right))
"""
"""How tests make and compare such nodes, in their own process."""
_MADE = {"list_node": "ListNode", "is_same_list": "ListNode", "tree_node": "TreeNode", "is_same_tree": "TreeNode"}


def with_nodes(names: Sequence[str]) -> tuple[tuple[str, ...], str]:
    """Return the names that the program offers, and what the tests define themselves."""
    if not any(name in _MADE for name in names):
        return tuple(names), ""
    return tuple(dict.fromkeys(_MADE.get(name, name) for name in names)), NODE_TESTS


def call(name: str, arguments: Sequence[Any], wanted: Any) -> str:  # noqa: ANN401 - JSON
    """Return the test that `name` returns `wanted` for `arguments`."""
    return f"assert {name}({', '.join(map(repr, arguments))}) == {wanted!r}"


def with_comparison(script: str, *, any_order: bool = False) -> str:
    """Return tests whose comparisons for equality in assertions are made by `same`."""
    tree = _Compared(any_order).visit(ast.parse(script))
    return f"{_COMPARISON}\n{ast.unparse(ast.fix_missing_locations(tree))}"


def epilogue(names: Sequence[str]) -> str:
    """Return Python behind a program that offers a method of its class Solution under the name of a function."""
    return "\n".join(
        f"\nif {name!r} not in globals() and hasattr(globals().get('Solution'), {name!r}):\n"
        f"    {name} = lambda *given, **named: Solution().{name}(*given, **named)\n"
        for name in names
        if name != "Solution"
    )


class _Compared(ast.NodeTransformer):
    def __init__(self, any_order: bool) -> None:
        self._any_order = any_order

    def visit_Assert(self, node: ast.Assert) -> ast.Assert:
        match node.test:
            case ast.Compare(left=got, ops=[ast.Eq()], comparators=[wanted]):
                arguments = [got, wanted, *([ast.Constant(True)] if self._any_order else [])]
                node.test = ast.Call(func=ast.Name("same", ast.Load()), args=arguments, keywords=[])
        return node
