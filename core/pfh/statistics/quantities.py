"""Figures of a comparison as cells of a table: numbers with their unit."""

from __future__ import annotations

from pfh.hooks.comparison import CategoryComparison, Comparison
from pfh.hooks.tables import Quantity


def score(value: float | None, row: Comparison | CategoryComparison) -> Quantity | None:
    """Return a mean score: a share where the metric scores every sample 0 or 1."""
    return None if value is None else Quantity(value=value, unit="number" if row.n10 is None else "share")


def change(row: Comparison | CategoryComparison) -> Quantity | None:
    """Return the difference after - before, with its interval."""
    if row.delta is None:
        return None
    return Quantity(
        value=row.delta, unit="difference" if row.n10 is None else "points", low=row.ci_low, high=row.ci_high
    )


def share(value: float) -> Quantity:
    """Return a share of 1."""
    return Quantity(value=value, unit="share")


def p_value(value: float | None) -> Quantity | None:
    """Return a p-value."""
    return None if value is None else Quantity(value=value, unit="p")
