"""Scores as tools write them: numbers, truth values, text, and figures of all documents together."""

from __future__ import annotations

import math
from collections.abc import Sequence

YES_NO = {"true": 1.0, "false": 0.0, "yes": 1.0, "no": 0.0}


def finite(value: object) -> float | None:
    """Return a score as a number, or None for what is none or has no finite value."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, str):  # some tools write what json cannot hold, such as numpy's booleans, as text
        value = YES_NO.get(value.strip().lower(), value)
    if not isinstance(value, str | int | float):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def is_number(value: object) -> bool:
    """Say whether a value is meant as one score, though it may be missing or have no finite value."""
    if isinstance(value, str):
        try:
            float(YES_NO.get(value.strip().lower(), value))
        except ValueError:
            return False
    return value is None or isinstance(value, str | int | float)


def shares_of_ratio(sums: Sequence[float], weights: Sequence[float], *, exponential: bool = False) -> list[float]:
    """Return one score a document, whose mean is sum(sums) / sum(weights), or the exponential of that.

    A figure of all documents together has no score of a document. To first order it is the mean of these (the figure
    plus the document's influence on it: linearisation, as for ratios in survey statistics, Woodruff 1971, JASA 66:411),
    so that figures before and after can be compared document by document.
    """
    ratio = sum(sums) / sum(weights)
    figure = math.exp(ratio) if exponential else ratio
    slope = figure if exponential else 1.0
    mean_weight = sum(weights) / len(weights)
    return [figure + slope * (part - ratio * weight) / mean_weight for part, weight in zip(sums, weights, strict=True)]
