"""What a judge's errors do to a rate and to a change, by error rates from labels of other completions.

The error rates correct a rate (Rogan & Gladen 1978, Am. J. Epidemiol. 107:71;
interval of Lang & Reiczigel 2014, Prev. Vet. Med. 113:13). A judge errs differently on every model, so a change is held
against error rates that differ before and after. Labels of the very run say more: `pfh.statistics.labelled`.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

from pfh.statistics.verdicts import CONFIDENCE

LEAST_INFORMATION = 0.3
"""Below this sensitivity + specificity - 1 a judge tells too little for its rates to be corrected."""


@dataclass(frozen=True, kw_only=True)
class ErrorCounts:
    """A judge against people, on completions that both labelled; "positive" is what the rate counts."""

    true_positives: int
    false_negatives: int
    true_negatives: int
    false_positives: int

    @property
    def positives(self) -> int:
        """Return how many completions people called positive."""
        return self.true_positives + self.false_negatives

    @property
    def negatives(self) -> int:
        """Return how many completions people called negative."""
        return self.true_negatives + self.false_positives

    @property
    def sensitivity(self) -> float:
        """Return the share of the positives that the judge called so."""
        return self.true_positives / self.positives

    @property
    def specificity(self) -> float:
        """Return the share of the negatives that the judge called so."""
        return self.true_negatives / self.negatives

    def intervals(self) -> tuple[tuple[float, float], tuple[float, float]]:
        """Return Wilson's 95% intervals of sensitivity and specificity."""
        from statsmodels.stats.proportion import proportion_confint

        low_high = [
            proportion_confint(right, of, alpha=1 - CONFIDENCE, method="wilson")
            for right, of in ((self.true_positives, self.positives), (self.true_negatives, self.negatives))
        ]
        first, second = ((float(low), float(high)) for low, high in low_high)
        return first, second


@dataclass(frozen=True, kw_only=True)
class Corrected:
    """A figure with the judge's errors taken out, and its 95% interval."""

    estimate: float
    low: float
    high: float


def corrected_rate(judged: int, n: int, errors: ErrorCounts) -> Corrected | None:
    """Return the rate that people would find; None where the judge tells too little.

    Args:
        judged: completions that the judge called positive.
        n: completions.
        errors: of the judge, on completions like these.
    """
    if not errors.positives or not errors.negatives:
        return None
    if errors.sensitivity + errors.specificity - 1 < LEAST_INFORMATION:
        return None
    z = _quantile()
    rate = _rogan_gladen(judged / n, errors.sensitivity, errors.specificity)
    # Lang and Reiczigel: every share is taken with a few pseudo-observations, and the middle is shifted.
    share = (judged + z * z / 2) / (n + z * z)
    sensitivity = (errors.true_positives + 1) / (errors.positives + 2)
    specificity = (errors.true_negatives + 1) / (errors.negatives + 2)
    information = sensitivity + specificity - 1
    middle = (share + specificity - 1) / information
    of_sensitivity = sensitivity * (1 - sensitivity) / (errors.positives + 2)
    of_specificity = specificity * (1 - specificity) / (errors.negatives + 2)
    shift = 2 * z * z * (middle * of_sensitivity - (1 - middle) * of_specificity)
    variance = share * (1 - share) / (n + z * z) + middle**2 * of_sensitivity + (1 - middle) ** 2 * of_specificity
    half = z * math.sqrt(variance) / information
    low, high = middle + shift - half, middle + shift + half
    return Corrected(estimate=rate, low=min(max(low, 0.0), rate), high=max(min(high, 1.0), rate))


def change_within_error(
    before: float, after: float, errors: ErrorCounts, errors_after: ErrorCounts | None = None
) -> tuple[float, float]:
    """Return between which ends the change of a rate lies, whatever the judge's error rates are within their intervals.

    The judge may err differently on the two models. A change whose two ends have one sign survives the judge's error.

    Args:
        before: the judged rate before.
        after: the judged rate after.
        errors: of the judge; of the model before where the other is given too.
        errors_after: of the judge on the model after.
    """
    ends = []
    for rate, counts in ((before, errors), (after, errors_after or errors)):
        corners = [_rogan_gladen(rate, *corner) for corner in itertools.product(*counts.intervals())]
        ends.append((min(corners), max(corners)))
    (low_before, high_before), (low_after, high_after) = ends
    return low_after - high_before, high_after - low_before


def false_alarm_floor(false_positive_rate: float, attempts: int) -> float:
    """Return the share of prompts that a model which never complies appears to answer in one of so many attempts."""
    return float(1 - (1 - false_positive_rate) ** attempts)


def _rogan_gladen(rate: float, sensitivity: float, specificity: float) -> float:
    information = max(sensitivity + specificity - 1, 1e-9)
    return min(max((rate + specificity - 1) / information, 0.0), 1.0)


def _quantile() -> float:
    from scipy.special import ndtri

    return float(ndtri((1 + CONFIDENCE) / 2))
