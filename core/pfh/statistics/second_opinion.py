"""A second opinion on a mean change: a generalised estimating equation by statsmodels, clustered by document.

Liang and Zeger (1986, Biometrika 73:13): the mean is estimated as if all scores were independent, and its error from
how the documents' sums vary, whatever ties the scores of one document under several seeds; its square is multiplied by
D / (D - 1) for D documents. The seeds are taken as they are: of others it says nothing.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pfh.statistics.crossed import CONFIDENCE, Scores

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True)
class Marginal:
    """A mean with the error that its documents give it."""

    mean: float
    error: float
    documents: int

    def interval(self, confidence: float = CONFIDENCE) -> tuple[float, float]:
        """Return the two-sided interval of the mean."""
        from scipy.stats import t

        half = float(t.ppf(0.5 + confidence / 2, self.documents - 1)) * self.error if self.documents > 1 else np.inf
        return self.mean - half, self.mean + half

    @property
    def p_value(self) -> float:
        """Two-sided, of no change."""
        from scipy.stats import t

        if self.error == 0 or self.documents < 2:
            return 1.0 if self.mean == 0 or self.documents < 2 else 0.0
        return float(2 * t.sf(abs(self.mean) / self.error, self.documents - 1))


def marginal_mean(scores: Sequence[Scores]) -> Marginal:
    """Return the mean change over benchmarks, each counted by its weight, as `effect` defines it.

    Raises:
        ValueError: there is no benchmark with a scored document.
    """
    from statsmodels.genmod.cov_struct import Independence
    from statsmodels.genmod.families import Gaussian
    from statsmodels.genmod.generalized_estimating_equations import GEE

    changes, documents, weights = _rows(scores)
    clusters = len(np.unique(documents))
    if clusters < 2 or not np.ptp(changes):
        return Marginal(mean=float(np.average(changes, weights=weights)), error=0.0, documents=clusters)
    model = GEE(
        changes,
        np.ones((len(changes), 1)),
        groups=documents,
        family=Gaussian(),
        cov_struct=Independence(),
        weights=weights * len(weights) / weights.sum(),
    )
    fitted = model.fit(cov_type="robust")
    error = float(fitted.bse[0]) * math.sqrt(clusters / (clusters - 1))
    return Marginal(mean=float(fitted.params[0]), error=error, documents=clusters)


def _rows(scores: Sequence[Scores]) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.float64]]:
    """Return a change, the number of its document and its weight for everything that was scored.

    Documents count equally within a benchmark, and the seeds of one document equally.
    """
    places: dict[tuple[Hashable, str], int] = {}
    changes, documents, weights = [], [], []
    for each in scores:
        there = np.isfinite(each.changes)
        seeds = there.sum(axis=0)
        count = int((seeds > 0).sum())
        for column, name in enumerate(each.documents):
            if seeds[column]:
                place = places.setdefault((each.benchmark, name), len(places))
                rows = each.changes[there[:, column], column]
                changes += rows.tolist()
                documents += [place] * len(rows)
                weights += [each.weight / count / len(rows)] * len(rows)
    if not changes:
        raise ValueError("no document was scored before and after")
    return np.array(changes), np.array(documents, dtype=np.int64), np.array(weights)
