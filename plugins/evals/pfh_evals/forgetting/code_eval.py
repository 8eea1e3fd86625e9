"""The metric `code_eval` that lm-eval takes from the hub, over pfh's sandbox."""

from __future__ import annotations

import contextlib
import secrets
import sys
from collections.abc import Iterator, Sequence
from types import ModuleType
from typing import Any

from pfh.sandbox import Limits, run_python

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
    """Run the tests behind the candidate; only a program that gets to its last line has passed."""
    token = secrets.token_hex(16)
    outcome = run_python(f"{candidate}\n{test}\nprint('\\n{token}')", limits=LIMITS)
    return outcome.status == "ok" and outcome.stdout.rstrip().endswith(token)


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
