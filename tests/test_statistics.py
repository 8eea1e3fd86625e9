"""Paired statistics against scipy, statsmodels and cases worked by hand."""

import dataclasses

import numpy as np
import pytest
from pfh.hooks.evaluation import Benchmark, Evaluation
from pfh.hooks.samples import Sample
from pfh.statistics.paired import adjust, compare_evaluations, paired_interval, paired_p_value
from scipy.stats import wilcoxon
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests


def benchmark(scores, name="b", **fields):
    samples = tuple(
        Sample(id=str(i), benchmark=name, category="odd" if i % 2 else "even", prompt="p", completion="c", score=score)
        for i, score in enumerate(scores)
    )
    defaults = {"version": "1", "metric": "accuracy", "higher_is_better": True}
    return Benchmark(name=name, samples=samples, **defaults | fields)


def compare(before, after, **fields):
    rows = compare_evaluations(
        Evaluation(family="f", benchmarks=(benchmark(before, **fields),)),
        Evaluation(family="f", benchmarks=(benchmark(after, **fields),)),
    )
    return rows[0]


def binary_pair(n11, n10, n01, n00):
    before = np.array([1.0] * (n11 + n10) + [0.0] * (n01 + n00))
    after = np.array([1.0] * n11 + [0.0] * n10 + [1.0] * n01 + [0.0] * n00)
    return before, after


@pytest.mark.parametrize(("n10", "n01"), [(0, 0), (1, 0), (5, 1), (12, 3), (40, 38), (0, 9)])
def test_binary_p_value_is_the_exact_mcnemar_test_of_statsmodels(n10, n01):
    before, after = binary_pair(30, n10, n01, 20)
    expected = mcnemar([[30, n10], [n01, 20]], exact=True).pvalue
    assert paired_p_value(before, after) == pytest.approx(expected)


def test_continuous_p_value_is_the_wilcoxon_test_of_scipy():
    generator = np.random.default_rng(0)
    before, after = generator.normal(size=60), generator.normal(0.3, size=60)
    assert paired_p_value(before, after) == wilcoxon(after - before).pvalue


def test_identical_continuous_scores_have_p_value_one():
    scores = np.array([0.1, 0.5, 0.7])
    assert paired_p_value(scores, scores) == 1.0


def test_adjusted_p_values_are_those_of_statsmodels():
    p_values = [0.001, 0.2, 0.03, 0.04, 0.9, 0.001]
    assert adjust(p_values) == pytest.approx(list(multipletests(p_values, method="fdr_bh")[1]))
    assert adjust([]) == []


def test_counts_delta_and_direction_by_hand():
    before, after = binary_pair(50, 30, 5, 15)
    row = compare(before, after)
    assert (row.n, row.n10, row.n01) == (100, 30, 5)
    assert row.before == pytest.approx(0.80)
    assert row.after == pytest.approx(0.55)
    assert row.delta == pytest.approx(-0.25)
    assert row.ci_low < -0.25 < row.ci_high < 0
    assert row.verdict == "worse"
    assert compare(before, after, higher_is_better=False).verdict == "better"
    assert compare(before, after, higher_is_better=None).verdict == "changed"


def test_a_model_against_itself_shows_no_change():
    row = compare([1.0, 0.0] * 30, [1.0, 0.0] * 30)
    assert (row.delta, row.p_value, row.verdict) == (0.0, 1.0, "no evidence of change")
    assert row.ci_low < 0 < row.ci_high, "60 pairs without a discordant one do not prove a change of exactly 0"


def test_categories_are_compared_and_adjusted():
    row = compare([1.0] * 40, [0.0, 1.0] * 20)
    by_name = {category.category: category for category in row.categories}
    assert by_name["even"].delta == -1.0
    assert by_name["odd"].delta == 0.0
    assert by_name["even"].p_adjusted == pytest.approx(min(by_name["even"].p_value * 2, 1))


