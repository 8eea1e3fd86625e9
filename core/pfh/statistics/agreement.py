"""How far two judges agree: the share of equal labels, and Cohen's kappa, which takes off what chance explains."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """Two judges on the same completions."""

    n: int
    share: float
    """Of the completions to which both give one label."""
    kappa: float | None
    """Cohen 1960; None where one of them gives one label alone, so that chance explains any agreement."""
    kappa_low: float | None
    """Lower end of its 95% interval (Fleiss, Cohen & Everitt 1969)."""
    kappa_high: float | None


def agreement(first: Sequence[str], second: Sequence[str]) -> Agreement:
    """Return how far two judges agree on one completion or more."""
    import numpy as np
    from statsmodels.stats.inter_rater import cohens_kappa

    names = sorted({*first, *second})
    counts = Counter(zip(first, second, strict=True))
    table = np.array([[counts[row, column] for column in names] for row in names])
    share = float(np.trace(table)) / len(first)
    if len(set(first)) < 2 or len(set(second)) < 2:
        return Agreement(n=len(first), share=share, kappa=None, kappa_low=None, kappa_high=None)
    found = cohens_kappa(table)
    low, high = (float(found.kappa_low), float(found.kappa_upp))
    return Agreement(
        n=len(first), share=share, kappa=float(found.kappa), kappa_low=max(low, -1.0), kappa_high=min(high, 1.0)
    )
