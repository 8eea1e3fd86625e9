"""The changes that a study's effects are made of: one a run, benchmark and document, positive for the good."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pfh.hooks.evaluation import Evaluation
from pfh.results.records import RunResults
from pfh.statistics.crossed import Scores
from pfh.statistics.paired import paired_benchmarks

if TYPE_CHECKING:
    from pandas import DataFrame, Series


COLUMNS = [
    *("run", "start", "method", "domain", "seed", "family", "benchmark_category", "benchmark", "category", "document"),
    *("before", "after", "change"),
]


@dataclass(frozen=True, kw_only=True)
class FinishedRun:
    """A run with what it is in the study."""

    name: str
    start: str
    kind: str
    """base, safe or empty."""
    scale: float | None
    method: str
    label: str
    axes: Mapping[str, object]
    domain: str
    seed: int
    phase: str
    results: RunResults


def long_table(
    runs: Iterable[FinishedRun],
    read: Callable[[str], Evaluation | None],
    category: Callable[[str, str], str] = lambda family, benchmark: "",
) -> DataFrame:
    """Return a row a run, benchmark and document: score before and after, and the change towards the good.

    Args:
        runs: finished ones; of each the last stage counts.
        read: returns the stored evaluation of a key.
        category: returns that of a family's benchmark; empty where there is none.
    """
    import pandas as pd

    rows: list[dict[str, object]] = []
    for run in runs:
        stage = run.results.stages[-1]
        for record in stage.families:
            before, after = read(record.before_artifact), read(record.after_artifact)
            if before is None or after is None:
                continue
            for x, y in paired_benchmarks(before, after):
                if x.higher_is_better is None or x.comparative or x.same_documents_as:
                    continue
                later = {sample.id: sample for sample in y.samples}
                kind = category(record.family, x.name)
                sign = 1.0 if x.higher_is_better else -1.0
                for sample in x.samples:
                    other = later.get(sample.id)
                    if other is None or sample.score is None or other.score is None:
                        continue
                    rows.append(
                        {
                            "run": run.name,
                            "start": run.start,
                            "method": run.label,
                            "domain": run.domain,
                            "seed": run.seed,
                            "family": record.family,
                            "benchmark_category": kind,
                            "benchmark": x.name,
                            "category": sample.category,
                            "document": sample.id,
                            "before": sample.score,
                            "after": other.score,
                            "change": sign * (other.score - sample.score),
                        }
                    )
    return pd.DataFrame(rows, columns=COLUMNS)


def scores_of(table: DataFrame) -> list[Scores]:
    """Return the changes of one cell: of every benchmark from every start in every domain seeds x documents.

    Starts and domains count equally, within each of them categories of benchmarks, and within these benchmarks.
    """
    weights = weights_of(table)
    found = []
    for (benchmark, start, domain), part in table.groupby(["benchmark", "start", "domain"], sort=True):
        wide = part.pivot_table(index="seed", columns="document", values="change", aggfunc="mean")
        found.append(
            Scores(
                benchmark=(benchmark, start),
                seeds=tuple(int(seed) for seed in wide.index),
                documents=tuple(map(str, wide.columns)),
                changes=np.asarray(wide.to_numpy(), dtype=np.float64),
                weight=weights[str(benchmark), str(start), str(domain)],
            )
        )
    return found


def weights_of(table: DataFrame) -> dict[tuple[str, str, str], float]:
    """Return by (benchmark, start, domain) what it counts for; those of one start and domain add up to 1."""
    there = table[["start", "domain", "benchmark_category", "benchmark"]].drop_duplicates()
    found: dict[tuple[str, str, str], float] = {}
    for (start, domain), cell in there.groupby(["start", "domain"]):
        sizes = cell["benchmark_category"].value_counts()
        for category, benchmark in zip(cell["benchmark_category"], cell["benchmark"], strict=True):
            found[str(benchmark), str(start), str(domain)] = 1 / (len(sizes) * int(sizes[category]))
    return found


def mean_changes(table: DataFrame, by: list[str]) -> Series[float]:
    """Return the mean change for each of `by`: benchmarks count equally in their category, and categories equally."""
    means = table.groupby([*by, "benchmark_category", "benchmark"])["change"].mean()
    return means.groupby([*by, "benchmark_category"]).mean().groupby(by).mean()


def by_run(table: DataFrame) -> dict[str, dict[str, float]]:
    """Return of every run the mean change of each family."""
    found: dict[str, dict[str, float]] = defaultdict(dict)
    if len(table):
        for (run, family), value in mean_changes(table, ["run", "family"]).items():
            found[str(run)][str(family)] = float(value)
    return dict(found)
