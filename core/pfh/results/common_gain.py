"""Several runs at the gain that all of them reached: which checkpoint of each that is, and what it had cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pfh.errors import UserError
from pfh.results.records import AlongRecord, RunResults
from pfh.results.verdict import stage_name


@dataclass(frozen=True, kw_only=True)
class AtCommonGain:
    """One run at the common gain."""

    method: str
    """The method as it is written in prose."""
    point: AlongRecord
    """Its first checkpoint with at least that gain."""
    updates: int
    """Updates of its last checkpoint that was measured."""
    compared: bool
    """The other families of the run were measured at this checkpoint."""


def at_common_gain(
    runs: Sequence[tuple[str, RunResults]], family: str, wanted: float | None = None
) -> tuple[float, tuple[AtCommonGain, ...]]:
    """Return the gain, in points, and each run where it reached that gain.

    Args:
        runs: what the user calls each, and its results.
        family: whose gain is meant.
        wanted: the gain; None is the largest that all runs reached, which is the smallest of their largest.

    Raises:
        UserError: a run kept no checkpoints on this family, or none reached the gain.
    """
    along = [_along(name, results, family) for name, results in runs]
    largest = [max(point.gain for point in points) for points in along]
    gain = min(largest) if wanted is None else wanted
    if gain <= 0:
        name = runs[largest.index(min(largest))][0]
        raise UserError(f"{name} gained nothing on {family} ({min(largest):+.1f} points): there is no common gain.")
    short = [name for (name, _), most in zip(runs, largest, strict=True) if most < gain]
    if short:
        raise UserError(
            f"{', '.join(short)} did not gain {gain:+g} points on {family}; all reached {min(largest):+.1f}."
        )
    found = []
    for (_, results), points in zip(runs, along, strict=True):
        stage = results.stages[-1]
        point = next(point for point in points if point.gain >= gain)
        measured = stage.match.matched if stage.match else None
        compared = point.update == (points[-1].update if measured is None else measured)
        found.append(AtCommonGain(method=stage_name(stage), point=point, updates=points[-1].update, compared=compared))
    return gain, tuple(found)


def _along(name: str, results: RunResults, family: str) -> tuple[AlongRecord, ...]:
    match = results.stages[-1].match if results.stages else None
    if match is None or match.family != family or not match.along:
        raise UserError(
            f"{name} has no checkpoints along the way that were measured on {family}: run it again with --match "
            f"{family}, which keeps and measures them."
        )
    return match.along