def test_missing_is_never_zero():
    measured = benchmark([1.0, 1.0])
    absent = dataclasses.replace(measured, status="NOT_RUN", reason="no data", samples=())
    before, after = Evaluation(family="f", benchmarks=(measured,)), Evaluation(family="f", benchmarks=(absent,))
    row = compare_evaluations(before, after)[0]
    assert (row.status, row.reason, row.before, row.delta, row.p_adjusted) == ("NOT_RUN", "no data", None, None, None)
    assert compare_evaluations(before, Evaluation(family="f", benchmarks=()))[0].status == "NOT_RUN"


def test_unscored_samples_are_left_out_and_too_few_are_insufficient():
    row = compare([1.0, None, None], [1.0, 1.0, None])
    assert (row.status, row.n) == ("INSUFFICIENT", 1)


@pytest.mark.parametrize("field", ["version", "judge"])
def test_what_was_measured_differently_is_not_compared(field):
    before = benchmark([1.0, 0.0])
    after = dataclasses.replace(before, **{field: "another"})
    row = compare_evaluations(
        Evaluation(family="f", benchmarks=(before,)), Evaluation(family="f", benchmarks=(after,))
    )[0]
    assert row.status == "ERROR"
    assert "another" in row.reason


def test_samples_are_paired_by_id_whatever_their_order():
    before = benchmark([1.0, 0.0, 1.0, 0.0])
    after = dataclasses.replace(before, samples=before.samples[::-1])
    row = compare_evaluations(
        Evaluation(family="f", benchmarks=(before,)), Evaluation(family="f", benchmarks=(after,))
    )[0]
    assert (row.n, row.n10, row.n01) == (4, 0, 0)


@pytest.mark.parametrize(("p10", "p01", "highest"), [(0.02, 0.02, 1.0), (0.15, 0.05, 0.98), (0.3, 0.1, 0.98)])
def test_intervals_cover_the_true_change_at_their_nominal_rate(p10, p01, highest):
    """With few discordant pairs the interval is allowed to be too long, never too short."""
    generator = np.random.default_rng(1)
    covered, trials, n = 0, 400, 120
    for trial in range(trials):
        n10, n01, n11, n00 = generator.multinomial(n, [p10, p01, 0.4, 0.6 - p10 - p01])
        before, after = binary_pair(n11, n10, n01, n00)
        low, high, _ = paired_interval(before, after, seed=trial)
        covered += low <= p01 - p10 <= high
    assert 0.92 <= covered / trials <= highest


def test_false_discoveries_stay_rare_where_nothing_changed():
    generator = np.random.default_rng(2)
    families_with_a_discovery = 0
    for _ in range(300):
        p_values = []
        for _ in range(8):
            n10, n01, rest = generator.multinomial(80, [0.1, 0.1, 0.8])
            p_values.append(paired_p_value(*binary_pair(rest, n10, n01, 0)))
        families_with_a_discovery += min(adjust(p_values)) <= 0.05
    assert families_with_a_discovery / 300 <= 0.05


def test_the_interval_of_continuous_scores_agrees_with_scipy():
    from scipy.stats import bootstrap

    generator = np.random.default_rng(3)
    before, after = generator.random(2000), generator.random(2000)
    low, high, method = paired_interval(before, after)
    expected = bootstrap((after - before,), np.mean, method="percentile", n_resamples=5000, rng=0).confidence_interval
    assert method == "paired bootstrap"
    assert (low, high) == pytest.approx((expected.low, expected.high), abs=2e-3)


@pytest.mark.parametrize("n", [513, 5000])
def test_many_values_give_the_interval_of_a_plain_bootstrap(n):
    """Beyond 512 samples differences are drawn in groups; the skewed ones here would show it if that mattered."""
    generator = np.random.default_rng(4)
    difference = generator.exponential(size=n) - 0.8 * generator.exponential(size=n)
    low, high, _ = paired_interval(np.zeros(n), difference)
    means = [difference[generator.integers(0, n, n)].mean() for _ in range(10_000)]
    expected = np.quantile(means, [0.025, 0.975])
    assert (low, high) == pytest.approx(expected, abs=0.08 * np.std(means))


def test_the_seed_fixes_the_interval():
    before, after = binary_pair(30, 20, 10, 40)
    assert paired_interval(before, after, seed=5) == paired_interval(before, after, seed=5)
