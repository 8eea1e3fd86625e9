"""Tango's score interval for a difference of paired shares.

Source: Tango 1998, Statistics in Medicine 17:891. A difference is in the interval if the score test does not reject it;
at 0 that test is McNemar's. Unlike Wald's interval it has width where no pair changed.
"""

from __future__ import annotations

import math
from collections.abc import Callable

HALVINGS = 40


def tango_interval(lost: float, gained: float, pairs: float, quantile: float) -> tuple[float, float]:
    """Return the interval of (gained - lost) / pairs.

    Args:
        lost: pairs that went from 1 to 0; counts may be divided by a design effect.
        gained: pairs that went from 0 to 1.
        pairs: all pairs.
        quantile: of the standard normal (or t) distribution, such as 1.96 for 95%.
    """
    estimate = (gained - lost) / pairs

    def distance(difference: float) -> float:
        return abs(_score(lost, gained, pairs, difference)) - quantile

    return root(distance, estimate, -1.0), root(distance, estimate, 1.0)


def _score(lost: float, gained: float, pairs: float, difference: float) -> float:
    """Return the score statistic of `difference`, with its variance at the most likely shares that have it."""
    a = 2 * pairs
    b = -lost - gained + (2 * pairs - gained + lost) * difference
    c = -lost * difference * (1 - difference)
    share = (math.sqrt(max(b * b - 4 * a * c, 0.0)) - b) / (2 * a)
    variance = pairs * (2 * share + difference * (1 - difference))
    apart = gained - lost - pairs * difference
    if variance <= 0:
        return math.copysign(math.inf, apart) if apart else 0.0
    return apart / math.sqrt(variance)


def root(distance: Callable[[float], float], inside: float, outside: float) -> float:
    """Return where `distance` turns positive on the way from `inside` to `outside`; `outside` if it does not."""
    if distance(outside) <= 0:
        return outside
    for _ in range(HALVINGS):
        middle = (inside + outside) / 2
        inside, outside = (inside, middle) if distance(middle) > 0 else (middle, outside)
    return (inside + outside) / 2
