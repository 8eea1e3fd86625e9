"""How much a model differs from itself, and whether the change is more than that.

A model that is measured again, in other batches or under another seed, flips some samples. Whether training flipped
more is a test of its own: of |after - before| - |again - before| in the mean, sample by sample. It says nothing of the
direction, which McNemar's test or the t-test has found or not, and takes no verdict back.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from pfh.hooks.comparison import Comparison
from pfh.hooks.evaluation import Benchmark, Evaluation
from pfh.statistics.change import mean_change
from pfh.statistics.matrices import paired_samples, paired_scores
from pfh.statistics.verdicts import CONFIDENCE, SIGNIFICANCE


def with_noise_floor(
    rows: Sequence[Comparison], before: Evaluation, after: Evaluation, again: Evaluation
) -> tuple[Comparison, ...]:
    """Return `rows` with their noise floor: how much the scores of `before` differ from those of `again`.

    Args:
        rows: one family's comparisons of `before` and `after`.
        before: the model before.
        after: the model after.
        again: the model before, measured once more under another batching or another seed.
    """
    start, tuned, repeated = (
        {each.name: each for each in evaluation.benchmarks} for evaluation in (before, after, again)
    )
    return tuple(
        _with_noise_floor(row, start[row.benchmark], tuned[row.benchmark], repeated[row.benchmark])
        if row.status == "MEASURED" and row.benchmark in repeated
        else row
        for row in rows
    )


def _with_noise_floor(row: Comparison, before: Benchmark, after: Benchmark, again: Benchmark) -> Comparison:
    trained, itself = paired_samples(before, after), paired_samples(before, again)
    both = {x.id for x, _ in trained} & {x.id for x, _ in itself}
    scores, same = (paired_scores([[pair for pair in pairs if pair[0].id in both]]) for pairs in (trained, itself))
    whole = np.isfinite(scores.before[0]) & np.isfinite(scores.after[0]) & np.isfinite(same.after[0])
    if whole.sum() < 2:
        return row
    scores, same = scores.of(whole), same.of(whole)
    drift, floor = np.abs(scores.after - scores.before), np.abs(same.after - same.before)
    excess = mean_change(floor, drift, scores.clusters)
    low, high = excess.interval(CONFIDENCE)
    return replace(
        row,
        noise_floor=float(floor.mean()),
        noise_excess=excess.estimate,
        noise_excess_low=low,
        noise_excess_high=high,
        noise_p=excess.p_value,
        within_noise=excess.p_value > SIGNIFICANCE or excess.estimate <= 0,
    )
