"""The trade-offs of a study drawn: every method with its ellipse, as SVG that needs no script."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from pfh.report.labels import Box, Label, place_labels
from pfh.results.study.records import TradeOff

WIDTH, HEIGHT = 640, 420
LEFT, RIGHT, TOP, BOTTOM = 70, 610, 20, 360
WITHIN = Box(left=LEFT, right=RIGHT, top=TOP - 10, bottom=BOTTOM)
RADIUS = math.sqrt(5.991)
"""In standard errors: the ellipse of two normal means that holds both at 95% (chi-square of two degrees of freedom)."""


@dataclass(frozen=True, kw_only=True)
class Tick:
    """A line of the grid."""

    at: float
    label: str
    zero: bool


@dataclass(frozen=True, kw_only=True)
class Point:
    """A method, in units of the picture."""

    method: str
    x: float
    y: float
    rx: float
    ry: float
    turn: float
    """Degrees, clockwise as SVG turns."""
    shade: float
    said: str
    label: Label


@dataclass(frozen=True, kw_only=True)
class TradeOffPlot:
    """One picture: the target's gain against the change of one family."""

    against: str
    points: tuple[Point, ...]
    across: tuple[Tick, ...]
    up: tuple[Tick, ...]
    width: int = WIDTH
    height: int = HEIGHT
    left: int = LEFT
    right: int = RIGHT
    top: int = TOP
    bottom: int = BOTTOM


def trade_off_plots(rows: Sequence[TradeOff]) -> tuple[TradeOffPlot, ...]:
    """Return a picture for each family that something is lost in."""
    return tuple(_plot(against, [row for row in rows if row.against == against]) for against in _families(rows))


def _families(rows: Sequence[TradeOff]) -> list[str]:
    return list(dict.fromkeys(row.against for row in rows))


def _plot(against: str, rows: Sequence[TradeOff]) -> TradeOffPlot:
    low, high = _span([row.gain for row in rows], [row.gain_error for row in rows])
    bottom, top = _span([row.change for row in rows], [row.change_error for row in rows])
    across, up = (RIGHT - LEFT) / (high - low), (BOTTOM - TOP) / (top - bottom)
    places = [(LEFT + (row.gain - low) * across, BOTTOM - (row.change - bottom) * up) for row in rows]
    labels = place_labels([(row.method, *place) for row, place in zip(rows, places, strict=True)], WITHIN)
    points = []
    for row, (x, y), label in zip(rows, places, labels, strict=True):
        rx, ry, turn = ellipse(row.gain_error * across, row.change_error * up, row.correlation)
        points.append(
            Point(
                method=row.method,
                x=round(x, 1),
                y=round(y, 1),
                rx=round(rx, 1),
                ry=round(ry, 1),
                turn=round(-turn, 1),
                shade=round(0.04 + 0.3 * row.pareto, 2),
                said=f"{row.method}: target {100 * row.gain:+.1f}, {against} {100 * row.change:+.1f} points; in the "
                f"Pareto set with probability {row.pareto:.0%}",
                label=label,
            )
        )
    return TradeOffPlot(
        against=against,
        points=tuple(points),
        across=tuple(_ticks(low, high, LEFT, across)),
        up=tuple(_ticks(bottom, top, BOTTOM, -up)),
    )


def ellipse(first: float, second: float, correlation: float) -> tuple[float, float, float]:
    """Return both half axes of the 95% ellipse of two errors, and the degrees by which the first axis is turned."""
    shared = correlation * first * second
    values, vectors = np.linalg.eigh(np.array([[first**2, shared], [shared, second**2]]))
    long = vectors[:, 1]
    axes = RADIUS * np.sqrt(np.maximum(values, 0.0))
    return float(axes[1]), float(axes[0]), math.degrees(math.atan2(float(long[1]), float(long[0])))


def _span(values: Sequence[float], errors: Sequence[float]) -> tuple[float, float]:
    """Return what an axis shows: 0, every point, and its ellipse as far as that is not far beyond all points."""
    reach = max(abs(value) for value in values) or 0.01
    wide = [min(RADIUS * error, 3 * reach) for error in errors]
    low = min(0.0, *(value - each for value, each in zip(values, wide, strict=True)))
    high = max(0.0, *(value + each for value, each in zip(values, wide, strict=True)))
    room = 0.05 * (high - low) or 0.01
    return low - room, high + room


def _ticks(low: float, high: float, origin: float, scale: float) -> Iterator[Tick]:
    step = 10 ** math.floor(math.log10((high - low) / 2))
    step = next(each for each in (step / 2, step, 2 * step, 5 * step) if (high - low) / each <= 8)
    for number in range(math.ceil(low / step), math.floor(high / step) + 1):
        value = number * step
        yield Tick(
            at=round(origin + (value - low) * scale, 1), label=f"{100 * value:+g}" if number else "0", zero=not number
        )
