"""Verified answers per second: the math domain against GEM's MathEnv (`PFH_DATA_MIRROR=... verification_math.py`).

Both judge the same completions of the same problems of axon-rl/MATH-12k. GEM steps one environment, as it comes: with a
process of its own that gives up after one second. pfh judges them all together. Both are warmed up first, and rounds
alternate, so that a busy machine slows both; rewards are compared.

Kinds of completions, timed apart:
  right     the reference answer in a box
  wrong     the reference answer of the next problem
  symbolic  likewise, among the problems whose answer is no plain number: those need computer algebra
  none      a sentence without a box
"""

from __future__ import annotations

import argparse
import logging
import time
from collections.abc import Sequence

from datasets import Dataset as HubRows
from gem.envs.math_env import MathEnv
from pfh.hooks.domains import Problem
from pfh.sources.datasets import HubData
from pfh_domains.math import Math
from pfh_domains.math.plain import number, simplified
from pfh_domains.math.settings import Options
from rich.console import Console
from rich.table import Table

KINDS = ("right", "wrong", "symbolic", "none")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--problems", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    logging.disable(logging.WARNING)  # importing gem turns on logging for everything
    domain = Math(Options(answer_format="boxed"), HubData())
    problems = domain.problems("train", arguments.problems, seed=0)
    gem = MathEnv(dataset=HubRows.from_list([{"problem": one.id, "answer": one.answer} for one in problems]))
    console = Console()
    table = Table(title=f"{len(problems)} problems, {arguments.rounds} rounds: verified answers per second")
    for column in ("completions", "pfh", "GEM", "times as fast", "rewards agree"):
        table.add_column(column, justify="left" if column == "completions" else "right")
    symbolic = [problem for problem in problems if number(simplified(problem.answer)) is None]
    warm_up = completions_of(symbolic[:10], "wrong")
    domain.verify_many(symbolic[:10], warm_up)
    gem_rewards(gem, symbolic[:10], warm_up)
    totals, count = [0.0, 0.0], 0
    for kind in KINDS:
        asked = symbolic if kind == "symbolic" else problems
        completions = completions_of(asked, kind)
        ours = theirs = 0.0
        agree = 0
        for _ in range(arguments.rounds):
            started = time.perf_counter()
            verdicts = domain.verify_many(asked, completions)
            ours += time.perf_counter() - started
            started = time.perf_counter()
            rewards = gem_rewards(gem, asked, completions)
            theirs += time.perf_counter() - started
            agree += sum(verdict.reward == reward for verdict, reward in zip(verdicts, rewards, strict=True))
        add(table, kind, len(asked) * arguments.rounds, ours, theirs, agree)
        count += len(asked) * arguments.rounds
        totals = [totals[0] + ours, totals[1] + theirs]
    add(table, "all", count, *totals, None)
    console.print(table)
    domain.close()
    gem.mp_pool.terminate()


def completions_of(problems: Sequence[Problem], kind: str) -> list[str]:
    answers = [problem.answer for problem in problems]
    if kind == "none":
        return ["I do not know the answer to this problem."] * len(answers)
    if kind in ("wrong", "symbolic"):
        answers = [*answers[1:], answers[0]]
    return [f"Let me think. The answer is \\boxed{{{answer}}}." for answer in answers]


def gem_rewards(gem: MathEnv, problems: Sequence[Problem], completions: Sequence[str]) -> list[float]:
    rewards = []
    for problem, text in zip(problems, completions, strict=True):
        gem.set_state({"first_obs": problem.id, "answer": problem.answer})
        rewards.append(float(gem.step(text)[1]))
    return rewards


def add(table: Table, kind: str, count: int, ours: float, theirs: float, agree: int | None) -> None:
    share = "" if agree is None else f"{agree}/{count}"
    table.add_row(kind, f"{count / ours:.1f}", f"{count / theirs:.1f}", f"{theirs / ours:.1f}", share)


if __name__ == "__main__":
    main()
