"""Is a paired difference of shares above a margin? Tango's score limits, and how many samples would tell.

Tango (1998), Statistics in Medicine 17:891. Wald limits, and with them the percentile bootstrap, say "not worse" of a
loss that is exactly the margin in up to 62% of cases at 24 samples; Tango's in at most 6% (held by a test that
enumerates every outcome).
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

LEVEL = 0.95
"""Of one-sided limits."""
_HALVINGS = 60


def score_statistic(n10: ArrayLike, n01: ArrayLike, n: float, difference: ArrayLike) -> NDArray[np.float64]:
    """Return Tango's z for the hypothesis that the share after minus the share before is `difference`.

    Args:
        n10: samples that scored 1 before and 0 after.
        n01: samples that scored 0 before and 1 after.
        n: samples.
        difference: between -1 and 1.
    """
    lost, gained, shift = (np.asarray(value, dtype=float) for value in (n10, n01, difference))
    # The likeliest share of losses q under the hypothesis solves 2n q^2 + b q - lost * shift * (1 - shift) = 0.
    b = -gained - lost + (2 * n - gained + lost) * shift
    root = np.sqrt(np.maximum(b**2 + 8 * n * lost * shift * (1 - shift), 0))
    share = (root - b) / (4 * n)
    variance = np.maximum(n * (2 * share + shift * (1 - shift)), 1e-12)
    return np.asarray((gained - lost - n * shift) / np.sqrt(variance), dtype=float)


def lower_limit(n10: ArrayLike, n01: ArrayLike, n: float, *, level: float = LEVEL) -> NDArray[np.float64]:
    """Return the one-sided lower limit of the share after minus the share before, by bisection."""
    from scipy.stats import norm

    lost, gained = np.broadcast_arrays(np.asarray(n10, dtype=float), np.asarray(n01, dtype=float))
    critical = norm.ppf(level)
    high = (gained - lost) / n - 1e-12
    low = np.minimum(np.full(high.shape, -1 + 1e-9), high)
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        accepted = score_statistic(lost, gained, n, middle) < critical
        high, low = np.where(accepted, middle, high), np.where(accepted, low, middle)
    return np.asarray(low, dtype=float)


def upper_limit(n10: ArrayLike, n01: ArrayLike, n: float, *, level: float = LEVEL) -> NDArray[np.float64]:
    """Return the one-sided upper limit: the lower one of the same table with losses and gains exchanged, negated."""
    return -lower_limit(n01, n10, n, level=level)


def deciding_samples(flips: float, difference: float, threshold: float, *, level: float = LEVEL) -> int | None:
    """Return how many samples would put the limit on one side of `threshold`, if all else stayed as it is.

    Args:
        flips: share of samples whose score changed.
        difference: the share after minus the share before.
        threshold: what the limit must not cross.
        level: of the one-sided limit.

    Returns:
        A number of samples; None where the difference stands on the threshold itself.
    """
    from scipy.stats import norm

    distance = difference - threshold
    if abs(distance) < 1e-9:
        return None
    return math.ceil(float(norm.ppf(level)) ** 2 * max(flips - difference**2, 0.0) / distance**2)


def chance_to_hold(n: int, flips: float, margin: float, *, level: float = LEVEL) -> float:
    """Return the probability that a model that did not change is found not worse by `margin` (Connor 1987).

    Args:
        n: samples.
        flips: share of samples whose score changes from one measurement to the next, as often one way as the other.
        margin: the loss that is still accepted, above 0.
        level: of the one-sided limit.
    """
    from scipy.stats import norm

    spread = math.sqrt(max(flips, 1 / n) / n)
    return float(norm.cdf(margin / spread - norm.ppf(level)))
