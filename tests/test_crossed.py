"""Means over seeds and documents: intervals cover, whichever of the two varies more; draws agree with them."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from pfh.statistics.crossed import (
    Scores,
    documents_needed,
    effect,
    joint_draws,
    order_of,
    pareto_probabilities,
)


def scores(changes, benchmark="b") -> Scores:
    rows, columns = changes.shape
    return Scores(
        benchmark=benchmark,
        seeds=tuple(range(rows)),
        documents=tuple(map(str, range(columns))),
        changes=changes,
    )


@pytest.mark.parametrize(
    ("of_seeds", "of_documents"), [(0.2, 0.2), (0.02, 0.6), (0.0, 0.5)], ids=["seeds", "documents", "no seeds"]
)
@pytest.mark.parametrize("seeds", [2, 3, 6])
def test_intervals_cover_whichever_varies_more(of_seeds, of_documents, seeds):
    dice = np.random.default_rng(1)
    covered = 0
    for _ in range(400):
        by_seed, by_document = dice.normal(0, of_seeds, (seeds, 1)), dice.normal(0, of_documents, (1, 60))
        low, high = effect([scores(0.1 + by_seed + by_document + dice.normal(0, 0.3, (seeds, 60)))]).interval()
        covered += low <= 0.1 <= high
    assert covered / 400 >= 0.925


def test_with_one_benchmark_and_one_seed_it_is_the_t_interval_of_the_documents():
    from scipy.stats import ttest_1samp

    changes = np.random.default_rng(2).choice([-1.0, 0.0, 1.0], (1, 80))
    found = effect([scores(changes)])
    reference = ttest_1samp(changes[0], 0.0)
    assert found.p_value == pytest.approx(reference.pvalue)
    assert found.interval() == pytest.approx(tuple(reference.confidence_interval()))


def test_errors_agree_with_a_mixed_model_of_crossed_seeds_and_documents():
    """statsmodels' MixedLM with both as variance components, on data with known ones."""
    import pandas as pd
    from statsmodels.regression.mixed_linear_model import MixedLM

    dice = np.random.default_rng(3)
    seeds, documents = 8, 40
    changes = 0.05 + dice.normal(0, 0.15, (seeds, 1)) + dice.normal(0, 0.3, (1, documents))
    changes = changes + dice.normal(0, 0.2, (seeds, documents))
    table = pd.DataFrame(
        {
            "change": changes.ravel(),
            "seed": np.repeat(np.arange(seeds), documents),
            "document": np.tile(np.arange(documents), seeds),
            "all": 1,
        }
    )
    components = {"seed": "0 + C(seed)", "document": "0 + C(document)"}
    fitted = MixedLM.from_formula("change ~ 1", table, groups="all", re_formula="0", vc_formula=components).fit()
    found = effect([scores(changes)])
    assert found.mean == pytest.approx(fitted.params["Intercept"], abs=1e-6)
    assert found.error == pytest.approx(float(fitted.bse["Intercept"]), rel=0.1)


def test_benchmarks_count_equally_whatever_their_size():
    large, small = scores(np.full((1, 100), 0.1)), scores(np.full((1, 10), 0.3), "c")
    assert effect([large, small]).mean == pytest.approx(0.2)
    heavy = dataclasses.replace(large, weight=3.0)
    assert effect([heavy, small]).mean == pytest.approx(0.15)
    assert joint_draws({"x": [heavy, small]}, count=10)["x"] == pytest.approx(np.full(10, 0.15))
    with pytest.raises(ValueError, match="no document"):
        effect([scores(np.full((1, 3), np.nan))])


def test_draws_have_the_spread_of_the_interval_and_cells_that_share_documents_move_together():
    dice = np.random.default_rng(4)
    shared = dice.normal(0, 0.4, (1, 200))
    cells = {
        name: [scores(shift + shared + dice.normal(0, 0.02, (1, 200)))] for name, shift in (("x", 0.0), ("y", 0.05))
    }
    draws = joint_draws(cells)
    assert np.std(draws["x"]) == pytest.approx(effect(cells["x"]).error, rel=0.08)
    assert np.corrcoef(draws["x"], draws["y"])[0, 1] > 0.95
    assert order_of(draws).ranks == {"y": (1, 1), "x": (2, 2)}
    assert order_of(draws).p_value < 0.01


def test_a_cell_is_in_the_pareto_set_unless_another_is_better_in_both():
    steady = {name: np.full(10, value) for name, value in (("a", 0.2), ("b", 0.1), ("c", 0.05))}
    other = {name: np.full(10, value) for name, value in (("a", -0.2), ("b", -0.1), ("c", -0.15))}
    assert pareto_probabilities(steady, other) == {"a": 1.0, "b": 1.0, "c": 0.0}


def test_of_two_cells_that_gain_the_same_only_the_one_that_loses_less_is_in_the_pareto_set():
    """Both got the same documents right, so that their gains are equal in every draw, to rounding."""
    dice = np.random.default_rng(0)
    gain = dice.normal(0.2, 0.1, 500)
    gains = {"keeps": gain, "loses": gain * (1 + 1e-15), "start": np.zeros(500)}
    kept = {"keeps": dice.normal(0, 0.01, 500), "loses": dice.normal(-0.3, 0.01, 500), "start": np.zeros(500)}
    found = pareto_probabilities(gains, kept)
    assert found["keeps"] > 0.9
    assert found["loses"] == 0.0
    twins = pareto_probabilities({"a": gain, "b": gain}, {"a": gain, "b": gain})
    assert twins == {"a": 1.0, "b": 1.0}


def test_documents_that_would_settle_it_do_settle_it():
    dice = np.random.default_rng(5)
    few = effect([scores(dice.normal(0.0, 0.3, (1, 50)))])
    more = documents_needed(few, few.mean - few.error)
    assert more is not None
    assert 100 < more < 200  # the interval has to shrink to half of its width: four times the documents
    seeds_alone = effect([scores(np.array([[0.3] * 50, [-0.3] * 50]))])
    assert documents_needed(seeds_alone, -0.02) is None


@pytest.mark.parametrize("seeds", [1, 3])
def test_of_equal_means_an_order_is_told_in_at_most_one_of_twenty(seeds):
    dice = np.random.default_rng(4)
    told = 0
    for run in range(150):
        cells = {name: [scores(dice.normal(0, 0.4, (seeds, 40)))] for name in "abcde"}
        order = order_of(joint_draws(cells, count=400, seed=run))
        told += any(low > 1 or high < 5 for low, high in order.ranks.values())
    assert told / 150 <= 0.08  # 0.05 and what 150 studies may be off
