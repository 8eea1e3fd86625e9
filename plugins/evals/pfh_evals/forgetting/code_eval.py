"""The metric `code_eval` that lm-eval takes from the hub, over pfh's sandbox."""

from __future__ import annotations

import ast
import builtins
import contextlib
import re
import sys
from collections.abc import Iterator, Sequence
from types import ModuleType
from typing import Any

from pfh.sandbox import Limits, UnitTests, run_tests

LIMITS = Limits(seconds=10.0, cpu_seconds=5)


class SandboxedCodeEval:
    """Runs candidate programs with their tests where they can do no harm.

    Source: pass@k of Chen et al. 2021, arXiv 2107.03374, equation 1.
    """

    def compute(
        self, references: Sequence[str], predictions: Sequence[Sequence[str]], k: Sequence[int] = (1,)
    ) -> tuple[dict[str, float], dict[int, Any]]:
        """Return pass@k for every k, and nothing about the single runs.

        Args:
            references: a test program for each problem.
            predictions: candidate programs for each problem.
            k: the k of pass@k; those above the number of candidates are left out.

        Raises:
            UserError: programs cannot be confined here.
        """
        from statistics import mean

        passed = [
            [_passes(candidate, test) for candidate in candidates]
            for candidates, test in zip(predictions, references, strict=True)
        ]
        return {
            f"pass@{number}": mean(_pass_at_k(len(each), sum(each), number) for each in passed)
            for number in k
            if all(len(each) >= number for each in passed)
        }, {}


def _passes(candidate: str, test: str) -> bool:
    """Let the tests call the candidate's functions from a process that it cannot look into."""
    return run_tests(candidate, UnitTests(script=test, names=_names(candidate, test)), limits=LIMITS).status == "ok"


def _names(candidate: str, test: str) -> tuple[str, ...]:
    """Return what the tests use and do not define; a built-in name only where the candidate defines it."""
    tree = ast.parse(test)
    names = [node for node in ast.walk(tree) if isinstance(node, ast.Name)]
    bound = {name.id for name in names if not isinstance(name.ctx, ast.Load)}
    bound |= {node.arg for node in ast.walk(tree) if isinstance(node, ast.arg)}
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            bound.add(node.name)
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            bound |= {(alias.asname or alias.name).partition(".")[0] for alias in node.names}
    used = dict.fromkeys(name.id for name in names if name.id not in bound)
    return tuple(name for name in used if not hasattr(builtins, name) or _defines(candidate, name))


def _defines(candidate: str, name: str) -> bool:
    return re.search(rf"^(?:async\s+)?(?:def|class)\s+{name}\b|^{name}\s*=", candidate, re.MULTILINE) is not None


def _pass_at_k(n: int, correct: int, k: int) -> float:
    from math import comb

    return 1.0 - comb(n - correct, k) / comb(n, k)


@contextlib.contextmanager
def code_eval_from_sandbox() -> Iterator[None]:
    """Stand in for the library `evaluate` while task definitions are read that load `code_eval` and nothing else."""
    module = ModuleType("evaluate")
    module.load = _load  # type: ignore[attr-defined]
    original = sys.modules.get("evaluate")
    sys.modules["evaluate"] = module
    try:
        yield
    finally:
        del sys.modules["evaluate"]
        if original is not None:
            sys.modules["evaluate"] = original


def _load(name: str) -> SandboxedCodeEval:
    if name != "code_eval":
        raise ImportError(f"the metric {name!r} is not one that pfh brings")
    return SandboxedCodeEval()
