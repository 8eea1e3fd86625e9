"""What the spread between runs goes with: variance components of a mixed model, for each family."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from pfh.results.study.changes import FinishedRun
from pfh.results.study.records import Share
from pfh.statistics.components import components, known_covariance

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from pandas import DataFrame

NONE = "none"


def shares_of(runs: Sequence[FinishedRun], table: DataFrame) -> tuple[Share, ...]:
    """Return the variance components of the trained runs' changes; the part of the documents is known from them."""
    trained = {run.name: run for run in runs if run.method != NONE}
    found: list[Share] = []
    for family, rows in table[table["run"].isin(list(trained))].groupby("family", sort=True):
        names = sorted(rows["run"].unique())
        if len(names) < 3:
            continue
        changes, weights = _matrices(rows, names)
        values = _weighted(np.stack([_mean(each) for each in changes]), weights)
        if float(np.ptp(values)) == 0:
            continue
        known = known_covariance(changes, [f"{trained[name].label}/{trained[name].start}" for name in names], weights)
        sources = _sources([trained[name] for name in names])
        parts = components(values, known, sources)
        documents = float(np.diag(known).mean())
        total = documents + sum(part.variance for part in parts)
        found += [
            Share(
                family=str(family),
                source=part.source,
                share=part.variance / total,
                deviation=math.sqrt(part.variance),
                low=math.sqrt(part.low),
                high=math.sqrt(part.high) if math.isfinite(part.high) else None,
            )
            for part in parts
        ]
        error = math.sqrt(documents)
        found.append(Share(family=str(family), source="documents", share=documents / total, deviation=error))
    return tuple(found)


def _matrices(rows: DataFrame, names: Sequence[str]) -> tuple[list[NDArray[np.float64]], list[float]]:
    """Return of each benchmark runs x documents, and what it counts for."""
    made, weights = [], []
    sizes = rows.groupby("benchmark_category")["benchmark"].nunique()
    for (category, _), part in rows.groupby(["benchmark_category", "benchmark"], sort=True):
        wide = part.pivot_table(index="run", columns="document", values="change", aggfunc="mean").reindex(names)
        made.append(np.asarray(wide.to_numpy(), dtype=np.float64))
        weights.append(1 / (len(sizes) * float(sizes[category])))
    return made, weights


def _mean(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the mean of what is there in each row; NaN where nothing is."""
    there = np.isfinite(values)
    counts = there.sum(axis=1)
    return np.where(counts, np.where(there, values, 0.0).sum(axis=1) / np.maximum(counts, 1), np.nan)


def _weighted(values: NDArray[np.float64], weights: Sequence[float]) -> NDArray[np.float64]:
    """Return the weighted mean over the first axis of what is there; NaN where nothing is."""
    there = np.isfinite(values)
    counted = np.where(there, np.asarray(weights)[:, None], 0.0)
    total = counted.sum(axis=0)
    sums = (counted * np.where(there, values, 0.0)).sum(axis=0)
    return np.where(total > 0, sums / np.where(total > 0, total, 1.0), np.nan)


def _sources(runs: Sequence[FinishedRun]) -> Mapping[str, Sequence[str]]:
    """Return what runs differ in, each source as levels; of two that mean the same the first one."""
    cells = [f"{run.label}/{run.domain}/{run.start}" for run in runs]
    candidates = {
        "method": [run.method for run in runs],
        "hyper-parameter": [run.label for run in runs],
        "domain": [run.domain for run in runs],
        "start": [run.start for run in runs],
        "method by domain": [f"{run.label}/{run.domain}" for run in runs],
        "method by start": [f"{run.label}/{run.start}" for run in runs],
    }
    several = len(set(cells)) < len(cells)
    found: dict[str, Sequence[str]] = {}
    seen: set[tuple[int, ...]] = set()
    for name, levels in candidates.items():
        places = {level: place for place, level in enumerate(dict.fromkeys(levels))}
        coded = tuple(places[level] for level in levels)
        if 1 < len(places) < len(runs) and coded not in seen:
            seen.add(coded)
            found[name] = levels
    return {**found, ("seed" if several else "seed and rest"): [run.name for run in runs]}
