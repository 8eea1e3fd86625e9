"""How large a change must be to be found, and how many documents it takes to tell.

Sources: Connor 1987 (Biometrics 43:207) for paired shares; for means and equivalence the normal approximation, as in
Schuirmann 1987 (J. Pharmacokinet. Biopharm. 15:657).
"""

from __future__ import annotations

import math

POWER = 0.8
"""A change counts as one that would be found if it is found in this share of runs."""


FLIPS = 0.15
"""Share of the samples that are taken to flip where nothing is known of it."""


LEAST_FLIPS = 5
"""So many flips are counted on at least: fewer cannot show a change."""


def documents_needed(change: float, flips: float, *, level: float = 0.05, power: float = POWER) -> float:
    """Return how many independent samples show a change of a share.

    Args:
        change: of the share of samples that score 1.
        flips: share of the samples that change sides, at least `change`.
        level: of the two-sided test.
        power: share of runs in which it is found.
    """
    spread = math.sqrt(max(flips - change**2, 0.0))
    return float((_z(1 - level / 2) * math.sqrt(flips) + _z(power) * spread) ** 2 / change**2)


def detectable_share(n: float, flips: float = FLIPS, *, level: float = 0.05, power: float = POWER) -> float | None:
    """Return the smallest change of a share that `n` independent samples show; None if they show none.

    Args:
        n: samples; of clusters of m with correlation r as many as n / (1 + (m - 1) r).
        flips: share of the samples that change sides; `LEAST_FLIPS` of n are counted on at least.
        level: of the two-sided test.
        power: share of runs in which it is found.
    """
    from scipy.optimize import brentq

    sides = min(max(flips, LEAST_FLIPS / n), 1.0)
    if documents_needed(1.0, 1.0, level=level, power=power) > n:
        return None

    def lacking(change: float) -> float:
        """Say how many more samples it takes than there are; a change beyond the usual flips is all one way."""
        return documents_needed(change, max(sides, change), level=level, power=power) - n

    return float(brentq(lacking, 1e-6, 1.0))


def detectable_mean(standard_error: float, *, level: float = 0.05, power: float = POWER) -> float:
    """Return the smallest change of a mean that is found, with the standard error that the mean change has."""
    return (_z(1 - level / 2) + _z(power)) * standard_error


def documents_to_decide(variance: float, margin: float, *, level: float = 0.05, power: float = POWER) -> int:
    """Return how many samples show that there is no change as large as `margin`, if there is none at all.

    Args:
        variance: of one sample's change, times the design effect.
        margin: the largest change that counts as none.
        level: of each of the two one-sided tests.
        power: share of runs in which both reject.
    """
    return math.ceil(variance * (_z(1 - level) + _z((1 + power) / 2)) ** 2 / margin**2)


def _z(probability: float) -> float:
    from scipy.special import ndtri

    return float(ndtri(probability))
