"""One figure of how far a model is from the one before, whatever else was measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from pfh.statistics.single import score_interval

FEWEST = 8
"""Prompts of which an interval says something: divergences are skewed."""


@dataclass(frozen=True, kw_only=True)
class Divergence:
    """Kullback-Leibler divergence of the next token, in nats, along the start's own completions of held-out prompts."""

    status: Literal["MEASURED", "NOT_RUN"]
    """NOT_RUN where the two cannot be put side by side."""
    reason: str = ""
    """Why it is NOT_RUN, in one line."""
    source: str = ""
    """Where the prompts come from."""
    prompts: int = 0
    """Prompts whose completions both models went along."""
    tokens: int = 0
    """Places of these that were compared."""
    start_to_after: float | None = None
    """KL(start || after) a token: mean over the places of a completion, then over prompts."""
    start_to_after_low: float | None = None
    """Lower end of its 95% interval over prompts."""
    start_to_after_high: float | None = None
    """Upper end of its 95% interval over prompts."""
    after_to_start: float | None = None
    """KL(after || start) a token, along the same completions."""
    after_to_start_low: float | None = None
    """Lower end of its 95% interval over prompts."""
    after_to_start_high: float | None = None
    """Upper end of its 95% interval over prompts."""


def divergence_of(
    start_to_after: Sequence[Sequence[float]], after_to_start: Sequence[Sequence[float]], source: str
) -> Divergence:
    """Return the figure for the divergences at each place, one row a completion; completions without a place go."""
    forward, backward = (
        np.array([np.mean(row) for row in rows if len(row)]) for rows in (start_to_after, after_to_start)
    )
    if len(forward) == 0:
        return Divergence(status="NOT_RUN", reason="the start completed no prompt", source=source)
    ends = [_interval(each) for each in (forward, backward)]
    return Divergence(
        status="MEASURED",
        source=source,
        prompts=len(forward),
        tokens=sum(map(len, start_to_after)),
        start_to_after=float(forward.mean()),
        start_to_after_low=ends[0][0],
        start_to_after_high=ends[0][1],
        after_to_start=float(backward.mean()),
        after_to_start_low=ends[1][0],
        after_to_start_high=ends[1][1],
    )


def _interval(values: np.ndarray[tuple[int], np.dtype[np.float64]]) -> tuple[float | None, float | None]:
    """Return the 95% interval of the mean, corrected for skewness; no end is below 0, as no divergence is.

    There is none of fewer than `FEWEST`, and none where no value differs from another, as of a model against itself.
    """
    if len(values) < FEWEST or np.ptp(values) == 0:
        return None, None
    low, high, _ = score_interval(values)
    return max(low, 0.0), high


def sentence(divergence: Divergence) -> str:
    """Say it, for the terminal and the report alike."""
    if divergence.status == "NOT_RUN":
        return f"Divergence from the start: NOT_RUN, {divergence.reason}."
    forward = _told(divergence.start_to_after, divergence.start_to_after_low, divergence.start_to_after_high)
    backward = _told(divergence.after_to_start, divergence.after_to_start_low, divergence.after_to_start_high)
    return (
        f"Divergence from the start: {forward} nats a token, KL(start || after); {backward}, KL(after || start); along "
        f"the start's own completions of {divergence.prompts} prompts ({divergence.source}; {divergence.tokens:,} "
        "tokens)."
    )


def _told(value: float | None, low: float | None, high: float | None) -> str:
    ends = "" if low is None or high is None else f" [{low:.3g}, {high:.3g}]"
    return f"{value:.3g}{ends}"
