"""What the contamination check finds between training prompts and held-out sets, and how long it takes.

`PFH_DATA_MIRROR=... python contamination.py` compares all training prompts of each domain, as far as the data here has
them, with the domain's held-out sets and with nq_open as lm-eval puts it. It then times the check on made-up texts.
"""

from __future__ import annotations

import argparse
import random
import time
from collections.abc import Iterator

from pfh.errors import DataUnavailableError, UserError
from pfh.hooks.domains import Domain, DomainSpec, Problem
from pfh.registry.plugins import Plugins
from pfh.results.overlap import PromptIndex, find_overlaps, index_prompts
from pfh.sources.datasets import HubData
from rich.console import Console
from rich.table import Table

GROUNDS = (
    ("math", {"dataset": "Math12K"}),
    ("math", {"dataset": "DeepScaleR40K"}),
    ("qa", {"dataset": "NaturalQuestions"}),
    ("qa", {"dataset": "HotpotQA"}),
    ("code", {"dataset": "MBPP-train"}),
    ("code", {"dataset": "CodeContest"}),
    ("reasoning", {}),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--documents", type=int, default=100_000)
    parser.add_argument("--prompts", type=int, default=12_000)
    parser.add_argument("--words", type=int, default=80)
    arguments = parser.parse_args()
    table = Table("training prompts", "count", "evaluated", "documents", "exact", "13-gram", "for example")
    for name, options in GROUNDS:
        for row in compared(name, options):
            table.add_row(*map(str, row))
    Console().print(table)
    timed(arguments.prompts, arguments.documents, arguments.words)


def compared(name: str, options: dict[str, str]) -> Iterator[tuple[str | int, ...]]:
    """Yield a row for each set that is evaluated."""
    plugins, data = Plugins(), HubData()
    domain = plugins.open_domain(name, DomainSpec(options=plugins.options("domains", name, options), data=data))
    title = f"{name} {options.get('dataset', '')}"
    try:
        prompts = every_problem(domain)
    except DataUnavailableError as error:
        yield title, 0, str(error).partition(":")[0], "", "", "", ""
        return
    index = index_prompts(prompts)
    for holdout in domain.holdouts:
        try:
            problems = domain.holdout(holdout)
        except DataUnavailableError:
            yield title, len(prompts), holdout, "not here", "", "", ""
            continue
        documents = {problem.id: problem.messages[-1]["content"] for problem in problems}
        yield title, len(prompts), holdout, len(documents), *counts(index, documents)
    if name == "qa":
        rows = data.load("google-research-datasets/nq_open", "nq_open", "validation").rows
        documents = {f"nq_open {number}": f"Q: {row['question']}?\nA:" for number, row in enumerate(rows)}
        yield title, len(prompts), "nq_open (lm-eval)", len(documents), *counts(index, documents)


def every_problem(domain: Domain) -> tuple[Problem, ...]:
    """Return all training problems, or the first 2,000 of a domain that makes them."""
    if domain.name == "reasoning":
        return domain.problems("train", 2000, 0)
    low, high = 1, 50_000
    while low < high:
        middle = (low + high + 1) // 2
        try:
            domain.problems("train", middle, 0)
            low = middle
        except DataUnavailableError:
            raise
        except UserError:
            high = middle - 1
    return domain.problems("train", low, 0)


def counts(index: PromptIndex, documents: dict[str, str]) -> tuple[int, int, str]:
    found = find_overlaps(index, documents)
    exact = sum(overlap.kind == "exact" for overlap in found.values())
    example = next(iter(found.items()), None)
    return exact, len(found) - exact, f"{example[0]}: {example[1].problem}" if example else ""


def timed(prompts: int, documents: int, words: int) -> None:
    dice = random.Random(0)
    known = ["".join(dice.choices("abcdefghijklmnop", k=dice.randint(2, 8))) for _ in range(20_000)]
    texts = [" ".join(dice.choices(known, k=words)) for _ in range(prompts + documents)]
    problems = [
        Problem(id=str(number), environment="made up", messages=({"role": "user", "content": text},), answer="")
        for number, text in enumerate(texts[:prompts])
    ]
    began = time.perf_counter()
    index = index_prompts(problems)
    indexed = time.perf_counter()
    find_overlaps(index, dict(enumerate(texts[prompts:])))  # type: ignore[arg-type]
    looked_up = time.perf_counter()
    print(f"{prompts:,} prompts of {words} words indexed in {indexed - began:.1f} s")
    print(f"{documents:,} documents of {words} words looked up in {looked_up - indexed:.1f} s")


if __name__ == "__main__":
    main()
