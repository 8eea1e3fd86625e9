"""The mean change of paired scores: one test and one interval, from one standard error.

Scores before and after are matrices of seeds by documents; a single measurement is one row. Documents that belong
together (a passage's questions, a problem in several languages) form a cluster, and clusters are what is independent.

The standard error adds up what the clusters and the seeds contribute (two crossed random effects, Satterthwaite's
degrees of freedom), so it tells of other documents and, with several seeds, of other seeds. On it rest

- for scores of 0 and 1 Tango's score interval, its counts divided by the design effect, and McNemar's test: in its
  exact mid-p form where every sample is independent (Fagerland et al. 2013, doi 10.1186/1471-2288-13-91), as a t-test
  otherwise;
- for other scores a t-test of the mean and its interval, each also with Hall's correction for skewness (Hall 1992,
  JRSS B 54:221): the larger p-value and the longer end count. Fewer than `LEAST_OF_SCORES` clusters are not tested:
  the one prompt in five that loses a lot may be in none of them.

With at most `EXACT_UP_TO` changed clusters the test is the exact one over all their sign flips. An interval holds 0
whenever the test does not reject at its level.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from pfh.statistics.noninferiority import score_statistic
from pfh.statistics.power import LEAST_FLIPS

if TYPE_CHECKING:
    from numpy.typing import NDArray


EXACT_UP_TO = 13
"""Up to so many changed clusters all 2^k sign flips are counted."""


LEAST_OF_SCORES = 16
"""Clusters below which a mean of scores that are not 0 and 1 is not tested."""


SKEWNESS_UNSEEN = 8
"""A sample of n shows too little of a skewness: it is taken 1 + 8/n times as large. With that the test of lognormal and
gamma scores, whose samples show least of it, holds its size from 16 on; without, it rejects 8% at 16."""


TAIL_OF_TWO_SEEDS = 0.25
"""The variance of two seeds is taken as high as a chi-square value that is smaller in this share of cases tells."""


ROUNDING = 1e-9
"""A standard error of at most this share of the scores' range is rounding."""


@dataclass(frozen=True, kw_only=True)
class Counts:
    """Flips of scores of 0 and 1, over all seeds."""

    lost: int
    gained: int
    pairs: int


@dataclass(frozen=True, kw_only=True)
class Change:
    """The mean of after - before, with what its test and its interval need."""

    estimate: float
    standard_error: float
    degrees: float
    """Of freedom of the standard error."""
    skewness: float
    """Of the estimate, not of the scores."""
    clusters: int
    sums: NDArray[np.float64]
    """The change summed over each cluster's documents and seeds."""
    span: float
    """Range of the scores."""
    counts: Counts | None
    """None for scores that are not 0 and 1."""
    independent: bool
    """Every sample is a cluster of its own, under one seed."""

    @cached_property
    def p_value(self) -> float:
        """Two-sided, of no change."""
        if not np.any(self.sums) or self.too_few:
            return 1.0
        if self.counts is not None:
            if self.independent:
                return mid_p(self.counts.lost, self.counts.gained)
            spread = math.sqrt(self.design_effect * self._variance_of_shares(self.counts))
            p_value = _two_sided(self.estimate / spread if spread else math.inf, self.degrees)
        elif self.is_constant:
            return float(2.0 ** (1 - np.count_nonzero(self.sums)))
        else:
            p_value = self._p_of_mean()
        if np.count_nonzero(self.sums) <= EXACT_UP_TO:
            p_value = max(p_value, flip_p(self.sums, half_of_ties=self.counts is not None))
        return min(p_value, 1.0)

    def interval(self, level: float = 0.95) -> tuple[float, float]:
        """Return the interval of the mean change; it holds 0 where the test does not reject at this level."""
        if self.counts is not None:
            low, high = self._interval_of_shares(level)
        elif self.is_constant:
            quantile = self._quantile(level)
            half = self.span * quantile**2 / (self.clusters + quantile**2)
            low, high = self.estimate - half, self.estimate + half
        else:
            low, high = self._interval_of_mean(level)
        return (min(low, 0.0), max(high, 0.0)) if self.p_value > 1 - level else (low, high)

    @property
    def too_few(self) -> bool:
        """Say whether there are too few clusters to test a mean of scores."""
        return self.counts is None and self.clusters < LEAST_OF_SCORES

    @property
    def is_constant(self) -> bool:
        """Say whether every cluster changed by the same: the data tell of no spread."""
        return self.standard_error <= ROUNDING * self.span

    @cached_property
    def design_effect(self) -> float:
        """How many times as large the variance is as that of independent samples; at least 1."""
        if self.independent or self.counts is None:
            return 1.0
        counts = self.counts
        changed = counts.lost + counts.gained
        if not changed:
            return counts.pairs / self.clusters
        variance = self._variance_of_shares(counts)
        return max(self.standard_error**2 / variance, 1.0) if variance > 0 else counts.pairs / self.clusters

    @property
    def variance(self) -> float:
        """Of the estimate; that of counts is never 0, as a flip that was not seen may come."""
        if self.counts is None:
            return self.standard_error**2
        counts = self.counts
        flips = max((counts.lost + counts.gained) / counts.pairs, min(LEAST_FLIPS / counts.pairs, 1.0))
        return self.design_effect * (flips - self.estimate**2) / counts.pairs

    def _variance_of_shares(self, counts: Counts) -> float:
        """Return the variance of the difference, were every sample independent."""
        return ((counts.lost + counts.gained) / counts.pairs - self.estimate**2) / counts.pairs

    def _quantile(self, level: float) -> float:
        from scipy.special import ndtri, stdtrit

        tail = (1 + level) / 2
        return float(ndtri(tail) if self.counts is not None and self.independent else stdtrit(self.degrees, tail))

    def _interval_of_shares(self, level: float) -> tuple[float, float]:
        assert self.counts is not None
        lost, gained, pairs = (
            count / self.design_effect for count in (self.counts.lost, self.counts.gained, self.counts.pairs)
        )
        quantile = self._quantile(level)
        if not self.independent:  # a score test has the variance at no change, the t-test that of the data
            quantile /= math.sqrt(1 + quantile**2 / pairs)
        return tango_interval(lost, gained, pairs, quantile)

    def _interval_of_mean(self, level: float) -> tuple[float, float]:
        quantile = self._quantile(level)
        plain = self.standard_error * quantile
        upper = self.standard_error * _unskewed(quantile, self.skewness)
        lower = self.standard_error * _unskewed(-quantile, self.skewness)
        return self.estimate - max(plain, upper), self.estimate + max(plain, -lower)

    def _p_of_mean(self) -> float:
        statistic = self.estimate / self.standard_error
        corrected = _skewed(statistic, self.skewness)
        return max(_two_sided(statistic, self.degrees), _two_sided(corrected, self.degrees))


