"""A training while it runs, in one line: each figure as it is now, and how it came there."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise

FIGURES: Mapping[str, str] = {
    "loss": "loss",
    "reward": "reward",
    "rewards/margins": "margin",
    "kl": "KL",
    "completions/mean_length": "length",
    "frac_reward_zero_std": "no variance",
    "learning_rate": "learning rate",
}
"""A figure of the trainer's log to what it is called; in the order of the line."""


WIDTH = 12
"""Signs of a curve."""


_BARS = "▁▂▃▄▅▆▇█"


def progress_line(log: Sequence[Mapping[str, float]]) -> str:
    """Return the line for a trainer's log, a row an update: such as "loss 0.41 ▇▅▃▂ · learning rate 9e-05 ▇▆▄▃"."""
    course = log[:: max(len(log) // (4 * WIDTH), 1)]
    parts = []
    for key, name in FIGURES.items():
        values = [row[key] for row in course if math.isfinite(row.get(key, math.nan))]
        now = next((row[key] for row in reversed(log[-WIDTH:]) if key in row), None)
        if now is not None:
            parts.append(f"{name} {now:.3g} {curve(values)}".rstrip())
    return " · ".join(parts)


def curve(values: Sequence[float]) -> str:
    """Return `values` as at most `WIDTH` bars between their smallest and their largest; nothing where all are equal."""
    if len(set(values)) < 2:
        return ""
    count = min(len(values), WIDTH)
    edges = [round(place * len(values) / count) for place in range(count + 1)]
    means = [sum(values[one:other]) / (other - one) for one, other in pairwise(edges)]
    low, span = min(means), (max(means) - min(means)) or 1.0
    return "".join(_BARS[round((mean - low) / span * (len(_BARS) - 1))] for mean in means)
