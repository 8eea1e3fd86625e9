"""How far confidence is from accuracy: calibration errors of one model, and their change with an interval.

The plug-in error over bins is above 0 for a model that is perfectly calibrated, by more the less sure the model is, so
its change tells of confidence and not of calibration. The squared error without that bias (Kumar, Liang & Ma 2019,
arXiv 1909.10155, section 4) is what is compared; its interval is a jackknife's over questions, with the bins as they
are. Where both models are about calibrated that interval is too long rather than too short.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from pfh.statistics.paired import CONFIDENCE

if TYPE_CHECKING:
    from numpy.typing import NDArray

MASS_BINS = 10
"""Bins that hold equally many questions."""


def equal_mass_places(confidence: NDArray[np.float64]) -> NDArray[np.intp]:
    """Return each question's bin, of bins that hold equally many; questions of one confidence stay together."""
    count = max(min(MASS_BINS, len(confidence) // 5), 1)
    edges = np.quantile(confidence, np.linspace(0, 1, count + 1)[1:-1])
    return np.searchsorted(edges, confidence, side="left")


def binned_error(confidence: NDArray[np.float64], right: NDArray[np.bool_], places: NDArray[np.intp]) -> float:
    """Return the expected calibration error over bins: mean distance of confidence and accuracy, bins by size."""
    return float(np.abs(np.bincount(places, weights=right - confidence)).sum() / len(confidence))


def squared_error(confidence: NDArray[np.float64], right: NDArray[np.bool_], places: NDArray[np.intp]) -> float:
    """Return the squared calibration error over bins without its bias: a mean over pairs of one bin's questions.

    It can be below 0, where a model is about calibrated; bins of one question say nothing and are left out.
    """
    total, used = _pairs(right - confidence, places)
    return float(total.sum() / used.sum()) if used.any() else 0.0


def change_interval(
    before: tuple[NDArray[np.float64], NDArray[np.bool_]], after: tuple[NDArray[np.float64], NDArray[np.bool_]]
) -> tuple[float, float, float]:
    """Return the change of the squared calibration error and its 95% interval; the questions are the same in both."""
    from scipy.stats import t

    n = len(before[0])
    whole, without = 0.0, np.zeros(n)
    for sign, (confidence, right) in ((-1, before), (1, after)):
        places = equal_mass_places(confidence)
        whole += sign * squared_error(confidence, right, places)
        without += sign * _each_left_out(right - confidence, places)
    error = np.sqrt((n - 1) / n * np.sum((without - without.mean()) ** 2))
    half = float(t.ppf((1 + CONFIDENCE) / 2, n - 1) * error)
    return whole, whole - half, whole + half


def brier_parts(
    confidence: NDArray[np.float64], right: NDArray[np.bool_], places: NDArray[np.intp]
) -> tuple[float, float, float]:
    """Return reliability, resolution and uncertainty (Murphy 1973) of being right: Brier is the first, less the second,
    plus the third, but for what confidences differ within a bin.
    """
    sizes = np.bincount(places)
    kept = sizes > 0
    sure, hits = (np.bincount(places, weights=each)[kept] / sizes[kept] for each in (confidence, right))
    weights, base = sizes[kept] / len(right), float(right.mean())
    reliability, resolution = float(weights @ (sure - hits) ** 2), float(weights @ (hits - base) ** 2)
    return reliability, resolution, base * (1 - base)


def _pairs(gaps: NDArray[np.float64], places: NDArray[np.intp]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return for each bin its size times the mean product of two questions' gaps, and its size where that exists."""
    sizes = np.bincount(places).astype(float)
    sums, squares = np.bincount(places, weights=gaps), np.bincount(places, weights=gaps**2)
    several = sizes > 1
    return np.where(several, (sums**2 - squares) / np.maximum(sizes - 1, 1), 0.0), np.where(several, sizes, 0.0)


def _each_left_out(gaps: NDArray[np.float64], places: NDArray[np.intp]) -> NDArray[np.float64]:
    """Return the squared calibration error without each question in turn."""
    sizes = np.bincount(places).astype(float)[places]
    sums, squares = np.bincount(places, weights=gaps)[places], np.bincount(places, weights=gaps**2)[places]
    total, used = _pairs(gaps, places)
    own = ((sums - gaps) ** 2 - (squares - gaps**2)) / np.maximum(sizes - 2, 1)
    own = np.where(sizes > 2, own, 0.0)
    size = np.where(sizes > 2, sizes - 1, 0.0)
    rest = np.maximum(used.sum() - used[places] + size, 1.0)
    return np.asarray((total.sum() - total[places] + own) / rest)
