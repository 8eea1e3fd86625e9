"""Diversity over prompts: do the answers to different prompts differ? The means within a prompt cannot show it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
from pfh.hooks.evals import Analysis, AnalysisSpec
from pfh.hooks.evaluation import Evaluation
from pfh.hooks.tables import Cell, Table
from pfh.statistics.paired import CONFIDENCE

from pfh_evals.policy import plots
from pfh_evals.policy.intervals import Figure, jackknife_cells
from pfh_evals.policy.measures import EMBEDDING
from pfh_evals.policy.pairing import completions_of, pairs_of
from pfh_evals.policy.words import distinct, pairwise_bleu

if TYPE_CHECKING:
    from numpy.typing import NDArray

MOST = 100
"""So many prompts, evenly spread, are compared pair by pair."""
ALL = "all prompts"
Prompt = tuple[str, list[str], list[str]]
"""Category, completions before, completions after."""
Matrices = tuple["NDArray[np.float64]", "NDArray[np.float64]"]
"""A figure of every pair of prompts, before and after: symmetric, shape (prompts, prompts)."""


def diversity_of_the_set(spec: AnalysisSpec) -> Analysis:
    """Return the table of the whole set and of each category, and the plots of diversity within a prompt."""
    names = ("distinct-2", "self-bleu", EMBEDDING)
    shown = [plots.diversity(name, pairs) for name in names if (pairs := pairs_of(spec, name))]
    rows = [*_distinct_rows(spec), *_bleu_rows(spec), *_embedding_rows(spec)]
    order = list(dict.fromkeys(row[0] for row in rows))
    rows.sort(key=lambda row: order.index(row[0]))
    table = Table(
        title="Diversity over the whole set",
        columns=("prompts", "measure", "before", "after", "change"),
        rows=tuple(rows),
        note="distinct-n: distinct n-grams among all n-grams of all completions of these prompts together. It falls "
        "where a model answers different prompts alike, and with the amount of text: compare before with after, not "
        "one row with another. pairwise BLEU (high is uniform) and embedding distance (high is varied): the mean over "
        f"pairs of prompts, of the first completion of each. {CONFIDENCE:.0%} intervals by the jackknife over prompts.",
    )
    return Analysis(tables=(table,) if rows else (), plots=tuple(shown))


def _distinct_rows(spec: AnalysisSpec) -> Iterator[tuple[Cell, ...]]:
    for n in (1, 2, 3):
        found = [each for each in completions_of(spec) if None not in (distinct(each[1], n), distinct(each[2], n))]

        def figure(members: Sequence[int], side: int, n: int = n, found: Sequence[Prompt] = found) -> Figure:
            return lambda kept: distinct([text for place in kept for text in found[members[place]][side]], n) or 0.0

        for category, members in _groups([category for category, _, _ in found]):
            cells = jackknife_cells(len(members), figure(members, 1), figure(members, 2))
            yield (category, f"distinct-{n}", *cells)


def _bleu_rows(spec: AnalysisSpec) -> Iterator[tuple[Cell, ...]]:
    kept = [each for each in completions_of(spec) if each[1][0].strip() and each[2][0].strip()]
    found = [kept[place] for place in _spread(len(kept))]
    before, after = (pairwise_bleu([each[side][0] for each in found]) for side in (1, 2))
    yield from _pairwise_rows("pairwise BLEU", [category for category, _, _ in found], (before, after))


def _embedding_rows(spec: AnalysisSpec) -> Iterator[tuple[Cell, ...]]:
    sides = [_vectors(spec.before), _vectors(spec.after)]
    pairs = pairs_of(spec, EMBEDDING)
    known = [sample for sample, _ in pairs if all(sample.extra["prompt_id"] in side for side in sides)]
    kept = [known[place] for place in _spread(len(known))]
    if len(kept) < 2:
        return
    first, second = (np.stack([side[sample.extra["prompt_id"]] for sample in kept]).astype(float) for side in sides)
    yield from _pairwise_rows(
        "embedding distance", [sample.category for sample in kept], (1 - first @ first.T, 1 - second @ second.T)
    )


def _vectors(evaluation: Evaluation) -> dict[str, NDArray[np.float32]]:
    """Return the embedding of each prompt's first completion, by the prompt's id."""
    rows = next((row for row in evaluation.benchmarks if row.name == EMBEDDING), None)
    if rows is None or "embeddings" not in evaluation.arrays:
        return {}
    vectors = evaluation.arrays["embeddings"]
    return {sample.extra["prompt_id"]: vectors[sample.extra["row"]] for sample in rows.samples}


def _pairwise_rows(name: str, categories: Sequence[str], matrices: Matrices) -> Iterator[tuple[Cell, ...]]:
    def figure(members: Sequence[int], side: int) -> Figure:
        def mean(kept: list[int]) -> float:
            places = [members[place] for place in kept]
            block = matrices[side][np.ix_(places, places)]
            return float((block.sum() - np.trace(block)) / (len(places) * (len(places) - 1)))

        return mean

    for category, members in _groups(categories):
        if len(members) > 2:  # the jackknife leaves one out, and a pair must be left
            yield (category, name, *jackknife_cells(len(members), figure(members, 0), figure(members, 1)))


def _groups(categories: Sequence[str]) -> Iterator[tuple[str, list[int]]]:
    """Yield the places of all prompts, and of each category, that has at least two."""
    for category in (ALL, *dict.fromkeys(categories)):
        members = [place for place, each in enumerate(categories) if category in (ALL, each)]
        if len(members) > 1:
            yield category, members


def _spread(count: int) -> list[int]:
    return [number * count // MOST for number in range(MOST)] if count > MOST else list(range(count))