def finite(low: float, high: float) -> tuple[float, float] | tuple[None, None]:
    """Return the ends of an interval; none where one sample alone tells nothing of its spread."""
    return (low, high) if math.isfinite(low) and math.isfinite(high) else (None, None)


def mean_change(
    before: NDArray[np.float64],
    after: NDArray[np.float64],
    clusters: Sequence[object] | None = None,
    *,
    crossed: bool = True,
) -> Change:
    """Return the mean change of scores.

    Args:
        before: shape (documents,) or (seeds, documents).
        after: likewise.
        clusters: what each document belongs to; None where every one is independent.
        crossed: every seed has a model of its own, so that the change varies between seeds too; else all rows are
            repetitions with the same models.
    """
    x, y = np.atleast_2d(before), np.atleast_2d(after)
    difference = y - x
    seeds, documents = difference.shape
    sums, sizes = _by_cluster(difference, clusters)
    count = sums.shape[1]
    estimate = float(difference.mean())
    # What each cluster adds to the mean, which is a ratio where clusters differ in size.
    units = count / documents * (sums - sizes * estimate) + estimate
    error, degrees = _standard_error(units if crossed else units.mean(axis=0, keepdims=True))
    both = np.concatenate([x, y])
    binary = is_binary(both)
    return Change(
        estimate=estimate,
        standard_error=error,
        degrees=degrees,
        skewness=_skewness(units.mean(axis=0), error),
        clusters=count,
        sums=sums.sum(axis=0),
        span=float(np.ptp(both)) or float(np.max(np.abs(both))) or 1.0,
        counts=Counts(lost=int(np.sum(difference < 0)), gained=int(np.sum(difference > 0)), pairs=difference.size)
        if binary
        else None,
        independent=seeds == 1 and count == documents,
    )


def tango_interval(lost: float, gained: float, pairs: float, quantile: float) -> tuple[float, float]:
    """Return Tango's interval of (gained - lost) / pairs; counts may be divided by a design effect."""
    from scipy.optimize import brentq

    def beyond(difference: float) -> float:
        return abs(float(score_statistic(lost, gained, pairs, difference))) - quantile

    estimate = (gained - lost) / pairs
    ends = [float(brentq(beyond, estimate, end)) if beyond(end) > 0 else end for end in (-1.0, 1.0)]
    return ends[0], ends[1]


