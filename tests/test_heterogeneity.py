"""The test of groups that changed otherwise than others: it holds its size, and finds a group that fell alone."""

from __future__ import annotations

import numpy as np
from pfh.hooks.evals import AnalysisSpec
from pfh.hooks.evaluation import Benchmark, Evaluation
from pfh.hooks.samples import Sample
from pfh.statistics.heterogeneity import heterogeneity_p
from pfh.statistics.paired import compare_evaluations
from pfh_evals import safety

GROUPS = [name for name in "abcd" for _ in range(10)]


def test_its_size_is_held_also_for_changes_of_unlike_shape() -> None:
    dice = np.random.default_rng(0)
    rejected = {"normal": 0, "counts": 0}
    for _ in range(400):
        for name, changes in (
            ("normal", dice.normal(-1, 1, 40)),
            ("counts", -(dice.uniform(size=40) < 0.2).astype(float)),
        ):
            p = heterogeneity_p(list(changes), GROUPS, draws=200, seed=int(dice.integers(2**31)))
            rejected[name] += p is not None and p <= 0.05
    assert 4 <= rejected["normal"] <= 34  # 20 of 400 expected, 99.9% between these
    assert rejected["counts"] <= 34


def test_a_group_that_falls_alone_is_found_and_a_fall_of_all_is_not() -> None:
    dice = np.random.default_rng(1)
    noise = dice.normal(0, 0.5, 40)
    alone = noise - np.repeat([2.0, 0, 0, 0], 10)
    assert (heterogeneity_p(list(alone), GROUPS) or 1) < 0.001
    assert (heterogeneity_p(list(noise - 2), GROUPS) or 0) > 0.05


def test_groups_too_small_to_tell_are_left_out() -> None:
    assert heterogeneity_p([0.0] * 4 + [5.0, 5.0], ["a"] * 4 + ["b"] * 2) is None
    assert heterogeneity_p([], []) is None
    assert heterogeneity_p([0.0] * 8, ["a"] * 4 + ["b"] * 4) == 1.0


def test_the_report_says_which_categories_moved() -> None:
    def margins(fall_of_a: float, fall_of_all: float) -> Evaluation:
        dice = np.random.default_rng(2)
        samples = tuple(
            Sample(
                id=str(place),
                benchmark="probes-harmful-margin",
                category=group,
                prompt="p",
                completion="",
                score=float(2 + dice.normal() - fall_of_all - fall_of_a * (group == "a")),
            )
            for place, group in enumerate(GROUPS)
        )
        margin = Benchmark(
            name="probes-harmful-margin", version="2", metric="refusal_margin", higher_is_better=None, samples=samples
        )
        return Evaluation(family="safety", benchmarks=(margin,))

    def told(after: Evaluation) -> str:
        before = margins(0, 0)
        comparisons = compare_evaluations(before, after)
        spec = AnalysisSpec(before=before, after=after, comparisons=comparisons, options=safety.Options())
        return " ".join(safety.analyze(spec).findings)

    specific = told(margins(2, 1))
    assert "On probes-harmful the shift is specific to categories (permutation test, p <" in specific
    assert "from -3.00 nats in a to -1.00 in" in specific
    assert "specific" not in told(margins(0, 1))
