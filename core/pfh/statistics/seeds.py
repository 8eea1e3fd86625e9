"""Several seeds and repeated measurements: what holds under every seed, and how much a model differs from itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from pfh.hooks.comparison import CategoryComparison, Comparison, IntervalMethod
from pfh.hooks.evaluation import Benchmark, Evaluation
from pfh.hooks.samples import Sample
from pfh.statistics.paired import (
    CONFIDENCE,
    FEW_DISCORDANT,
    MINIMUM_PAIRS,
    RESAMPLES,
    adjust_family,
    compare_evaluations,
    effect_size,
    forgetting,
    is_binary,
    paired_interval,
    paired_p_value,
    paired_samples,
    without_ceilings,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray


FEW_COLUMNS = 512
"""Up to so many distinct columns of differences a bootstrap draw is multinomial."""


DRAWN_AT_ONCE = 1 << 20
"""So many differences are held at a time while documents are drawn."""


Pair = tuple[Sample, Sample]


def compare_seeds(pairs: Sequence[tuple[Evaluation, Evaluation]], *, seed: int = 0) -> tuple[Comparison, ...]:
    """Compare a family that was measured before and after under several seeds, on the documents that all have.

    Means, transitions and counts are over all samples. The interval is a hierarchical bootstrap: seeds are drawn, and
    documents, so it tells of other seeds and other documents. The test compares each document's mean over the seeds.

    Args:
        pairs: evaluations before and after, one pair a seed.
        seed: of the bootstrap.
    """
    first = compare_evaluations(*pairs[0], seed=seed)
    named = [[_by_name(evaluation) for evaluation in pair] for pair in pairs]
    rows = []
    for row in first:
        found = [(before.get(row.benchmark), after.get(row.benchmark)) for before, after in named]
        measured = [(x, y) for x, y in found if x and y and x.status == y.status == "MEASURED"]
        if row.status not in ("MEASURED", "INSUFFICIENT"):
            rows.append(row)
        elif len(measured) < len(pairs):
            rows.append(_without_figures(row, "NOT_RUN", "not measured under every seed"))
        else:
            rows.append(_compare(row, measured, seed))
    return adjust_family(rows)


def hierarchical_interval(difference: NDArray[np.float64], *, seed: int = 0) -> tuple[float, float]:
    """Return a 95% interval of the mean of `difference`, shape (seeds, documents).

    Percentile bootstrap over two crossed levels (Owen 2007, doi 10.1214/07-AOAS122): in every draw seeds are drawn
    with replacement, and documents with replacement.
    """
    generator = np.random.default_rng(seed)
    seeds, documents = difference.shape
    weights = generator.multinomial(seeds, [1 / seeds] * seeds, size=RESAMPLES)
    columns, counts = np.unique(difference, axis=1, return_counts=True)
    if columns.shape[1] <= FEW_COLUMNS:
        sums = generator.multinomial(documents, counts / documents, size=RESAMPLES) @ columns.T
    else:
        sums = _redrawn(difference, generator)
    means = (sums * weights).sum(axis=1) / (seeds * documents)
    low, high = np.quantile(means, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return float(low), float(high)


def with_noise_floor(
    rows: Sequence[Comparison], before: Evaluation, after: Evaluation, again: Evaluation
) -> tuple[Comparison, ...]:
    """Return `rows` with their noise floor: how much the scores of `before` differ from those of `again`.

    A difference between before and after that is not above it is no finding.

    Args:
        rows: one family's comparisons of `before` and `after`.
        before: the model before.
        after: the model after.
        again: the model before, measured once more under another batching or another seed.
    """
    return tuple(_with_noise_floor(row, *map(_by_name, (before, after, again))) for row in rows)


def _with_noise_floor(
    row: Comparison,
    before: Mapping[str, Benchmark],
    after: Mapping[str, Benchmark],
    again: Mapping[str, Benchmark],
) -> Comparison:
    repeated = again.get(row.benchmark)
    if row.status != "MEASURED" or repeated is None:
        return row
    floor = _distance(before[row.benchmark], repeated)
    drift = _distance(before[row.benchmark], after[row.benchmark])
    if floor is None or drift is None:
        return row
    within = drift <= floor
    verdict = "no evidence of change" if within else row.verdict
    return replace(row, noise_floor=floor, within_noise=within, verdict=verdict)


def _distance(before: Benchmark, after: Benchmark) -> float | None:
    """Return the mean absolute difference of the scores; for binary scores the share of samples that flipped."""
    apart = [
        abs(y.score - x.score) for x, y in paired_samples(before, after) if x.score is not None and y.score is not None
    ]
    return sum(apart) / len(apart) if apart else None


def _compare(row: Comparison, measured: Sequence[tuple[Benchmark, Benchmark]], seed: int) -> Comparison:
    by_seed = [{x.id: (x, y) for x, y in paired_samples(before, after)} for before, after in measured]
    documents = [key for key in by_seed[0] if all(key in pairs and _is_scored(pairs[key]) for pairs in by_seed)]
    if len(documents) < MINIMUM_PAIRS:
        return _without_figures(
            row, "INSUFFICIENT", f"{len(documents)} documents were scored before and after under every seed"
        )
    before, after = _matrices(by_seed, documents)
    choices = [by_seed[0][key][0].choices for key in documents] * len(by_seed)
    binary = is_binary(before) and is_binary(after)
    low, high, method = _interval(before, after, seed)
    every = [pair for pairs in by_seed for pair in pairs.values()]
    return replace(
        row,
        status="MEASURED",
        reason="",
        seeds=len(by_seed),
        n=before.size,
        before=float(before.mean()),
        after=float(after.mean()),
        delta=float((after - before).mean()),
        ci_low=low,
        ci_high=high,
        ci_method=method,
        n10=int(np.sum(after < before)) if binary else None,
        n01=int(np.sum(after > before)) if binary else None,
        n10_every_seed=int(np.all(after < before, axis=0).sum()) if binary else None,
        n01_every_seed=int(np.all(after > before, axis=0).sum()) if binary else None,
        p_value=paired_p_value(before.mean(axis=0), after.mean(axis=0)),
        **forgetting(before.ravel(), after.ravel(), choices, row.higher_is_better),
        effect_size=effect_size(before.mean(axis=0), after.mean(axis=0)),
        format_failures_before=sum(sample.status == "format_failure" for sample, _ in every),
        format_failures_after=sum(sample.status == "format_failure" for _, sample in every),
        truncated_before=sum(sample.status == "truncated" for sample, _ in every),
        truncated_after=sum(sample.status == "truncated" for _, sample in every),
        categories=_by_category(by_seed, documents, row.higher_is_better, seed),
    )


def _interval(
    before: NDArray[np.float64], after: NDArray[np.float64], seed: int
) -> tuple[float, float, IntervalMethod]:
    """Return the interval of mean(after - before), and how it was made: of one seed where few documents changed."""
    changed = np.count_nonzero(np.any(after != before, axis=0))
    if is_binary(before) and is_binary(after) and changed < FEW_DISCORDANT:
        return paired_interval(before[0], after[0], seed=seed)
    return *hierarchical_interval(after - before, seed=seed), "hierarchical bootstrap"


def _by_category(
    by_seed: Sequence[Mapping[str, Pair]], documents: Sequence[str], higher_is_better: bool | None, seed: int
) -> tuple[CategoryComparison, ...]:
    groups: dict[str, list[str]] = {}
    for key in documents:
        groups.setdefault(by_seed[0][key][0].category, []).append(key)
    return tuple(_category(name, by_seed, groups[name], higher_is_better, seed) for name in sorted(groups) if name)


def _category(
    name: str,
    by_seed: Sequence[Mapping[str, Pair]],
    documents: Sequence[str],
    higher_is_better: bool | None,
    seed: int,
) -> CategoryComparison:
    before, after = _matrices(by_seed, documents)
    choices = [by_seed[0][key][0].choices for key in documents] * len(by_seed)
    binary = is_binary(before) and is_binary(after)
    low, high, _ = _interval(before, after, seed)
    p_value = paired_p_value(before.mean(axis=0), after.mean(axis=0))
    return CategoryComparison(
        category=name,
        n=before.size,
        before=float(before.mean()),
        after=float(after.mean()),
        delta=float((after - before).mean()),
        ci_low=low,
        ci_high=high,
        n10=int(np.sum(after < before)) if binary else None,
        n01=int(np.sum(after > before)) if binary else None,
        p_value=p_value,
        p_adjusted=p_value,
        **without_ceilings(forgetting(before.ravel(), after.ravel(), choices, higher_is_better)),
    )


def _matrices(
    by_seed: Sequence[Mapping[str, Pair]], documents: Sequence[str]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the scores before and after, each of shape (seeds, documents)."""
    before = [[pairs[key][0].score for key in documents] for pairs in by_seed]
    after = [[pairs[key][1].score for key in documents] for pairs in by_seed]
    return np.array(before, dtype=float), np.array(after, dtype=float)


def _redrawn(difference: NDArray[np.float64], generator: np.random.Generator) -> NDArray[np.float64]:
    """Return the sums over documents drawn with replacement, shape (RESAMPLES, seeds)."""
    seeds, documents = difference.shape
    at_once = max(1, DRAWN_AT_ONCE // difference.size)
    sums = np.empty((RESAMPLES, seeds))
    for start in range(0, RESAMPLES, at_once):
        rows = min(at_once, RESAMPLES - start)
        drawn = generator.integers(0, documents, size=(rows, documents))
        sums[start : start + rows] = difference[:, drawn].sum(axis=2).T
    return sums


def _is_scored(pair: Pair) -> bool:
    return pair[0].score is not None and pair[1].score is not None


def _by_name(evaluation: Evaluation) -> dict[str, Benchmark]:
    return {benchmark.name: benchmark for benchmark in evaluation.benchmarks}


def _without_figures(row: Comparison, status: str, reason: str) -> Comparison:
    return Comparison(
        benchmark=row.benchmark,
        version=row.version,
        metric=row.metric,
        higher_is_better=row.higher_is_better,
        judge=row.judge,
        source=row.source,
        status=status,  # type: ignore[arg-type]
        reason=reason,
    )