def is_binary(scores: NDArray[np.float64]) -> bool:
    """Say whether every score is 0 or 1."""
    return bool(np.all((scores == 0) | (scores == 1)))


def mid_p(lost: int, gained: int) -> float:
    """Return the two-sided mid-p value of McNemar's test."""
    from scipy.stats import binom

    least, both = min(lost, gained), lost + gained
    if lost == gained:
        return 1.0
    return float(2 * binom.cdf(least, both, 0.5) - binom.pmf(least, both, 0.5))


def flip_p(sums: NDArray[np.float64], *, half_of_ties: bool) -> float:
    """Return the two-sided p-value over all sign flips of the clusters that changed.

    Args:
        sums: the change of each cluster.
        half_of_ties: count flips that do as much as the data by half (mid-p), as befits counts.
    """
    changed = sums[sums != 0]
    totals = np.zeros(1)
    for each in changed:
        totals = np.concatenate([totals + each, totals - each])
    seen, slack = abs(changed.sum()), ROUNDING * np.abs(changed).sum()
    more, as_much = np.mean(np.abs(totals) > seen + slack), np.mean(np.abs(np.abs(totals) - seen) <= slack)
    if half_of_ties:
        return 1.0 if seen <= slack else float(more + as_much / 2)
    return float(more + as_much)


def _by_cluster(
    difference: NDArray[np.float64], clusters: Sequence[object] | None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the sums over each cluster's documents, shape (seeds, clusters), and how many documents it has."""
    documents = difference.shape[1]
    places: dict[object, int] = {}
    of = [places.setdefault(name, len(places)) for name in (range(documents) if clusters is None else clusters)]
    if len(places) == documents:
        return difference, np.ones(documents)
    sums = np.zeros((len(difference), len(places)))
    np.add.at(sums.T, of, difference.T)
    return sums, np.bincount(of).astype(float)


def _standard_error(units: NDArray[np.float64]) -> tuple[float, float]:
    """Return the standard error of the mean of `units`, shape (seeds, clusters), and its degrees of freedom.

    With several seeds: two crossed random effects by their mean squares. That of few seeds is often far too small by
    chance, so it is taken at its median-unbiased value; with two seeds at the value that it exceeds in one of four.
    """
    from scipy.stats import chi2

    seeds, clusters = units.shape
    mean = units.mean()
    if clusters < 2:
        return math.inf, 1.0
    of_clusters = seeds * float(np.sum((units.mean(axis=0) - mean) ** 2)) / (clusters - 1)
    if seeds == 1:
        return math.sqrt(of_clusters / clusters), clusters - 1
    tail = TAIL_OF_TWO_SEEDS if seeds == 2 else 0.5
    of_seeds = clusters * float(np.sum((units.mean(axis=1) - mean) ** 2)) / float(chi2.ppf(tail, seeds - 1))
    rest = units - units.mean(axis=0) - units.mean(axis=1, keepdims=True) + mean
    of_rest = float(np.sum(rest**2)) / ((clusters - 1) * (seeds - 1))
    if of_seeds <= of_rest:
        return math.sqrt(of_clusters / units.size), clusters - 1
    total = of_clusters + of_seeds - of_rest
    degrees = total**2 / (
        of_clusters**2 / (clusters - 1) + of_seeds**2 / (seeds - 1) + of_rest**2 / ((clusters - 1) * (seeds - 1))
    )
    return math.sqrt(total / units.size), degrees


def _skewness(units: NDArray[np.float64], error: float) -> float:
    """Return the skewness of the mean of `units`, whose standard error is `error`, with what a sample hides of it."""
    third = float(np.mean((units - units.mean()) ** 3)) * (1 + SKEWNESS_UNSEEN / len(units))
    return third / (len(units) ** 2 * error**3) if 0 < error < math.inf else 0.0


def _skewed(statistic: float, skewness: float) -> float:
    """Return Hall's transformation of a t statistic: monotone, and without skewness of the first order."""
    return statistic + skewness * (statistic**2 / 3 + 1 / 6) + skewness**2 * statistic**3 / 27


def _unskewed(quantile: float, skewness: float) -> float:
    """Return the t statistic that `_skewed` makes `quantile` of."""
    if abs(skewness) < ROUNDING:
        return quantile
    return float(3 / skewness * (np.cbrt(1 + skewness * (quantile - skewness / 6)) - 1))


def _two_sided(statistic: float, degrees: float) -> float:
    from scipy.special import stdtr

    return float(2 * stdtr(degrees, -abs(statistic)))
