"""Tests from inputs and a reference solution, as EvalPlus makes them (Liu et al. 2023, arXiv 2305.01210).

The script that is made here runs in the sandbox, in the process of the tests.
"""

from __future__ import annotations

import ast
import math
import textwrap
from typing import Any

from pfh.hooks.datasets import Row

MOST_INPUTS = 50
"""Further inputs of a problem that are tried, evenly spread: some references take seconds for all of them."""
ROOT_OF_POLYNOMIAL = "find_zero"
"""Has many right answers: what it returns is put into the polynomial."""
ANY_ORDER = frozenset(
    {
        "Diff", "common_in_nested_lists", "extract_singly", "find_char_long", "find_dissimilar", "intersection_array",
        "larg_nnum", "similar_elements",
    }
)  # fmt: skip
"""Functions of MBPP whose task does not say in which order the items come."""

_COMPARE = '''
import copy

def close(got, wanted):
    """Equal, or of the same shape with all floats within the tolerance."""
    if got == wanted:
        return True
    if isinstance(got, float) and abs(got) == inf or isinstance(wanted, float) and abs(wanted) == inf:
        return False
    if isinstance(wanted, float) or (TOLERANCE and isinstance(wanted, int)):
        return isinstance(got, (int, float)) and abs(got - wanted) <= (TOLERANCE or 1e-6) + 1e-7 * abs(wanted)
    if isinstance(wanted, (list, tuple)):
        return type(got) is type(wanted) and len(got) == len(wanted) and all(map(close, got, wanted))
    return False

def agree(arguments, got, wanted):
    if RULE == "root":
        return abs(poly(arguments[0], got)) <= 1e-4
    if RULE == "any order":
        return sorted(got, key=repr) == sorted(wanted, key=repr)
    return close(got, wanted) or (got != got and wanted != wanted)

reference = {}
exec(REFERENCE, reference)
compared = 0
for must_be_valid, inputs in ((False, BASE), (True, PLUS)):
    for arguments in inputs:
        try:
            if must_be_valid:
                contract(*copy.deepcopy(arguments))
            wanted = reference[ENTRY_POINT](*copy.deepcopy(arguments))
        except Exception:
            continue
        assert agree(arguments, PROGRAM(*copy.deepcopy(arguments)), wanted), arguments
        compared += 1
assert compared, "the problem has no valid input"
'''


def comparison_script(row: Row, *, reference: str, contract: str = "") -> str:
    """Return tests that compare the program with `reference` on the inputs of `row` that raise nothing.

    Args:
        row: `entry_point`, `base_input`, `plus_input` and, where given, `atol`.
        reference: the reference solution, from its imports to its end.
        contract: lines that raise for an input that is not valid, where `reference` does not hold them itself.
    """
    entry_point = row["entry_point"]
    rule = "root" if entry_point == ROOT_OF_POLYNOMIAL else "any order" if entry_point in ANY_ORDER else "close"
    known = {
        "REFERENCE": reference,
        "ENTRY_POINT": entry_point,
        "BASE": row["base_input"],
        "PLUS": _spread(row["plus_input"]),
        "TOLERANCE": row.get("atol", 0),
        "RULE": rule,
    }
    constants = 'inf, nan = float("inf"), float("nan")\n'
    constants += "".join(f"{name} = {value!r}\n" for name, value in known.items())
    return f"PROGRAM = {entry_point}\n{constants}{_contract(reference, entry_point, contract)}{_COMPARE}"


def _spread(inputs: list[Any]) -> list[Any]:
    step = max(1, math.ceil(len(inputs) / MOST_INPUTS))
    return inputs[::step]


def _contract(reference: str, entry_point: str, contract: str) -> str:
    """Return the contract as a function of the reference's parameters, which raises for an input that is not valid."""
    functions = [node for node in ast.parse(reference).body if isinstance(node, ast.FunctionDef)]
    function = next(node for node in functions if node.name == entry_point)
    for argument in (*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs):
        argument.annotation = None  # may name what is not imported here
    body = textwrap.indent(textwrap.dedent(contract), "    ")
    return f"import math\n\ndef contract({ast.unparse(function.args)}):\n{body}\n    return None\n"
