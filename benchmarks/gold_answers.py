"""Do gold answers earn 1? All rows of the domains math and qa (`PFH_DATA_MIRROR=... python gold_answers.py`).

The completion is the domain's own solution: the reference answer in the form that the domain asks for, after the worked
solution where the dataset has one. `math500, worked` are the solutions of MATH-500 as they are, whose boxes are written
by other hands than the reference answers. Rows that earn less are listed. The exit code is 1 where a set falls under
99.5%.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator, Sequence

from pfh.errors import DataUnavailableError
from pfh.hooks.domains import Domain, Problem, verify_each
from pfh.sources.datasets import HubData
from pfh_domains.math import Math
from pfh_domains.math.settings import TRAINING_SETS as MATH_SETS
from pfh_domains.math.settings import Options as MathOptions
from pfh_domains.qa import Qa
from pfh_domains.qa.settings import TRAINING_SETS as QA_SETS
from pfh_domains.qa.settings import Options as QaOptions
from rich.console import Console
from rich.table import Table

WANTED = 0.995
NO_LIMIT = 10**9


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.parse_args()
    console = Console()
    table = Table(title="Gold answers")
    for column in ("domain", "set", "rows", "earn 1", "share", "seconds"):
        table.add_column(column, justify="left" if column in ("domain", "set") else "right")
    missed: list[tuple[Problem, str]] = []
    fell_short = False
    for domain, name, problems, completions in sets(console):
        began = time.perf_counter()
        verdicts = verify_each(domain, problems, completions)
        seconds = time.perf_counter() - began
        right = sum(verdict.reward == 1 for verdict in verdicts)
        missed += [
            (problem, completion)
            for problem, completion, verdict in zip(problems, completions, verdicts, strict=True)
            if verdict.reward != 1
        ]
        fell_short |= right < WANTED * len(problems)
        share = f"{right / len(problems):.2%}"
        table.add_row(domain.name, name, str(len(problems)), str(right), share, f"{seconds:.1f}")
    console.print(table)
    for problem, completion in missed:
        console.print(f"{problem.id}: reference {problem.answer!r}, completion {completion[-100:]!r}", markup=False)
    sys.exit(int(fell_short))


def sets(console: Console) -> Iterator[tuple[Domain, str, Sequence[Problem], Sequence[str]]]:
    """Yield (domain, name, problems, completions) of everything that can be had."""
    data = HubData()
    for domain in (
        *(
            Math(MathOptions(dataset=name, answer_format="boxed", max_prompt_chars=NO_LIMIT), data)
            for name in MATH_SETS
        ),
        *(Qa(QaOptions(dataset=name, answer_format="tagged", max_prompt_chars=NO_LIMIT), data) for name in QA_SETS),
    ):
        dataset = domain.options.dataset
        try:
            problems = domain.every_problem()
        except DataUnavailableError as error:
            console.print(f"{domain.name}, {dataset}: {error}", markup=False)
            continue
        yield domain, dataset, problems, [problem.solution or "" for problem in problems]
    math, qa = Math(MathOptions(answer_format="boxed"), data), Qa(QaOptions(answer_format="tagged"), data)
    for domain in (math, qa):
        for name in domain.holdouts:
            problems = domain.holdout(name)
            yield domain, name, problems, [problem.solution or "" for problem in problems]
    worked = [row["solution"] for row in data.load("HuggingFaceH4/MATH-500", "default", "test").rows]
    yield math, "math500, worked", math.holdout("math500"), worked


if __name__ == "__main__":
    main()
