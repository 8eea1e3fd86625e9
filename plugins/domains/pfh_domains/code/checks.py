"""What a problem of this domain is checked by, and the check: the ground truth in `Problem.answer`, as JSON."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from typing import Any

from pfh.sandbox import Limits, Outcome, Program, UnitTests, run_tests

from pfh_domains.code.variants import same_output

PACKAGES = ("numpy",)
"""Installed packages that a program may import beside the standard library."""
PRELUDE = """\
import bisect, collections, copy, datetime, fractions, functools, heapq, io, itertools, math, operator, os, random, re
import string, sys, time
from bisect import bisect_left, bisect_right, insort
from collections import Counter, OrderedDict, defaultdict, deque, namedtuple
from copy import deepcopy
from functools import cache, cmp_to_key, lru_cache, reduce
from heapq import heapify, heappop, heappush, heappushpop, heapreplace, nlargest, nsmallest
from itertools import accumulate, chain, combinations, count, groupby, islice, permutations, product, repeat
from math import ceil, comb, factorial, floor, gcd, inf, isqrt, log, log2, log10, pi, sqrt
from typing import Any, Callable, Deque, Dict, Iterable, Iterator, List, Optional, Set, Tuple, Union
"""
"""What a contest program that fails for a missing name is run with once more, as in GEM; it hides no built-in name."""


@dataclass(frozen=True, kw_only=True)
class StdinTests:
    """Inputs for standard input, and what must then be on standard output."""

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    any_case: bool = False
    """Letters may be of any case."""
    tolerance: float = 0.0
    """Error, absolute or relative, that numbers may have; 0 compares their text."""


@dataclass(frozen=True, kw_only=True)
class CallTests:
    """Tests that call functions of the program."""

    script: str
    """Python that raises where the program is wrong; the program never sees it."""
    names: tuple[str, ...]
    """What the program defines and the script uses."""
    setup: str = ""
    """Python that the script relies on."""
    prelude: str = ""
    """Python that runs before the program, such as the head of the function that it completes."""
    prompt: str = ""
    """What an indented completion goes on from."""
    epilogue: str = ""
    """Python that runs behind the program."""


Checks = StdinTests | CallTests


def to_answer(checks: Checks) -> str:
    """Return `checks` as JSON."""
    kind = "stdin" if isinstance(checks, StdinTests) else "calls"
    usual = {field.name: field.default for field in fields(checks)}
    return json.dumps({"kind": kind, **{name: value for name, value in asdict(checks).items() if value != usual[name]}})


def from_answer(answer: str) -> Checks:
    """Read what `to_answer` wrote."""
    given: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in json.loads(answer).items()
    }
    return StdinTests(**given) if given.pop("kind") == "stdin" else CallTests(**given)


def lookup_program(checks: StdinTests) -> str:
    """Return a program that knows the wanted output of every input: what a sound verifier must accept."""
    table = dict(zip(checks.inputs, checks.outputs, strict=True))
    return f"import sys\nprint({table!r}[sys.stdin.read()])"


def passes(program: str, checks: Checks, limits: Limits) -> bool:
    """Whether `program` passes every check; it stops at the first that fails.

    Raises:
        UserError: programs cannot be confined here.
    """
    if isinstance(checks, CallTests):
        tests = UnitTests(script=checks.script, names=checks.names, setup=checks.setup)
        program = f"{program}\n{checks.epilogue}" if checks.epilogue else program
        return run_tests(program, tests, prelude=checks.prelude, limits=limits, packages=PACKAGES).status == "ok"
    failed = _first_failure(program, "", checks, limits)
    if failed is not None and "NameError" in failed.stderr:
        failed = _first_failure(program, PRELUDE, checks, limits)
    return failed is None


def _first_failure(program: str, prelude: str, checks: StdinTests, limits: Limits) -> Outcome | None:
    with Program(program, prelude=prelude, limits=limits, packages=PACKAGES) as started:
        for given, wanted in zip(checks.inputs, checks.outputs, strict=True):
            outcome = started.run(given)
            right = same_output(
                lines(outcome.stdout), lines(wanted), any_case=checks.any_case, tolerance=checks.tolerance
            )
            if outcome.status != "ok" or not right:
                return outcome
    return None


def lines(output: str) -> list[str]:
    """Return the lines that count: blanks at the end of a line, and blank lines at both ends, do not."""
    return [line.rstrip() for line in output.strip().split("\n")]
