"""Many estimates of one kind, shrunk towards each other: the posterior of a normal hierarchical model.

Each estimate is normal around its own truth, the truths are normal around a common mean. Mean and spread of the truths
get flat priors and are integrated out, the spread on a grid (Gelman et al. 2013, Bayesian Data Analysis, section 5.4):
one best value of the spread would be too sure.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

GRID = 200


def shrunken(estimates: Sequence[float], variances: Sequence[float]) -> list[tuple[float, float, float]]:
    """Return for each estimate the mean of its truth, and the ends of a central 95% interval.

    Args:
        estimates: three or more.
        variances: their own, above 0.
    """
    y, v = np.asarray(estimates, dtype=float), np.asarray(variances, dtype=float)
    widest = 3 * float(np.ptp(y)) + 3 * float(np.sqrt(v.max()))
    spreads = np.linspace(widest / GRID / 10, widest, GRID)[:, None]
    weights = 1 / (v + spreads**2)
    of_mean = 1 / weights.sum(axis=1, keepdims=True)
    means = (weights * y).sum(axis=1, keepdims=True) * of_mean
    logs = 0.5 * (np.log(of_mean[:, 0]) + np.log(weights).sum(axis=1) - (weights * (y - means) ** 2).sum(axis=1))
    posterior = np.exp(logs - logs.max())
    posterior /= posterior.sum()
    own = spreads**2 / (v + spreads**2)  # how much of each estimate is its own
    centres = own * y + (1 - own) * means
    widths = own * v + (1 - own) ** 2 * of_mean
    mean = posterior @ centres
    deviation = np.sqrt(posterior @ (widths + centres**2) - mean**2)
    return [(float(m), float(m - 1.96 * d), float(m + 1.96 * d)) for m, d in zip(mean, deviation, strict=True)]
