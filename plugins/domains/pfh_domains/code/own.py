"""Tests of a user's own: assertions, inputs and outputs as datasets have them, or what this domain stores."""

from __future__ import annotations

import ast
import builtins
import json
import re
from collections.abc import Sequence
from typing import Any

from pfh_domains.code.checks import CallTests, Checks, StdinTests, from_answer
from pfh_domains.code.functional import JUDGE_IMPORTS, NODES, call, epilogue, with_comparison, with_nodes
from pfh_domains.code.variants import variants_of

_HEAD = re.compile(r"^(?:from|import|def|class|@|#|\s)", re.MULTILINE)


def own_checks(prompt: str, answers: Sequence[str]) -> Checks:
    """Return the tests that `answers` hold, all of which a program must pass.

    Raises:
        ValueError: they are no tests; says which forms there are.
    """
    try:
        given = json.loads(answers[0]) if len(answers) == 1 else None
    except json.JSONDecodeError:
        given = None
    if isinstance(given, dict) and "kind" in given:
        return from_answer(answers[0])
    if isinstance(given, dict) and {"inputs", "outputs"} <= given.keys():
        pairs = list(zip(given["inputs"], given["outputs"], strict=False))
        return _from_pairs(prompt, pairs, given.get("fn_name"))
    if isinstance(given, list) and given and all(isinstance(one, dict) and "input" in one for one in given):
        pairs = [(one["input"], one["output"]) for one in given]
        name = next((one["fn_name"] for one in given if one.get("fn_name")), None)
        return _from_pairs(prompt, pairs, name)
    return _from_script(prompt, "\n".join(answers))


def _from_pairs(prompt: str, pairs: Sequence[tuple[Any, Any]], name: str | None) -> Checks:
    if not pairs:
        raise ValueError("the answer holds no test")
    if name is None:
        inputs, outputs = (tuple(_text(pair[side]) for pair in pairs) for side in (0, 1))
        variants = variants_of(prompt)
        return StdinTests(inputs=inputs, outputs=outputs, any_case=variants.any_case, tolerance=variants.tolerance)
    calls = [call(name, given if isinstance(given, list) else [given], wanted) for given, wanted in pairs]
    return _calls(prompt, "\n".join(calls), (name,))


def _from_script(prompt: str, script: str) -> CallTests:
    try:
        tree = ast.parse(script)
    except SyntaxError:
        raise ValueError(
            "the answer is neither Python assertions nor JSON with inputs and outputs, so no program can be tested"
        ) from None
    for place, node in enumerate(tree.body):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Compare):
            tree.body[place] = ast.copy_location(ast.Assert(test=node.value), node)
    names = names_of(tree)
    if not names:
        raise ValueError("the answer's tests call nothing that a program could define")
    return _calls(prompt, ast.unparse(ast.fix_missing_locations(tree)), names)


def _calls(prompt: str, script: str, names: tuple[str, ...]) -> CallTests:
    head = _function_head(prompt, names[0])
    names, setup = with_nodes(names)
    return CallTests(
        script=with_comparison(script, any_order=variants_of(prompt).any_order),
        names=names,
        setup=setup,
        prelude=f"{JUDGE_IMPORTS}{NODES}{head if _is_whole(head) else ''}",
        prompt=head,
        epilogue=epilogue(names),
    )


def names_of(tree: ast.Module) -> tuple[str, ...]:
    """Return the names that tests use and neither define nor find among the built-in ones."""
    loaded = [node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)]
    bound = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load)}
    bound |= {node.arg for node in ast.walk(tree) if isinstance(node, ast.arg)}
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            bound.add(node.name)
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            bound |= {(alias.asname or alias.name).partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ExceptHandler) and node.name:
            bound.add(node.name)
    return tuple(dict.fromkeys(name for name in loaded if name not in bound and not hasattr(builtins, name)))


def _function_head(prompt: str, name: str) -> str:
    """Return the Python of a prompt that ends in the head of the function `name`, which a completion may go on with."""
    block = re.search(r"```(?:python)?\n(.*?)```", prompt, re.DOTALL)
    code = block[1] if block else prompt
    found = re.search(rf"^def {re.escape(name)}\(", code, re.MULTILINE)
    if not found or not _HEAD.match(code):
        return ""
    return re.sub(r":[ \t]*\.\.\.\s*$", ":\n", code.rstrip() + "\n")


def _is_whole(head: str) -> bool:
    """Whether the head of a function can run as it is: it has a docstring, or follows whole functions."""
    try:
        ast.parse(head)
    except SyntaxError:
        return False
    return True


def _text(value: Any) -> str:  # noqa: ANN401 - JSON
    return "\n".join(map(str, value)) if isinstance(value, list) else str(value)
