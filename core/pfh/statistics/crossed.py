"""Means over seeds and documents that cross: every document under every seed, both of them random.

The mean of an S x D matrix varies with its seeds and with its documents. Both parts are taken from the row and the
column means; the interval is Student's, with degrees of freedom that do not take two or three seeds for many. Draws
for ranks and Pareto sets are a crossed multiplier bootstrap: one multiplier a seed and one a document, the same ones
for every cell, as the cells share seeds and documents.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

Cell = TypeVar("Cell", bound=Hashable)
"""What a cell is called."""
CONFIDENCE = 0.95
EQUAL = 1e-12
"""Difference of two draws that is rounding."""


@dataclass(frozen=True, kw_only=True)
class Scores:
    """One benchmark in one cell: changes of its documents, a row a seed; NaN where one could not be scored."""

    benchmark: Hashable
    seeds: tuple[int, ...]
    documents: tuple[str, ...]
    changes: NDArray[np.float64]
    """Seeds x documents."""
    weight: float = 1.0
    """What the benchmark counts for beside others."""


@dataclass(frozen=True, kw_only=True)
class Effect:
    """A weighted mean of benchmarks' mean changes."""

    mean: float
    seeds: int
    documents: int
    seed_error: float
    """Standard error that comes of the seeds; 0 with one seed, of which nothing is known then."""
    document_error: float
    """Standard error that comes of the documents."""
    freedom: float

    @property
    def error(self) -> float:
        """Standard error of the mean."""
        return math.hypot(self.seed_error, self.document_error)

    def interval(self, confidence: float = CONFIDENCE) -> tuple[float, float]:
        """Return the two-sided interval of the mean."""
        from scipy.stats import t

        half = float(t.ppf(0.5 + confidence / 2, self.freedom)) * self.error
        return self.mean - half, self.mean + half

    @property
    def p_value(self) -> float:
        """Two-sided, of no change."""
        return min(1.0, 2 * min(self.above(0.0), self.below(0.0)))

    def above(self, value: float) -> float:
        """Return the one-sided p-value of a mean of at most `value`."""
        from scipy.stats import t

        if self.error == 0:
            return 0.0 if self.mean > value else 1.0
        return float(t.sf((self.mean - value) / self.error, self.freedom))

    def below(self, value: float) -> float:
        """Return the one-sided p-value of a mean of at least `value`."""
        from scipy.stats import t

        if self.error == 0:
            return 0.0 if self.mean < value else 1.0
        return float(t.cdf((self.mean - value) / self.error, self.freedom))


@dataclass(frozen=True, kw_only=True)
class _Parts:
    mean: float
    by_seed: dict[int, float]
    by_document: dict[tuple[Hashable, str], float]
    """What a document adds to the mean, so that their sum over documents is 0."""
    document_variance: float
    documents: int


def effect(scores: Sequence[Scores]) -> Effect:
    """Return the mean change over benchmarks, each counted by its weight.

    Raises:
        ValueError: there is no benchmark with a scored document.
    """
    parts = _parts(scores)
    by_seed = list(parts.by_seed.values())
    count = len(by_seed)
    seed_variance = float(np.var(by_seed, ddof=1)) / count if count > 1 else 0.0
    document_variance = parts.document_variance
    return Effect(
        mean=parts.mean,
        seeds=count,
        documents=parts.documents,
        seed_error=math.sqrt(seed_variance),
        document_error=math.sqrt(document_variance),
        freedom=_freedom(seed_variance, count - 1, document_variance, parts.documents - 1),
    )


def _freedom(seed_variance: float, seeds: int, document_variance: float, documents: int) -> float:
    """Return the degrees of freedom whose quantile is the mean of both parts' own, weighted by their variances.

    Cochran and Cox (1957, section 4.14): unlike Satterthwaite's they keep to the level with two or three seeds.
    """
    from scipy.optimize import brentq
    from scipy.stats import t

    parts = [(seed_variance, seeds), (document_variance, documents)]
    parts = [(variance, freedom) for variance, freedom in parts if variance > 0 and freedom > 0]
    if not parts:
        return math.inf
    if len(parts) == 1:
        return float(parts[0][1])
    level = 0.5 + CONFIDENCE / 2
    wanted = sum(variance * float(t.ppf(level, freedom)) for variance, freedom in parts) / sum(v for v, _ in parts)
    low, high = (extreme(freedom for _, freedom in parts) for extreme in (min, max))
    return float(low) if low == high else float(brentq(lambda each: t.ppf(level, each) - wanted, low, high))


def _parts(scores: Sequence[Scores]) -> _Parts:
    kept = [each for each in scores if np.isfinite(each.changes).any()]
    if not kept:
        raise ValueError("no document was scored before and after")
    total = sum(each.weight for each in kept)
    seeds = sorted({seed for each in kept for seed in each.seeds})
    mean, variance, documents = 0.0, 0.0, 0
    by_seed = dict.fromkeys(seeds, 0.0)
    by_document: dict[tuple[Hashable, str], float] = {}
    for each in kept:
        weight = each.weight / total
        columns = np.atleast_1d(np.isfinite(each.changes).any(axis=0))
        changes = each.changes[:, columns]
        names = [name for name, there in zip(each.documents, columns, strict=True) if there]
        rows = np.nanmean(changes, axis=1)
        means = np.nanmean(changes, axis=0)
        center = float(np.mean(means))
        mean += weight * center
        for seed, row in zip(each.seeds, rows, strict=True):
            by_seed[seed] += weight * (float(row) - center if np.isfinite(row) else 0.0)
        count = len(means)
        documents += count
        if count > 1:
            variance += weight**2 * float(np.var(means, ddof=1)) / count
            scale = weight / count * math.sqrt(count / (count - 1))
            deviations = (means - center) * scale
            by_document |= {(each.benchmark, name): float(value) for name, value in zip(names, deviations, strict=True)}
    return _Parts(mean=mean, by_seed=by_seed, by_document=by_document, document_variance=variance, documents=documents)


