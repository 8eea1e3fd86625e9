"""How much of the spread between runs goes with what: a mixed model with known errors of measurement.

The change of a run is a mean, a random part for each source (method, domain, seed, ...), and what its documents add.
How the documents move runs together is known from the documents themselves, so it is put in and not estimated, as in a
meta-analysis; the other variances are estimated by restricted maximum likelihood (Patterson & Thompson 1971, Biometrika
58:545). Intervals are of the profile likelihood.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

DROP = 3.841
"""Of the deviance at the ends of a 95% interval: the quantile of a chi-square of one degree of freedom."""
LARGEST = 1e4
"""Times the variance of the values, where an upper end is given up."""


@dataclass(frozen=True, kw_only=True)
class Component:
    """The variance that goes with one source."""

    source: str
    variance: float
    low: float
    """Lower end of its 95% interval."""
    high: float
    """Upper end; infinite where the data do not bound it."""


def components(
    values: NDArray[np.float64], known: NDArray[np.float64], sources: Mapping[str, Sequence[str]]
) -> tuple[Component, ...]:
    """Return the variance of each source.

    Args:
        values: one a run.
        known: runs x runs, the covariance that their documents give them.
        sources: to the level of each run. A source of as many levels as runs is what is left to itself.
    """
    model = _Model(values, known, sources)
    best, lowest = model.fitted()
    found = []
    for place, source in enumerate(sources):
        low, high = model.interval(place, best, lowest)
        found.append(Component(source=source, variance=float(best[place]) * model.scale, low=low, high=high))
    return tuple(found)


class _Model:
    def __init__(
        self, values: NDArray[np.float64], known: NDArray[np.float64], sources: Mapping[str, Sequence[str]]
    ) -> None:
        self.scale = float(np.var(values)) or 1.0
        self.values = values / np.sqrt(self.scale)
        self.known = known / self.scale
        self.alike = [
            np.array([[float(one == other) for other in levels] for one in levels]) for levels in sources.values()
        ]

    def deviance(self, variances: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        """Return minus twice the restricted log-likelihood, and its gradient."""
        covariance = self.known + sum(each * matrix for each, matrix in zip(variances, self.alike, strict=True))
        covariance = covariance + 1e-9 * np.eye(len(self.values))
        inverse = np.linalg.inv(covariance)
        _, logarithm = np.linalg.slogdet(covariance)
        ones = inverse.sum(axis=1)
        weight = float(ones.sum())
        projection = inverse - np.outer(ones, ones) / weight
        left = projection @ self.values
        value = logarithm + np.log(weight) + float(self.values @ left)
        gradient = [float((projection * each).sum() - left @ each @ left) for each in self.alike]
        return float(value), np.array(gradient)

    def fitted(
        self, fixed: int | None = None, at: float = 0.0, start: NDArray[np.float64] | None = None
    ) -> tuple[NDArray[np.float64], float]:
        """Return the variances of the least deviance, one of them fixed, and that deviance."""
        from scipy.optimize import minimize

        first = np.full(len(self.alike), 1 / len(self.alike)) if start is None else start.copy()
        bounds: list[tuple[float, float | None]] = [(0.0, None)] * len(self.alike)
        if fixed is not None:
            first[fixed] = at
            bounds[fixed] = (at, at)
        found = minimize(self.deviance, np.maximum(first, 1e-6), jac=True, bounds=bounds, method="L-BFGS-B")
        return np.asarray(found.x, dtype=np.float64), float(found.fun)

    def interval(self, place: int, best: NDArray[np.float64], lowest: float) -> tuple[float, float]:
        """Return the values of one variance that the profile likelihood does not speak against."""

        def above(logarithm: float) -> float:
            return self.fitted(place, float(np.exp(logarithm)), best)[1] - lowest - DROP

        peak = float(max(best[place], 1e-6))
        low, high = 0.0, float(np.inf)
        if self.fitted(place, 0.0, best)[1] - lowest > DROP:
            low = _crossing(above, np.log(1e-7), np.log(peak))
        end = peak
        while end < LARGEST and above(np.log(end)) < 0:
            end *= 8
        if end < LARGEST:
            high = _crossing(above, np.log(end), np.log(end / 8))
        return low * self.scale, high * self.scale


def _crossing(above: Callable[[float], float], out: float, within: float) -> float:
    """Return where a function of a logarithm that is positive at `out` and not at `within` crosses 0, to 2%."""
    while abs(out - within) > 0.02:
        middle = (out + within) / 2
        out, within = (middle, within) if above(middle) > 0 else (out, middle)
    return float(np.exp((out + within) / 2))


def known_covariance(
    changes: Sequence[NDArray[np.float64]], alike: Sequence[str], weights: Sequence[float] | None = None
) -> NDArray[np.float64]:
    """Return the covariance that documents give the means of runs over benchmarks.

    The variances are each run's own. Of correlations there are two, of runs that are alike and of others, each the mean
    over all such pairs with documents in common: a covariance of many runs taken pair by pair would be mostly noise.

    Args:
        changes: of each benchmark runs x documents, NaN where a run has not the document.
        alike: of each run what it shares with those that documents move as they move it, such as its method.
        weights: what each benchmark counts for; equally without.
    """
    runs = len(alike)
    weights = weights or [1.0] * len(changes)
    counted = np.sum([w * np.isfinite(each).any(axis=1) for each, w in zip(changes, weights, strict=True)], axis=0)
    total, shared = np.zeros((runs, runs)), np.zeros((runs, runs), dtype=bool)
    for each, weight in zip(changes, weights, strict=True):
        there = np.isfinite(each)
        sizes = np.maximum(there.sum(axis=1), 1)
        means = np.where(there, each, 0.0).sum(axis=1) / sizes
        centred = np.where(there, each - means[:, None], 0.0)
        correction = np.outer(sizes, sizes) - np.sqrt(np.outer(sizes, sizes))
        total += weight**2 * (centred @ centred.T) / np.maximum(correction, 1.0)
        shared |= (there.astype(float) @ there.T.astype(float)) > 0
    scales = np.outer(counted, counted)
    total = np.where(scales > 0, total / np.where(scales > 0, scales, 1.0), 0.0)
    errors = np.sqrt(np.diag(total))
    scale = np.outer(errors, errors)
    other = shared & ~np.eye(runs, dtype=bool) & (scale > 0)
    same = np.array([[one == another for another in alike] for one in alike]) & other
    between = max(0.0, _mean_ratio(total, scale, other & ~same))
    within = min(0.999, max(between, _mean_ratio(total, scale, same)))
    correlation = np.where(same, within, np.where(other, between, 0.0)) + np.eye(runs)
    return np.asarray(correlation * scale)


def _mean_ratio(total: NDArray[np.float64], scale: NDArray[np.float64], pairs: NDArray[np.bool_]) -> float:
    return float((total[pairs] / scale[pairs]).mean()) if pairs.any() else 0.0
