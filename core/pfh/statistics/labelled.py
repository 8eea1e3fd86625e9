"""The change that people would find, from labels of some of a run's own prompts.

Prompts are drawn for labelling within strata (those that the judge says fell, rose, and stayed), each with a known
chance. A stratum's labels stand for all of it, which weighs every label by the inverse of that chance; the judge's own
change of every prompt, of which people's labels correct the error, makes the interval narrower (prediction-powered
inference, PPI++: Angelopoulos, Duchi & Zrnic 2023, arXiv 2311.01453; within strata: Fisch et al. 2024, arXiv
2406.04291). The variance is that of sampling twice, prompts and then labels (Cochran 1977, Sampling Techniques, 12.2).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

LEAST_LABELS = 30
"""Labelled prompts below which a change is not corrected by them, unless nothing is left to label."""


@dataclass(frozen=True, kw_only=True)
class Stratum:
    """Prompts of which the same share was drawn for labelling, at random."""

    judged: NDArray[np.float64]
    """after - before by the judge, of all its prompts."""
    labelled_judged: NDArray[np.float64]
    """Likewise, of those that people labelled."""
    labelled: NDArray[np.float64]
    """after - before by people, of the same prompts."""

    @property
    def prompts(self) -> int:
        """Return how many prompts it has."""
        return len(self.judged)

    @property
    def known(self) -> int:
        """Return how many of them people labelled."""
        return len(self.labelled)


@dataclass(frozen=True, kw_only=True)
class LabelledChange:
    """The mean change that people would find over all prompts."""

    estimate: float
    standard_error: float
    degrees: float
    labelled: int

    @property
    def p_value(self) -> float:
        """Two-sided, of no change."""
        from scipy.special import stdtr

        return float(2 * stdtr(self.degrees, -abs(self.estimate) / self.standard_error))

    def interval(self, level: float) -> tuple[float, float]:
        """Return the interval of that level, within [-1, 1]."""
        from scipy.special import stdtrit

        half = float(stdtrit(self.degrees, (1 + level) / 2)) * self.standard_error
        return max(self.estimate - half, -1.0), min(self.estimate + half, 1.0)


def labelled_change(strata: Sequence[Stratum]) -> LabelledChange | None:
    """Return the change that people would find; None where the labels are too few or leave out a stratum.

    Args:
        strata: that hold all prompts; scores are between 0 and 1.
    """
    held = [each for each in strata if each.prompts]
    total, known = sum(each.prompts for each in held), sum(each.known for each in held)
    if not known or not all(each.known for each in held) or (known < LEAST_LABELS and known < total):
        return None
    slope = _slope(held, total)
    estimate = of_people = spread = drawn = 0.0
    for each in held:
        share = each.prompts / total
        rest = each.labelled - slope * each.labelled_judged
        estimate += share * (slope * float(each.judged.mean()) + float(rest.mean()))
        of_people += share * float(each.labelled.mean())
        drawn += share**2 * _variance(rest) * (1 / each.known - 1 / each.prompts)
    for each in held:
        spread += each.prompts / total * (_variance(each.labelled) + (float(each.labelled.mean()) - of_people) ** 2)
    return LabelledChange(
        estimate=estimate,
        standard_error=math.sqrt(max(spread, 1 / (total + 2)) / total + drawn),
        degrees=max(known - len(held), 1),
        labelled=known,
    )


def _slope(strata: Sequence[Stratum], total: int) -> float:
    """Return how much of the judge's change is taken over: what makes the variance least, within 0 and 1."""
    covariance = variance = 0.0
    for each in strata:
        if each.known < 2:
            continue
        weight = (each.prompts / total) ** 2 * (1 / each.known - 1 / each.prompts)
        (_, both), (_, of_judge) = np.cov(each.labelled, each.labelled_judged)
        covariance, variance = covariance + weight * both, variance + weight * of_judge
    return min(max(covariance / variance, 0.0), 1.0) if variance > 0 else 0.0


def _variance(values: NDArray[np.float64]) -> float:
    """Return the variance, at least that of one prompt among two more than these that differs by 1, unseen."""
    own = float(values.var(ddof=1)) if len(values) > 1 else 0.0
    return max(own, 1 / (len(values) + 2))
