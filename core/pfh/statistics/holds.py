"""Does a promise hold? Three-valued answers about shares and means, and what a number of samples can prove at all."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from pfh.statistics.change import is_binary, mean_change
from pfh.statistics.noninferiority import LEVEL, lower_limit, upper_limit

Held = Literal["holds", "broken", "undecided"]


def held(low: float, high: float, least: float) -> Held:
    """Say whether a figure between two one-sided limits is at least `least`."""
    return "holds" if low >= least else "broken" if high < least else "undecided"


def share_limits(count: int, n: int, *, level: float = LEVEL) -> tuple[float, float]:
    """Return the one-sided limits of a share (Clopper and Pearson 1934), each at `level`."""
    from scipy.stats import beta

    low = float(beta.ppf(1 - level, count, n - count + 1)) if count else 0.0
    high = float(beta.ppf(level, count + 1, n - count)) if count < n else 1.0
    return low, high


def mean_limits(scores: NDArray[np.float64], *, level: float = LEVEL) -> tuple[float, float]:
    """Return the one-sided limits of a mean score: exact for scores of 0 and 1, else of a t-interval."""
    if is_binary(scores):
        return share_limits(int(scores.sum()), len(scores), level=level)
    low, high = mean_change(np.zeros_like(scores), scores).interval(2 * level - 1)
    return max(low, 0.0), min(high, 1.0)


def change_limits(before: NDArray[np.float64], after: NDArray[np.float64]) -> tuple[float, float]:
    """Return the one-sided 95% limits of a mean change: Tango's for scores of 0 and 1, else of a t-interval."""
    if is_binary(np.concatenate([before, after])):
        lost, gained = int(np.sum(before > after)), int(np.sum(after > before))
        return float(lower_limit(lost, gained, len(after))), float(upper_limit(lost, gained, len(after)))
    return mean_change(before, after).interval(2 * LEVEL - 1)


def provable_share(n: int) -> float:
    """Return the largest share that n samples prove, if every one of them holds."""
    return float((1 - LEVEL) ** (1 / n))


def provable_margin(n: int) -> float:
    """Return the smallest loss that n pairs exclude, if no score changes."""
    return -float(lower_limit(0, 0, n))


def failing(counts: Sequence[tuple[int, int]], rate: float) -> list[int]:
    """Return the places of those (held, tried) whose own rate is below `rate`: exact binomial tests, Holm-adjusted.

    A raw rule such as "8 of 10" fails a prompt that truly holds nine times of ten in 7% of runs.
    """
    from scipy.stats import binom

    p_values = sorted((float(binom.cdf(count, tried, rate)), place) for place, (count, tried) in enumerate(counts))
    found = []
    for rank, (p_value, place) in enumerate(p_values):
        if p_value * (len(counts) - rank) > 1 - LEVEL:
            break
        found.append(place)
    return sorted(found)
