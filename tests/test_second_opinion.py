"""The second opinion on a study's effects: a generalised estimating equation agrees where it should, and covers."""

from __future__ import annotations

import numpy as np
import pytest
from pfh.results.study.records import EffectRecord
from pfh.results.study.second_opinions import compared, second_opinions
from pfh.statistics.crossed import Effect, Scores, effect
from pfh.statistics.second_opinion import marginal_mean


def scores(changes, benchmark="b", weight=1.0) -> Scores:
    rows, columns = changes.shape
    names = tuple(map(str, range(columns)))
    return Scores(benchmark=benchmark, seeds=tuple(range(rows)), documents=names, changes=changes, weight=weight)


def drawn(dice, seeds, documents, mean=0.1, of_seeds=0.0, of_documents=0.4):
    by_seed, by_document = dice.normal(0, of_seeds, (seeds, 1)), dice.normal(0, of_documents, (1, documents))
    return mean + by_seed + by_document + dice.normal(0, 0.3, (seeds, documents))


@pytest.mark.parametrize("seeds", [1, 3])
def test_it_is_the_same_mean_and_the_same_error_of_the_documents(seeds):
    dice = np.random.default_rng(0)
    sizes = ((200, "a", 0.5), (60, "b", 0.25), (90, "c", 0.25))
    parts = [scores(drawn(dice, seeds, size), name, weight) for size, name, weight in sizes]
    if seeds > 1:
        parts[0].changes[0, :20] = np.nan  # documents that could not be scored under one seed
    first, second = effect(parts), marginal_mean(parts)
    assert second.mean == pytest.approx(first.mean, abs=1e-9)
    assert second.error == pytest.approx(first.document_error, rel=0.02)
    assert second.documents == first.documents == 350


@pytest.mark.parametrize("seeds", [1, 4])
def test_its_intervals_cover_where_documents_vary_and_seeds_do_not(seeds):
    dice = np.random.default_rng(1)
    covered = 0
    for _ in range(300):
        low, high = marginal_mean([scores(drawn(dice, seeds, 50))]).interval()
        covered += low <= 0.1 <= high
    assert 0.91 <= covered / 300 <= 0.985  # 0.95 and what 300 studies may be off


def test_it_knows_nothing_of_other_seeds_which_the_effect_does():
    """Three seeds that vary more than documents."""
    dice = np.random.default_rng(2)
    covered = np.zeros(2)
    for _ in range(200):
        each = [scores(drawn(dice, 3, 60, of_seeds=0.3, of_documents=0.2))]
        for place, (low, high) in enumerate((effect(each).interval(), marginal_mean(each).interval())):
            covered[place] += low <= 0.1 <= high
    assert covered[0] / 200 >= 0.92
    assert covered[1] / 200 <= 0.5


def test_what_never_changed_is_certain_and_what_has_one_document_is_not():
    still = marginal_mean([scores(np.zeros((2, 30)))])
    assert (still.interval(), still.p_value) == ((0.0, 0.0), 1.0)
    one = marginal_mean([scores(np.array([[1.0]]))])
    assert one.interval() == (-np.inf, np.inf)
    assert one.p_value == 1.0


def record(method: str, found: Effect) -> EffectRecord:
    low, high = found.interval()
    return EffectRecord(
        start="s",
        domain="d",
        method=method,
        family="f",
        category="",
        level="family",
        change=found.mean,
        low=low,
        high=high,
        p_value=found.p_value,
        p_adjusted=found.p_value,
        seeds=found.seeds,
        documents=found.documents,
        seed_error=found.seed_error,
        document_error=found.document_error,
    )


def test_where_the_two_differ_both_are_said_with_their_figures():
    dice = np.random.default_rng(3)
    cells = {
        ("s", "d", "steady", "f"): [scores(drawn(dice, 2, 200, mean=-0.3))],
        ("s", "d", "turns", "f"): [scores(np.array([[0.02] * 100, [0.3] * 100]) + dice.normal(0, 0.1, (2, 100)))],
    }
    effects = [record(place[2], effect(each)) for place, each in cells.items()]
    seconds = second_opinions(effects, cells)
    assert [each.same for each in seconds] == [True, False]
    said = compared(effects, seconds)
    assert said[0].startswith("1 of 2 changes of a family are the same by both")
    assert said[1].startswith(f"turns on d from s, f: {100 * effects[1].change:+.1f} [")
    assert said[1].endswith("points by the second model; 2 seeds differ by more than their documents do.")
    assert compared([], []) == ()
