"""Scores as matrices of seeds by documents: a single measurement is one row, a missing score is NaN."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pfh.hooks.evaluation import Benchmark, Evaluation
from pfh.hooks.samples import Sample

if TYPE_CHECKING:
    from numpy.typing import NDArray


Pair = tuple[Sample, Sample]


@dataclass(frozen=True, kw_only=True)
class PairedScores:
    """The documents of one benchmark that were put to both models under every seed."""

    before: NDArray[np.float64]
    """Shape (seeds, documents)."""
    after: NDArray[np.float64]
    clusters: tuple[str, ...]
    """What each document belongs to; its id where it stands alone."""
    choices: tuple[int | None, ...]
    categories: tuple[str, ...]

    @property
    def seeds(self) -> int:
        """Return the number of seeds."""
        return len(self.before)

    def of(self, documents: NDArray[np.bool_]) -> PairedScores:
        """Return the scores of some documents."""
        places = np.flatnonzero(documents)
        return PairedScores(
            before=self.before[:, places],
            after=self.after[:, places],
            clusters=tuple(self.clusters[place] for place in places),
            choices=tuple(self.choices[place] for place in places),
            categories=tuple(self.categories[place] for place in places),
        )

    def complete(self) -> PairedScores:
        """Return the documents that have every score."""
        return self.of(np.all(np.isfinite(self.before) & np.isfinite(self.after), axis=0))

    def seen(self) -> PairedScores:
        """Return the documents that have a score at all; the others say nothing of a change."""
        return self.of(np.any(np.isfinite(self.before) | np.isfinite(self.after), axis=0))

    def of_category(self, name: str) -> PairedScores:
        """Return the documents of one category."""
        return self.of(np.array([category == name for category in self.categories], dtype=bool))

    def filled(self) -> tuple[PairedScores, PairedScores]:
        """Return the scores with the missing ones set for the greatest loss, and for the greatest gain.

        Scores within 0 and 1 could be missed at 0 or 1, others at the least and the greatest that was seen.
        """
        low, high = self._scale()
        return self._with(high, low), self._with(low, high)

    def _scale(self) -> tuple[float, float]:
        known = np.concatenate([self.before, self.after])
        known = known[np.isfinite(known)]
        if known.size == 0:
            return 0.0, 1.0
        least, most = float(known.min()), float(known.max())
        return (0.0, 1.0) if least >= 0 and most <= 1 else (least, most)

    def _with(self, missing_before: float, missing_after: float) -> PairedScores:
        return PairedScores(
            before=np.where(np.isfinite(self.before), self.before, missing_before),
            after=np.where(np.isfinite(self.after), self.after, missing_after),
            clusters=self.clusters,
            choices=self.choices,
            categories=self.categories,
        )


def paired_samples(before: Benchmark, after: Benchmark) -> list[Pair]:
    """Return the samples that both have, in the order of `before`."""
    later = {sample.id: sample for sample in after.samples}
    return [(sample, later[sample.id]) for sample in before.samples if sample.id in later]


def paired_benchmarks(before: Evaluation, after: Evaluation) -> list[tuple[Benchmark, Benchmark]]:
    """Pair the benchmarks of two evaluations by their names; those of one alone are left out."""
    later = {benchmark.name: benchmark for benchmark in after.benchmarks}
    return [(benchmark, later[benchmark.name]) for benchmark in before.benchmarks if benchmark.name in later]


def paired_scores(by_seed: Sequence[Sequence[Pair]]) -> PairedScores:
    """Return the scores of the documents that every seed has.

    Args:
        by_seed: for every seed the samples before and after.
    """
    named = [{pair[0].id: pair for pair in pairs} for pairs in by_seed]
    common = [name for name in named[0] if all(name in pairs for pairs in named)]
    first = [named[0][name][0] for name in common]
    return PairedScores(
        before=np.array([[_score(pairs[name][0]) for name in common] for pairs in named], dtype=float),
        after=np.array([[_score(pairs[name][1]) for name in common] for pairs in named], dtype=float),
        clusters=tuple(sample.cluster or f"document {sample.id}" for sample in first),
        choices=tuple(sample.choices for sample in first),
        categories=tuple(sample.category for sample in first),
    )


def _score(sample: Sample) -> float:
    """Return the score; NaN where there is none, or none that is a number."""
    return sample.score if sample.score is not None and math.isfinite(sample.score) else math.nan
