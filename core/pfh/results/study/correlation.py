"""Is one loss tied to another? A rank correlation over runs, with an interval that resamples documents and runs."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pfh.results.study.recommendations import TARGET
from pfh.statistics.crossed import Scores, effect, joint_draws

if TYPE_CHECKING:
    from numpy.typing import NDArray

FEWEST_RUNS = 5
"""A rank correlation over fewer runs says nothing."""
DRAWS = 1000


@dataclass(frozen=True, kw_only=True)
class Tied:
    """How far the change of safety goes with that of what the model knew."""

    runs: int
    needed: int = 0
    """Runs that are missing for any correlation."""
    p_value: float = 1.0
    sentence: str = ""
    more: str = ""


def tied(cells: Mapping[Hashable, Sequence[Scores]]) -> Tied | None:
    """Return the correlation over runs; None where no run has both.

    Args:
        cells: (run, family) to the changes.
    """
    families = {name: {key[0] for key in cells if isinstance(key, tuple) and key[1] == name} for name in _FAMILIES}
    runs = sorted(families["safety"] & families["forgetting"], key=str)
    if not runs:
        return None
    if len(runs) < FEWEST_RUNS:
        return Tied(runs=len(runs), needed=FEWEST_RUNS - len(runs))
    partial = set(runs) <= families[TARGET]
    names = _FAMILIES if partial else _FAMILIES[:2]
    means = np.array([[effect(cells[run, name]).mean for run in runs] for name in names])
    drawn = joint_draws({(run, name): cells[run, name] for run in runs for name in names}, count=DRAWS)
    table = np.array([[drawn[run, name] for run in runs] for name in names])
    dice = np.random.default_rng(0)
    values, given = [], []
    for place in range(DRAWS):
        chosen = dice.integers(0, len(runs), len(runs))
        one = table[:, chosen, place]
        if np.ptp(one, axis=1).all():
            matrix = _ranks(one)
            values.append(float(matrix[0, 1]))
            given += [_partial(matrix)] if partial else []
    found = float(_ranks(means)[0, 1]) if np.ptp(means, axis=1).all() else 0.0
    low, high = np.quantile(values, [0.025, 0.975]) if values else (-1.0, 1.0)
    sided = np.array(values)
    p_value = min(1.0, 2 * (1 + min(int((sided <= 0).sum()), int((sided >= 0).sum()))) / (1 + len(values)))
    sentence = f"over {len(runs)} runs the rank correlation is {found:+.2f} [{low:+.2f}, {high:+.2f}]"
    if partial and given and np.ptp(means, axis=1).all():
        ends = np.quantile(given, [0.025, 0.975])
        sentence += f"; given the target's gain it is {_partial(_ranks(means)):+.2f} [{ends[0]:+.2f}, {ends[1]:+.2f}]"
    return Tied(runs=len(runs), p_value=p_value, sentence=sentence, more=_more(found, len(runs)))


_FAMILIES = ("safety", "forgetting", TARGET)


def _ranks(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    from scipy.stats import rankdata

    return np.asarray(np.corrcoef(rankdata(rows, axis=1)))


def _partial(matrix: NDArray[np.float64]) -> float:
    """Return the correlation of the first two given the third."""
    inverse = np.linalg.pinv(matrix)
    return float(-inverse[0, 1] / math.sqrt(max(inverse[0, 0] * inverse[1, 1], 1e-12)))


def _more(found: float, runs: int) -> str:
    """Say how many runs more would settle it, by Fisher's transformation."""
    if abs(found) < 0.01:
        return "; it looks like none, which no number of runs proves"
    needed = math.ceil((1.96 / math.atanh(min(abs(found), 0.99))) ** 2 + 3) - runs
    return f"; about {needed:,} more runs would settle it if it is what it looks like" if needed > 0 else ""
