"""Where the marks of the report's own charts lie, in percent of their axes; the templates draw them as SVG."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pfh.hooks.comparison import Comparison
from pfh.statistics import formatting as figures

TICKS = 6
"""About so many ticks an axis."""
FIRST_CURVES = ("loss", "reward", "rewards/accuracies", "rewards/margins", "eval_loss", "kl", "entropy", "grad_norm")
NO_CURVES = frozenset({"step", "epoch"})


POINTS = "percentage points"
"""Unit of the differences of binary metrics."""


@dataclass(frozen=True, kw_only=True)
class ForestRow:
    """One benchmark's difference and its interval."""

    row: Comparison
    low: float
    high: float
    delta: float


@dataclass(frozen=True, kw_only=True)
class Forest:
    """A forest plot: benchmarks whose differences share an axis."""

    unit: str
    rows: tuple[ForestRow, ...]
    zero: float
    ticks: tuple[tuple[float, str], ...]
    """(Position, label)."""

    @property
    def alone(self) -> bool:
        """Say whether it holds one benchmark, in a unit of its own."""
        return len(self.rows) == 1 and self.unit != POINTS


@dataclass(frozen=True, kw_only=True)
class TransitionCounts:
    """What became of a binary benchmark's samples: counts by score before and after."""

    row: Comparison
    counts: tuple[tuple[str, int, str], ...]
    """(Transition, count, what it means: "same", "better", "worse" or "changed")."""


@dataclass(frozen=True, kw_only=True)
class Curve:
    """One logged figure over the updates."""

    name: str
    first: float
    last: float
    low: float
    high: float
    last_step: float
    points: str
    """An SVG polyline in a square of 100 by 100."""


def forests(comparisons: Sequence[Comparison]) -> tuple[Forest, ...]:
    """Return the forest plots of a family: one for all binary metrics, one for each other metric."""
    groups: dict[str, list[Comparison]] = {}
    for row in comparisons:
        if row.delta is not None:
            groups.setdefault(POINTS if figures.is_binary(row) else row.metric, []).append(row)
    return tuple(_forest(unit, rows) for unit, rows in groups.items())


def transitions(row: Comparison) -> TransitionCounts | None:
    """Count the four transitions of a measured binary benchmark; None for any other."""
    if row.n10 is None or row.n01 is None or row.before is None:
        return None
    kept = round(row.n * row.before) - row.n10
    up, down = {True: ("better", "worse"), False: ("worse", "better"), None: ("changed", "changed")}[
        row.higher_is_better
    ]
    counts = (
        ("1→1", kept, "same"),
        ("1→0", row.n10, down),
        ("0→1", row.n01, up),
        ("0→0", row.n - kept - row.n10 - row.n01, "same"),
    )
    return TransitionCounts(row=row, counts=counts)


def curves(rows: Sequence[Mapping[str, float | None]]) -> tuple[Curve, ...]:
    """Return every logged figure that moves, the loss and the rewards first."""
    names = {name: None for row in rows for name in row if name not in NO_CURVES}
    ordered = sorted(names, key=lambda name: FIRST_CURVES.index(name) if name in FIRST_CURVES else len(FIRST_CURVES))
    made = (_curve(name, rows) for name in ordered)
    return tuple(curve for curve in made if curve is not None)


def _forest(unit: str, rows: Sequence[Comparison]) -> Forest:
    ends = [end for row in rows for end in (row.ci_low, row.ci_high, row.delta) if end is not None]
    ticks = _ticks(min(0.0, *ends), max(0.0, *ends))
    start, width = ticks[0], ticks[-1] - ticks[0]

    def place(value: float | None) -> float:
        return round(100 * ((value or 0.0) - start) / width, 3)

    return Forest(
        unit=unit,
        rows=tuple(
            ForestRow(row=row, low=place(row.ci_low), high=place(row.ci_high), delta=place(row.delta)) for row in rows
        ),
        zero=place(0.0),
        ticks=tuple((place(tick), figures.signed(tick, rows[0]).removesuffix(".0")) for tick in ticks),
    )


def _ticks(low: float, high: float) -> list[float]:
    span = (high - low) or 1.0
    magnitude = 10.0 ** math.floor(math.log10(span / TICKS))
    step = next(m * magnitude for m in (1, 2, 5, 10) if m * magnitude * TICKS >= span * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [index * step for index in range(first, max(last, first + 1) + 1)]


def _curve(name: str, rows: Sequence[Mapping[str, float | None]]) -> Curve | None:
    points = [(row.get("step") or 0.0, value) for row in rows if (value := row.get(name)) is not None]
    points = [(step, value) for step, value in points if math.isfinite(value)]
    if len({value for _, value in points}) < 2:
        return None
    steps, values = [step for step, _ in points], [value for _, value in points]
    low, high, first, last = min(values), max(values), min(steps), max(steps)
    width = (last - first) or 1.0
    line = " ".join(
        f"{100 * (step - first) / width:.2f},{100 - 100 * (value - low) / (high - low):.2f}" for step, value in points
    )
    return Curve(name=name, first=values[0], last=values[-1], low=low, high=high, last_step=last, points=line)
