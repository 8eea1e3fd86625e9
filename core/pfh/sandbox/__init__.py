"""Runs what a model writes: without network, with private files, within limits, and always ended.

    outcome = run_python("print(input())", stdin="hello")      one program
    outcomes = run_many([Job(code=...), ...])                  many, over the cores
    outcome = run_tests(code, UnitTests(script=..., names=...))    its functions, called by tests that it cannot see

docs/how-to/sandbox.md says what is confined and how, and what a program can still do.
"""

from pfh.sandbox.running import (
    Job,
    Limits,
    Outcome,
    Program,
    Status,
    UnitTests,
    available,
    in_parallel,
    run_many,
    run_python,
    run_tests,
)
from pfh.sandbox.warm import UNSAFE_VARIABLE

__all__ = [
    "UNSAFE_VARIABLE",
    "Job",
    "Limits",
    "Outcome",
    "Program",
    "Status",
    "UnitTests",
    "available",
    "in_parallel",
    "run_many",
    "run_python",
    "run_tests",
]
