"""Has a family lost more than it may? Looked at as often as one likes, on the same documents, of a model that changes.

At each look the evidence against "the mean loss is at most the bound" is a bet on the documents' losses
(`sequential.above`), which exceeds 1 / a with a chance of at most a. Look k has the share level / (k (k + 1)) of the
whole level, which add up to the level over any number of looks, so that a training whose loss never exceeds the bound
is stopped with at most that chance, however the looks depend on each other.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pfh.statistics.sequential import above

LEVEL = 0.05


def exceeds(losses: Sequence[float], bound: float, look: int, level: float = LEVEL) -> tuple[bool, float]:
    """Say whether the mean loss certainly exceeds `bound` at the `look`-th look, from 1; return the evidence too.

    Args:
        losses: before - after within [-1, 1], one a document, above 0 where it is worse, in an order drawn beforehand.
        bound: the loss that is accepted, within [0, 1).
        look: how many times it was looked at, with this one.
        level: the chance of stopping a training in vain, over all its looks.
    """
    if not len(losses):
        return False, 1.0
    evidence = float(above(np.asarray(losses, dtype=np.float64), bound).max())
    return evidence >= look * (look + 1) / level, evidence
