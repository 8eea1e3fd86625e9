"""A comparison that looks at its samples as they come, and may stop at any of them without losing its guarantee.

Evidence is an e-value: a bet against a hypothesis whose expected return is at most 1 while the hypothesis holds,
however long one plays and whenever one stops. It exceeds 1/level with a chance of at most `level`, at any look (Ville
1939).

- Of bounded scores, a hypothesis on the mean of the paired differences is bet against with many constant stakes at once
  (Waudby-Smith & Ramdas 2024, JRSS B 86:1, arXiv 2010.09686).
- Of scores of 0 and 1, only the samples that changed sides tell, each a coin that is fair if nothing changed: the
  likelihood of a coin of unknown bias, averaged over Jeffreys's prior, against that of a fair one.

The order of the samples is to be drawn before the first look, so that what was looked at is a random part of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

Stop = Literal["worse", "better", "no change larger than the margin", "undecided"]

STAKES = np.geomspace(0.01, 0.9, 24)
"""Shares of the greatest stake that cannot lose all."""
PRIOR = 0.5
"""Both parameters of the beta prior of the coin."""


@dataclass(frozen=True, kw_only=True)
class Stopped:
    """Where a comparison stopped, and what its evidence was there."""

    verdict: Stop
    n: int
    """Samples that were looked at."""
    change: float
    """Mean difference over them; it is a little too far from 0 where the comparison stopped for it."""
    e_change: float
    """Evidence against no change."""
    e_margin: float
    """Evidence against a change as large as the margin, of the direction that has less."""


def stopped(
    differences: NDArray[np.float64], *, margin: float, level: float = 0.05, binary: bool, least: int = 1
) -> Stopped:
    """Return where a comparison stops; "undecided" at the end of the samples.

    If there is no change, "worse" and "better" together come out with a chance of at most `level`; if there is one as
    large as the margin, so does "no change larger than the margin".

    Args:
        differences: after - before within [-1, 1], above 0 where it is better, in an order that was drawn beforehand.
        margin: the change that matters, within (0, 1).
        level: the chance of a false stop, over all looks.
        binary: every difference is -1, 0 or 1.
        least: look first at so many samples.
    """
    if not len(differences):
        return Stopped(verdict="undecided", n=0, change=0.0, e_change=1.0, e_margin=1.0)
    means = np.cumsum(differences) / np.arange(1, len(differences) + 1)
    change = coin(differences) if binary else two_sided(differences)
    within = np.minimum(above(differences, -margin), above(-differences, -margin))
    looked = np.arange(1, len(differences) + 1) >= least
    found, excluded = looked & (change >= 1 / level), looked & (within >= 1 / level)
    ends = np.flatnonzero(found | excluded)
    place = int(ends[0]) if len(ends) else len(differences) - 1
    verdict: Stop = "undecided"
    if found[place]:
        verdict = "better" if means[place] > 0 else "worse"
    elif excluded[place]:
        verdict = "no change larger than the margin"
    return Stopped(
        verdict=verdict,
        n=place + 1,
        change=float(means[place]),
        e_change=float(change[place]),
        e_margin=float(within[place]),
    )


def above(differences: NDArray[np.float64], mean: float) -> NDArray[np.float64]:
    """Return the evidence after each sample against a mean of at most `mean`, for differences within [-1, 1]."""
    stakes = STAKES / (1 + mean)
    logs = np.cumsum(np.log1p(np.outer(differences - mean, stakes)), axis=0)
    return np.asarray(np.exp(np.minimum(logs, 700)).mean(axis=1))


def wealth(differences: NDArray[np.float64], mean: float) -> float:
    """Return the last of `above`: what equal differences tell is worked out once."""
    values, counts = np.unique(differences, return_counts=True)
    logs = counts @ np.log1p(np.outer(values - mean, STAKES / (1 + mean)))
    return float(np.exp(np.minimum(logs, 700)).mean())


def two_sided(differences: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the evidence after each sample against a mean of 0: half the money on either side."""
    return (above(differences, 0.0) + above(-differences, 0.0)) / 2


def coin(differences: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the evidence after each sample that those which changed sides fall as a biased coin does."""
    return np.asarray(_coin(np.cumsum(differences < 0), np.cumsum(differences > 0)))


def flips(lost: int, gained: int) -> float:
    """Return the last of `coin`, from how many samples changed to either side."""
    return float(_coin(np.array(lost), np.array(gained)))


def _coin(lost: NDArray[np.int64], gained: NDArray[np.int64]) -> NDArray[np.float64]:
    from scipy.special import betaln

    logs = betaln(lost + PRIOR, gained + PRIOR) - betaln(PRIOR, PRIOR) + (lost + gained) * np.log(2)
    return np.asarray(np.exp(np.minimum(logs, 700)))


def interval(differences: NDArray[np.float64], level: float = 0.05) -> tuple[float, float]:
    """Return between which ends the mean lies, however often and whenever one looks, but for a chance of `level`.

    The means that two-sided bets do not speak against at that level (Waudby-Smith & Ramdas 2024, section 4.2).
    """
    from scipy.optimize import brentq

    def evidence(mean: float) -> float:
        value = (wealth(differences, mean) + wealth(-differences, -mean)) / 2
        return float(np.log(max(value, 1e-300) * level))

    if not len(differences):
        return -1.0, 1.0
    centre, edge = float(np.clip(differences.mean(), -1 + 1e-6, 1 - 1e-6)), 1 - 1e-6
    if evidence(centre) >= 0:  # nearly all samples are the same, at the edge
        return centre, centre
    low = -1.0 if evidence(-edge) < 0 else float(brentq(evidence, -edge, centre, xtol=1e-5))
    high = 1.0 if evidence(edge) < 0 else float(brentq(evidence, centre, edge, xtol=1e-5))
    return low, high


def e_bh(values: Sequence[float], level: float = 0.05) -> list[bool]:
    """Say which of several hypotheses are rejected, with at most a share `level` of them falsely.

    e-BH (Wang & Ramdas 2022, JRSS B 84:822), valid however the e-values depend on each other.
    """
    order = sorted(values, reverse=True)
    kept = [rank for rank, value in enumerate(order, start=1) if value >= len(values) / (level * rank)]
    least = len(values) / (level * max(kept)) if kept else np.inf
    return [value >= least for value in values]
