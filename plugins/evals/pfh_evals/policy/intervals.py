"""Differences with their intervals, as the family's tables show them; all respect the pairing by prompt."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
from pfh.hooks.tables import Cell, Quantity
from pfh.statistics.paired import CONFIDENCE
from pfh.statistics.single import score_interval

if TYPE_CHECKING:
    from numpy.typing import NDArray

Figure = Callable[[list[int]], float]
"""A figure of one model over the prompts at these places."""


def jackknife(prompts: int, before: Figure, after: Figure) -> tuple[float, float]:
    """Return the interval of after - before for figures of a set of prompts, by the jackknife that leaves one out.

    A bootstrap would draw prompts twice, whose n-grams are then never distinct (Efron & Tibshirani 1993, ch. 11).
    """
    from scipy.stats import t

    every = list(range(prompts))
    left_out = np.array([after(rest) - before(rest) for rest in (every[:i] + every[i + 1 :] for i in every)])
    error = np.sqrt((prompts - 1) / prompts * np.sum((left_out - left_out.mean()) ** 2))
    half = float(t.ppf((1 + CONFIDENCE) / 2, prompts - 1) * error)
    middle = after(every) - before(every)
    return middle - half, middle + half


def jackknife_cells(prompts: int, before: Figure, after: Figure) -> tuple[Cell, ...]:
    """Return the figure before and after, and the change; with an interval where some prompt changed."""
    every = list(range(prompts))
    first, second = before(every), after(every)
    low, high = jackknife(prompts, before, after)
    told = change(second - first, low, high) if high > low else change(second - first)
    return (*rounded([first, second]), told)


def mean_interval(values: NDArray[np.float64]) -> tuple[float, float]:
    """Return the interval of the mean, corrected for the skewness that few prompts have."""
    low, high, _ = score_interval(values)
    return low, high


def rounded(values: Sequence[float]) -> tuple[Cell, ...]:
    """Return figures as a table shows them."""
    return tuple(round(float(value), 4) for value in values)


def change(difference: float, low: float | None = None, high: float | None = None) -> Quantity:
    """Return a difference, with its interval where it has one."""
    return Quantity(value=difference, unit="difference", low=low, high=high)
