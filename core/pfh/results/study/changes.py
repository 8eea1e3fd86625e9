"""The changes that a study's effects are made of: one a run, benchmark and document, positive for the good."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pfh.hooks.evaluation import Evaluation
from pfh.results.records import RunResults
from pfh.statistics.crossed import Scores
from pfh.statistics.paired import paired_benchmarks

if TYPE_CHECKING:
    from pandas import DataFrame


COLUMNS = [
    *("run", "start", "method", "domain", "seed", "family", "benchmark", "category", "document"),
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


def long_table(runs: Iterable[FinishedRun], read: Callable[[str], Evaluation | None]) -> DataFrame:
    """Return a row a run, benchmark and document: score before and after, and the change towards the good.

    Args:
        runs: finished ones; of each the last stage counts.
        read: returns the stored evaluation of a key.
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
                            "benchmark": x.name,
                            "category": sample.category,
                            "document": sample.id,
                            "before": sample.score,
                            "after": other.score,
                            "change": sign * (other.score - sample.score),
                        }
                    )
    return pd.DataFrame(rows, columns=COLUMNS)


def scores_of(table: DataFrame, within: Iterable[str] = ("benchmark",)) -> list[Scores]:
    """Return the changes of one cell as seeds x documents, one matrix for each of `within`.

    What lies over several starts or domains is one matrix each, so that they count equally.
    """
    found = []
    for name, part in table.groupby([*within, "start", "domain"], sort=True):
        wide = part.pivot_table(index="seed", columns="document", values="change", aggfunc="mean")
        benchmark: Hashable = name[:-2] if isinstance(name, tuple) else name
        found.append(
            Scores(
                benchmark=(benchmark, name[-2]) if isinstance(name, tuple) else benchmark,
                seeds=tuple(int(seed) for seed in wide.index),
                documents=tuple(map(str, wide.columns)),
                changes=np.asarray(wide.to_numpy(), dtype=np.float64),
            )
        )
    return found


def by_run(table: DataFrame) -> dict[str, dict[str, float]]:
    """Return of every run the mean change of each family, its benchmarks counted equally."""
    found: dict[str, dict[str, float]] = defaultdict(dict)
    if len(table):
        means = table.groupby(["run", "family", "benchmark"])["change"].mean().groupby(["run", "family"]).mean()
        for (run, family), value in means.items():
            found[str(run)][str(family)] = float(value)
    return dict(found)