def joint_draws(
    cells: Mapping[Cell, Sequence[Scores]], *, count: int = 2000, seed: int = 0
) -> dict[Cell, NDArray[np.float64]]:
    """Return draws of the mean of every cell, `count` each, correlated as shared seeds and documents make them."""
    parts = {name: _parts(scores) for name, scores in cells.items()}
    dice = np.random.default_rng(seed)
    documents = list(dict.fromkeys(key for each in parts.values() for key in each.by_document))
    place = {key: index for index, key in enumerate(documents)}
    multipliers = dice.standard_normal((count, len(documents))).astype(np.float32)
    seeds = sorted({key for each in parts.values() for key in each.by_seed})
    of_seed = {key: dice.standard_normal(count) for key in seeds}
    drawn: dict[Cell, NDArray[np.float64]] = {}
    for name, each in parts.items():
        vector = np.zeros(len(documents), dtype=np.float32)
        for key, value in each.by_document.items():
            vector[place[key]] = value
        total = each.mean + (multipliers @ vector).astype(np.float64)
        size = len(each.by_seed)
        if size > 1:
            # Deviations of S seeds fall short of the spread by S / (S - 1), and the spread itself is only estimated.
            student = np.sqrt((size - 1) / np.random.default_rng(seed + size).chisquare(size - 1, count))
            scale = math.sqrt(size / (size - 1)) / size
            total = total + student * scale * sum(of_seed[key] * value for key, value in each.by_seed.items())
        drawn[name] = total
    return drawn


@dataclass(frozen=True, kw_only=True)
class Order:
    """What is known of the order of several means, all statements together at 95%."""

    ranks: dict[Hashable, tuple[int, int]]
    """Of each cell its lowest and highest rank, 1 for the greatest mean."""
    p_value: float
    """Of no difference between any two."""


def order_of(draws: Mapping[Cell, NDArray[np.float64]]) -> Order:
    """Return what draws tell of the order of cells: two differ if they do by the greatest difference of all pairs.

    Confidence sets for ranks of Mogstad, Romano, Shaikh and Wilhelm (2024, Review of Economic Studies 91:476), with
    scales by the median, as two or three seeds make the tails of the draws heavy.
    """
    names: list[Hashable] = list(draws)
    if len(names) < 2:
        return Order(ranks=dict.fromkeys(names, (1, 1)), p_value=1.0)
    table = np.stack([draws[name] for name in draws])
    first, second = np.triu_indices(len(names), 1)
    gaps = table[first] - table[second]
    centres = np.median(gaps, axis=1)
    scales = np.median(np.abs(gaps - centres[:, None]), axis=1)
    scales = np.where(scales > 0, scales, np.inf)
    greatest = (np.abs(gaps - centres[:, None]) / scales[:, None]).max(axis=0)
    limit = float(np.quantile(greatest, CONFIDENCE))
    told = centres / scales
    ranks = {}
    for place, name in enumerate(names):
        beaten = ((first == place) & (told < -limit)) | ((second == place) & (told > limit))
        beats = ((first == place) & (told > limit)) | ((second == place) & (told < -limit))
        ranks[name] = (1 + int(beaten.sum()), len(names) - int(beats.sum()))
    above = int((greatest >= np.abs(told).max()).sum())
    return Order(ranks=ranks, p_value=(1 + above) / (1 + len(greatest)))


def pareto_probabilities(
    gains: Mapping[Cell, NDArray[np.float64]], losses: Mapping[Cell, NDArray[np.float64]]
) -> dict[Cell, float]:
    """Return how probable it is of each cell that no other one is better in one and at least as good in the other.

    What two cells have in common to a rounding error is equal in both: methods that got the same documents right gained
    the same in every draw.
    """
    names = [name for name in gains if name in losses]
    if not names:
        return {}
    first, second = (np.stack([draws[name] for name in names]) for draws in (gains, losses))
    found = {}
    for place, name in enumerate(names):
        gaps = (first - first[place], second - second[place])
        no_worse = np.logical_and(*(gap >= -EQUAL for gap in gaps))
        better = np.logical_or(*(gap > EQUAL for gap in gaps))
        beaten = (no_worse & better).any(axis=0)
        found[name] = float(1 - beaten.mean())
    return found


def documents_needed(effect_: Effect, margin: float) -> int | None:
    """Return how many documents more would bring the interval's end to `margin`, all else equal; None if none would."""
    from scipy.stats import t

    room = abs(effect_.mean - margin)
    wanted = room / float(t.ppf(0.5 + CONFIDENCE / 2, effect_.freedom))
    left = wanted**2 - effect_.seed_error**2
    if left <= 0 or effect_.document_error == 0:
        return None
    return max(0, math.ceil(effect_.documents * (effect_.document_error**2 / left - 1)))


def difference(first: Effect, second: Effect) -> Effect:
    """Return the difference of two effects as if they shared neither seeds nor documents: its errors are at most so."""
    return Effect(
        mean=first.mean - second.mean,
        seeds=min(first.seeds, second.seeds),
        documents=max(first.documents, second.documents),
        seed_error=math.hypot(first.seed_error, second.seed_error),
        document_error=math.hypot(first.document_error, second.document_error),
        freedom=min(first.freedom, second.freedom),
    )
