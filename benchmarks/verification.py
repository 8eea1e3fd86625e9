"""Verified answers per second: pfh's code domain against GEM's CodeEnv (`PFH_DATA_MIRROR=... python verification.py`).

Both judge the same completions of the same problems of axon-rl/CodeContest, with the same tests (GEM's own choice: the
12 with the longest inputs). GEM steps one environment; it runs the tests of a problem in five threads, unconfined, as
it comes. pfh confines every program. Rounds alternate, so that a busy machine slows both; rewards are compared.

Three kinds of completions, timed apart:
  right     looks its input up in a table, so it passes every test (in GEM too)
  wrong     prints one word: what most programs of a small model amount to
  crashing  raises at once
"""

from __future__ import annotations

import argparse
import json
import logging
import time
from collections.abc import Sequence

from datasets import Dataset as HubRows
from gem.envs.code_env import CodeEnv
from pfh.hooks.domains import DomainSpec, Problem
from pfh.sources.datasets import HubData
from pfh_domains import code
from pfh_domains.code.checks import StdinTests, from_answer
from pfh_domains.code.settings import Options
from rich.console import Console
from rich.table import Table

KINDS = ("right", "wrong", "crashing")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--problems", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    logging.disable(logging.INFO)  # importing gem turns on logging for everything
    domain = code.open_domain(DomainSpec(options=Options(dataset="CodeContest", min_tests=1), data=HubData()))
    problems = domain.problems("train", arguments.problems, seed=0)
    gem = gem_environment(problems)
    console = Console()
    table = Table(title=f"{len(problems)} problems, {arguments.rounds} rounds: verified answers per second")
    for column in ("completions", "tests a problem", "pfh", "GEM", "times as fast", "rewards agree"):
        table.add_column(column, justify="left" if column == "completions" else "right")
    tests = sum(len(tests_of(problem).inputs) for problem in problems) / len(problems)
    domain.verify(problems[0], "```python\npass\n```")
    totals = [0.0, 0.0]
    for kind in KINDS:
        completions = [completion(problem, kind) for problem in problems]
        ours = theirs = 0.0
        agree = 0
        for _ in range(arguments.rounds):
            started = time.perf_counter()
            verdicts = domain.verify_many(problems, completions)
            ours += time.perf_counter() - started
            started = time.perf_counter()
            rewards = gem_rewards(gem, problems, completions)
            theirs += time.perf_counter() - started
            agree += sum(verdict.reward == reward for verdict, reward in zip(verdicts, rewards, strict=True))
        add(table, kind, tests, len(problems) * arguments.rounds, ours, theirs, agree)
        totals = [totals[0] + ours, totals[1] + theirs]
    add(table, "all three", tests, len(KINDS) * len(problems) * arguments.rounds, *totals, None)
    console.print(table)


def tests_of(problem: Problem) -> StdinTests:
    checks = from_answer(problem.answer)
    assert isinstance(checks, StdinTests)
    return checks


def completion(problem: Problem, kind: str) -> str:
    if kind == "right":
        tests = tests_of(problem)
        known = dict(zip(tests.inputs, tests.outputs, strict=True))
        program = f"import sys\nknown = {known!r}\nprint(known[sys.stdin.read()])"
    else:
        program = "print('word')" if kind == "wrong" else "raise ValueError"
    return f"```python\n{program}\n```"


def gem_environment(problems: Sequence[Problem]) -> CodeEnv:
    rows = [{"problem": problem.id, "tests": problem.answer} for problem in problems]
    return CodeEnv(dataset_name="axon-rl/CodeContest", dataset=HubRows.from_list(rows))


def gem_rewards(gem: CodeEnv, problems: Sequence[Problem], completions: Sequence[str]) -> list[float]:
    rewards = []
    for problem, text in zip(problems, completions, strict=True):
        tests = json.loads(problem.answer)
        gem.set_state({"first_obs": problem.id, "tests": {name: tests[name] for name in ("inputs", "outputs")}})
        rewards.append(gem.step(text)[1])
    return rewards


def add(table: Table, kind: str, tests: float, count: int, ours: float, theirs: float, agree: int | None) -> None:
    share = "" if agree is None else f"{agree}/{count}"
    table.add_row(kind, f"{tests:.1f}", f"{count / ours:.1f}", f"{count / theirs:.1f}", f"{theirs / ours:.1f}", share)


if __name__ == "__main__":
    main()
