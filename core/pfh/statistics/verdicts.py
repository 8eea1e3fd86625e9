"""The verdict on a change: real, no larger than a margin, or undecided, with the samples that would decide.

A change is real if its adjusted p-value says so. If not, two one-sided tests (Schuirmann 1987), which is the 90%
interval against the margin, tell whether a change as large as the margin is excluded: both ways ("equivalent"), or as a
loss.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from pfh.hooks.comparison import ChangeVerdict, Comparison
from pfh.statistics.change import Change
from pfh.statistics.power import detectable_mean, detectable_share, documents_to_decide

if TYPE_CHECKING:
    from numpy.typing import NDArray


CONFIDENCE = 0.95


SIGNIFICANCE = 0.05
"""Level for the adjusted p-value below which a difference is called real."""


MARGIN = 0.05
"""Changes of at most five points count as none, of scores between 0 and 1."""


MARGIN_IN_DEVIATIONS = 0.2
"""Of other scores, changes of at most this share of their standard deviation before: Cohen's small effect."""


def chosen_margin(before: NDArray[np.float64], given: float | None) -> float | None:
    """Return the largest change that counts as none; None for scores that are all the same, and not within 0 and 1.

    Args:
        before: the scores before.
        given: for scores between 0 and 1, in place of `MARGIN`; others have a scale of their own.
    """
    if before.min() >= 0 and before.max() <= 1:
        return MARGIN if given is None else given
    return MARGIN_IN_DEVIATIONS * float(before.std()) or None


def with_margin(
    row: Comparison, change: Change, worst: Sequence[Change], before: NDArray[np.float64], margin: float | None
) -> Comparison:
    """Return the row with the margin, the interval that is compared with it, and the power of its test.

    Args:
        row: a comparison with its figures.
        change: what they are of.
        worst: the changes between which the missing scores may move it; `change` alone where none is missing.
        before: the scores before.
        margin: the largest change that counts as none, of scores between 0 and 1; None is the default.
    """
    chosen = chosen_margin(before, margin)
    ends = [each.interval(1 - 2 * SIGNIFICANCE) for each in worst]
    n_eff = before.size / change.design_effect
    variance = change.variance * before.size
    if change.counts is not None:
        flips = (change.counts.lost + change.counts.gained) / before.size
        detectable = detectable_share(n_eff, flips)
    else:
        detectable = detectable_mean(change.standard_error) if 0 < change.standard_error < np.inf else None
    return replace(
        row,
        standard_error=math.sqrt(change.variance) if change.variance < math.inf else None,
        margin=chosen,
        margin_low=min(low for low, _ in ends),
        margin_high=max(high for _, high in ends),
        detectable=detectable,
        n_to_decide=documents_to_decide(variance, chosen) if chosen and variance < np.inf else None,
    )


def verdict(row: Comparison) -> ChangeVerdict:
    """Return the verdict on a row that has its adjusted p-value."""
    if row.p_adjusted is None or row.delta is None:
        return "not measured"
    delta = row.delta if row.people_delta is None else row.people_delta
    low, high = (row.judge_low, row.judge_high) if row.people_delta is None else (None, None)
    level = SIGNIFICANCE if row.looked is None else row.looked.level
    if row.p_adjusted <= level and low is not None and high is not None and low <= 0 <= high:
        return "undecided"  # provisional: within the judge's error
    if row.p_adjusted <= level:
        if row.higher_is_better is None:
            return "changed"
        return "better" if (delta > 0) == row.higher_is_better else "worse"
    if row.looked is not None:
        return "equivalent" if row.looked.within_margin else "undecided"
    if row.margin is None or row.margin_low is None or row.margin_high is None:
        return "undecided"
    no_loss, no_gain = -row.margin < row.margin_low, row.margin_high < row.margin
    if no_loss and no_gain:
        return "equivalent"
    excluded = no_loss if row.higher_is_better else no_gain
    return "no loss above the margin" if excluded and row.higher_is_better is not None else "undecided"
