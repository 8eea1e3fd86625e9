"""Did one group change otherwise than another? A permutation test of paired changes over their groups."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

LEAST_OF_GROUP = 3
"""Changes of a group; smaller groups are left out."""
DRAWS = 10_000


def heterogeneity_p(
    changes: Sequence[float], groups: Sequence[str], *, draws: int = DRAWS, seed: int = 0
) -> float | None:
    """Return the p-value of all groups having changed alike; None where fewer than two groups are large enough.

    The statistic is the variance between groups, each mean weighed by its size. Under no difference which group a
    change belongs to is exchangeable, so the labels are shuffled; the p-value counts the sample itself.

    Args:
        changes: after - before, one a document.
        groups: what each belongs to.
        draws: shuffles.
        seed: of the shuffles.
    """
    names, places = np.unique(np.asarray(groups, dtype=object), return_inverse=True)
    sizes = np.bincount(places, minlength=len(names))
    kept = sizes[places] >= LEAST_OF_GROUP
    values, places = np.asarray(changes, dtype=np.float64)[kept], places[kept]
    used = np.unique(places)
    if len(used) < 2:
        return None
    values = values - values.mean()
    indicator = (places[None, :] == used[:, None]).astype(np.float64)
    sizes = indicator.sum(axis=1)
    found = float((((indicator @ values) ** 2) / sizes).sum())
    dice = np.random.default_rng(seed)
    shuffled = dice.permuted(np.broadcast_to(values, (draws, len(values))), axis=1)
    drawn = ((shuffled @ indicator.T) ** 2 / sizes).sum(axis=1)
    return float((1 + np.count_nonzero(drawn >= found - 1e-12)) / (1 + draws))
