"""Paired statistics against scipy, statsmodels, published examples and simulation."""

import dataclasses
import itertools
import math

import numpy as np
import pytest
from pfh.hooks.evaluation import Benchmark, Evaluation
from pfh.hooks.samples import Sample
from pfh.statistics.change import flip_p, mean_change, mid_p, tango_interval
from pfh.statistics.paired import adjust, compare_evaluations, compare_seeds, paired_interval, paired_p_value
from pfh.statistics.power import detectable_mean, detectable_share, documents_needed, documents_to_decide
from scipy.stats import permutation_test, ttest_1samp
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.power import TTestPower
from statsmodels.stats.weightstats import ttost_paired

RUNS = 300
"""Simulated comparisons a test: shares of them are known to within about 0.02."""


def benchmark(scores, name="b", clusters=None, **fields):
    samples = tuple(
        Sample(
            id=str(i),
            benchmark=name,
            category="odd" if i % 2 else "even",
            prompt="p",
            completion="c",
            score=score,
            cluster=str(clusters[i]) if clusters is not None else "",
        )
        for i, score in enumerate(scores)
    )
    defaults = {"version": "1", "metric": "accuracy", "higher_is_better": True}
    return Benchmark(name=name, samples=samples, **defaults | fields)


def evaluation(*benchmarks, model=""):
    return Evaluation(family="f", benchmarks=benchmarks, model=model)


def compare(before, after, margin=None, **fields):
    pair = (evaluation(benchmark(scores, **fields)) for scores in (before, after))
    return compare_evaluations(*pair, margin=margin)[0]


def binary_pair(n11, n10, n01, n00):
    before = np.array([1.0] * (n11 + n10) + [0.0] * (n01 + n00))
    after = np.array([1.0] * n11 + [0.0] * n10 + [1.0] * n01 + [0.0] * n00)
    return before, after


def rejected_and_covered(draw, truth, runs=RUNS):
    """Return the share of drawn comparisons that find a change, and of those whose interval holds the truth."""
    rejected = covered = 0
    for _ in range(runs):
        change = mean_change(*draw())
        low, high = change.interval()
        assert low <= change.estimate <= high
        assert (change.p_value <= 0.05) == (not low <= 0 <= high), "the interval holds 0 where nothing is found"
        rejected += change.p_value <= 0.05
        covered += low <= truth <= high
    return rejected / runs, covered / runs


@pytest.mark.parametrize(("n10", "n01"), [(0, 0), (1, 0), (5, 1), (12, 3), (40, 38), (0, 9), (4, 0)])
def test_binary_p_value_is_the_mid_p_mcnemar_test(n10, n01):
    """Mid-p is the exact p-value less half the probability of what was seen, on both sides."""
    before, after = binary_pair(30, n10, n01, 20)
    exact = mcnemar([[30, n10], [n01, 20]], exact=True).pvalue
    seen = math.comb(n10 + n01, n10) * 0.5 ** (n10 + n01)
    assert paired_p_value(before, after) == pytest.approx(1.0 if n10 == n01 else exact - seen)
    assert mid_p(n10, n01) == pytest.approx(paired_p_value(before, after))


def test_tango_interval_of_a_published_example():
    """Fagerland, Lydersen and Laake 2014 (Stat. Med. 33:2850), table 2: airway hyper-responsiveness, 21 children."""
    assert tango_interval(7, 1, 21, 1.959964) == pytest.approx((-0.517, -0.026), abs=5e-4)


@pytest.mark.parametrize("n10", [*range(0, 30, 3), 60])
@pytest.mark.parametrize("n01", [0, 1, 5, 17])
def test_the_interval_of_shares_holds_zero_where_the_test_finds_nothing(n10, n01):
    before, after = binary_pair(40, n10, n01, 30)
    low, high, method = paired_interval(before, after)
    assert method == "Tango"
    assert (paired_p_value(before, after) > 0.05) == (low <= 0 <= high)
    assert low < (n01 - n10) / len(before) < high


def test_four_differences_one_way_are_no_evidence():
    """Of 2^4 sign flips two do as much: p = 1/8, where the normal approximation of Wilcoxon's test says .046."""
    after = np.array([0.3, 0.2, 0.5, 0.4] + [0.0] * 46)
    assert paired_p_value(np.zeros(50), after) == pytest.approx(0.125)


def test_sign_flips_of_few_clusters_are_those_of_scipy():
    sums = np.array([0.3, -0.1, 0.7, 0.45, 0.2, 0.9, 0.05])

    def total(values, axis=-1):
        return np.abs(values.sum(axis=axis))

    expected = permutation_test((sums,), total, permutation_type="samples", alternative="greater", n_resamples=np.inf)
    assert flip_p(sums, half_of_ties=False) == pytest.approx(expected.pvalue)


def test_symmetric_continuous_scores_have_the_t_test_of_scipy():
    generator = np.random.default_rng(0)
    half = generator.normal(size=40)
    difference = np.concatenate([0.2 + half, 0.2 - half])
    expected = ttest_1samp(difference, 0)
    assert paired_p_value(np.zeros(80), difference) == pytest.approx(expected.pvalue, rel=1e-6)
    low, high, method = paired_interval(np.zeros(80), difference)
    assert (low, high) == pytest.approx(tuple(expected.confidence_interval()), rel=1e-6)
    assert method == "t"


def test_identical_scores_have_p_value_one_and_an_interval_with_width():
    scores = np.array([0.1, 0.5, 0.7])
    assert paired_p_value(scores, scores) == 1.0
    for same in (scores, np.array([1.0, 0.0]), np.array([3.0, 3.0]), np.zeros(2)):
        low, high, _ = paired_interval(same, same)
        assert low < 0 < high


def test_two_equal_differences_have_an_interval_with_width():
    low, high, _ = paired_interval(np.array([0.2, 0.4]), np.array([0.3, 0.5]))
    assert low < 0 < 0.1 < high


def test_adjusted_p_values_are_those_of_statsmodels():
    p_values = [0.001, 0.2, 0.03, 0.04, 0.9, 0.001]
    assert adjust(p_values) == pytest.approx(list(multipletests(p_values, method="fdr_bh")[1]))
    assert adjust([]) == []


def test_counts_delta_and_direction_by_hand():
    before, after = binary_pair(50, 30, 5, 15)
    row = compare(before, after)
    assert (row.n, row.n10, row.n01) == (100, 30, 5)
    assert (row.before, row.after, row.delta) == pytest.approx((0.80, 0.55, -0.25))
    assert row.ci_low < -0.25 < row.ci_high < 0
    assert row.verdict == "worse"
    assert compare(before, after, higher_is_better=False).verdict == "better"
    assert compare(before, after, higher_is_better=None).verdict == "changed"


def test_a_model_against_itself_shows_no_change():
    row = compare([1.0, 0.0] * 30, [1.0, 0.0] * 30)
    assert (row.delta, row.p_value) == (0.0, 1.0)
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
    row = compare_evaluations(evaluation(measured), evaluation(absent))[0]
    assert (row.status, row.reason, row.before, row.delta, row.p_adjusted) == ("NOT_RUN", "no data", None, None, None)
    assert compare_evaluations(evaluation(measured), evaluation())[0].status == "NOT_RUN"


def test_too_few_scored_samples_are_insufficient():
    row = compare([1.0, None, None], [1.0, 1.0, None])
    assert (row.status, row.n, row.reason) == (
        "INSUFFICIENT",
        1,
        "1 of 3 samples were scored both times, and a comparison takes 2",
    )


def test_scores_that_are_missing_after_can_hide_a_loss():
    """Of 200 documents 70 lose their score: 54 to 60% on the rest, 50 to 39% if what is missing is wrong."""
    before = [1.0] * 70 + [0.0] * 60 + [1.0] * 30 + [0.0] * 40
    after = [1.0] * 68 + [0.0] * 2 + [1.0] * 10 + [0.0] * 50 + [None] * 70
    row = compare(before, after)
    assert (row.n, row.documents, row.scored_before, row.scored_after) == (130, 200, 200, 130)
    assert row.before == pytest.approx(70 / 130)
    assert row.after == pytest.approx(78 / 130)
    assert row.p_value < 0.05
    assert row.worst_low == pytest.approx(78 / 200 - 100 / 200)
    assert row.worst_high == pytest.approx(148 / 200 - 100 / 200)
    assert (row.p_worst, row.verdict) == (1.0, "undecided")
    assert row.scored_p < 1e-12, "that scores went missing is itself a change"


def test_a_change_that_no_missing_score_can_undo_stays_real():
    before = [1.0] * 100
    after = [0.0] * 60 + [1.0] * 36 + [None] * 4
    row = compare(before, after)
    assert row.verdict == "worse"
    assert (row.worst_low, row.worst_high) == pytest.approx((-0.64, -0.60))
    assert row.p_value <= row.p_worst < 1e-9


def test_documents_without_any_score_say_nothing():
    row = compare([1.0, 0.0] * 20 + [None] * 9, [1.0, 0.0] * 20 + [None] * 9)
    assert (row.n, row.documents, row.worst_low) == (40, 40, None)


@pytest.mark.parametrize("broken", [math.nan, math.inf, -math.inf])
def test_a_score_that_is_no_number_is_missing_and_takes_nothing_else_down(broken):
    good, bad = benchmark([1.0, 0.0] * 20, "good"), benchmark([1.0, 0.0] * 20, "bad")
    after = benchmark([1.0, 0.0] * 19 + [broken, 0.0], "bad")
    rows = compare_evaluations(evaluation(good, bad), evaluation(good, after))
    assert [row.n for row in rows] == [40, 39]
    assert all(math.isfinite(row.p_adjusted) for row in rows)
    assert rows[1].worst_low == pytest.approx(-1 / 40)


@pytest.mark.parametrize("field", ["version", "judge", "metric"])
def test_what_was_measured_differently_is_not_compared(field):
    before = benchmark([1.0, 0.0])
    row = compare_evaluations(evaluation(before), evaluation(dataclasses.replace(before, **{field: "another"})))[0]
    assert row.status == "ERROR"
    assert "another" in row.reason


def test_samples_are_paired_by_id_whatever_their_order():
    before = benchmark([1.0, 0.0, 1.0, 0.0])
    row = compare_evaluations(
        evaluation(before), evaluation(dataclasses.replace(before, samples=before.samples[::-1]))
    )[0]
    assert (row.n, row.n10, row.n01) == (4, 0, 0)


@pytest.mark.parametrize(
    ("n", "p10", "p01"),
    [(60, 0.1, 0.1), (60, 0.15, 0.05), (200, 0.02, 0.02), (200, 0.1, 0.1), (200, 0.3, 0.1), (500, 0.25, 0.25)],
)
def test_binary_intervals_cover_and_tests_hold_their_size(n, p10, p01):
    generator = np.random.default_rng(1)

    def draw():
        n10, n01, n11, n00 = generator.multinomial(n, [p10, p01, 0.4, 0.6 - p10 - p01])
        return binary_pair(n11, n10, n01, n00)

    rejected, covered = rejected_and_covered(draw, p01 - p10)
    assert 0.925 <= covered <= 0.985
    assert p10 != p01 or rejected <= 0.07


SHAPES = {
    "normal": lambda generator, n: generator.normal(size=n),
    "skewed": lambda generator, n: generator.exponential(size=n) - 1,
    "many up a little, few down a lot": lambda generator, n: (
        np.where(generator.random(n) < 0.8, 0.1, -0.4) + generator.normal(0, 0.02, n)
    ),
    "most unchanged": lambda generator, n: np.where(generator.random(n) < 0.7, 0.0, generator.normal(size=n)),
}


@pytest.mark.parametrize("n", [30, 200])
@pytest.mark.parametrize("shape", SHAPES)
def test_tests_of_continuous_scores_are_of_the_mean(shape, n):
    """Wilcoxon's test finds a change in 45 to 90% of such draws, where the mean has not changed."""
    generator = np.random.default_rng(2)
    rejected, covered = rejected_and_covered(lambda: (np.zeros(n), SHAPES[shape](generator, n)), 0.0)
    assert rejected <= 0.07
    assert covered >= 0.925


def clustered(generator, clusters, size, together, p=0.1):
    """Draw flips either way with probability p, a document doing with probability `together` what its cluster does."""
    weights = [p, p, 1 - 2 * p]
    common = generator.choice([-1, 1, 0], size=(clusters, 1), p=weights)
    alone = generator.choice([-1, 1, 0], size=(clusters, size), p=weights)
    difference = np.where(generator.random((clusters, size)) < together, common, alone).ravel()
    before = np.where(difference == 0, generator.integers(0, 2, difference.size), difference < 0).astype(float)
    return before, before + difference, np.repeat(np.arange(clusters), size)


@pytest.mark.parametrize(("clusters", "size", "together"), [(50, 11, 0.7), (40, 5, 0.7), (40, 5, 0.0), (100, 3, 0.95)])
def test_documents_that_belong_together_are_no_independent_evidence(clusters, size, together):
    generator = np.random.default_rng(3)
    rejected, covered = rejected_and_covered(lambda: clustered(generator, clusters, size, together), 0.0, runs=200)
    assert rejected <= 0.075
    assert covered >= 0.925
    naive = np.mean([mean_change(*clustered(generator, 50, 11, 0.7)[:2]).p_value <= 0.05 for _ in range(100)])
    assert naive > 0.2, "without clusters a true null is rejected again and again"


def test_a_clustered_t_test_is_the_t_test_of_cluster_means():
    """With clusters of one size and continuous scores the two are the same, but for the correction for skewness."""
    generator = np.random.default_rng(4)
    half = generator.normal(size=(15, 4)) + generator.normal(size=(15, 1))
    difference = 0.3 + np.concatenate([half, -half])
    change = mean_change(np.zeros(120), difference.ravel(), np.repeat(np.arange(30), 4))
    expected = ttest_1samp(difference.mean(axis=1), 0)
    assert change.p_value == pytest.approx(expected.pvalue, rel=1e-6)
    assert change.interval() == pytest.approx(tuple(expected.confidence_interval()), rel=1e-6)


def test_the_clusters_of_samples_reach_the_comparison():
    before, after, clusters = clustered(np.random.default_rng(5), 20, 5, 0.9)
    row = compare(list(before), list(after), clusters=clusters)
    alone = compare(list(before), list(after))
    assert (row.clusters, alone.clusters, row.ci_method) == (20, 100, "clustered Tango")
    assert row.ci_high - row.ci_low > alone.ci_high - alone.ci_low
    assert row.delta == alone.delta


def trainings(generator, seeds, documents, between_seeds, between_documents):
    shift = generator.normal(0, between_seeds, (seeds, 1)) + generator.normal(0, between_documents, documents)
    level = generator.uniform(0.2, 0.8, documents)
    before = generator.random((seeds, documents)) < level
    after = generator.random((seeds, documents)) < np.clip(level + shift, 0, 1)
    return before.astype(float), after.astype(float)


@pytest.mark.parametrize(("seeds", "between"), [(2, 0.08), (3, 0.0), (3, 0.08), (5, 0.04), (5, 0.08)])
def test_seeds_of_training_are_counted_in_test_and_interval(seeds, between):
    generator = np.random.default_rng(6)
    rejected, covered = rejected_and_covered(lambda: trainings(generator, seeds, 150, between, 0.1), 0.0, runs=200)
    assert rejected <= 0.075
    assert covered >= 0.925


def by_seed(before, after, model):
    return [
        (
            evaluation(benchmark(list(x)), model="start"),
            evaluation(benchmark(list(y)), model=f"tuned{place if model == 'many' else ''}"),
        )
        for place, (x, y) in enumerate(zip(before, after, strict=True))
    ]


def test_one_model_under_several_seeds_of_sampling_has_no_variance_between_seeds():
    before, after = trainings(np.random.default_rng(7), 4, 100, 0.1, 0.0)
    sampled = compare_seeds(by_seed(before, after, "one"))[0]
    trained = compare_seeds(by_seed(before, after, "many"))[0]
    assert sampled.delta == trained.delta == pytest.approx((after - before).mean())
    assert sampled.ci_high - sampled.ci_low < trained.ci_high - trained.ci_low
    assert (sampled.seeds, sampled.n) == (4, 400)


def test_a_single_seed_is_one_row():
    before, after = binary_pair(40, 12, 3, 30)
    pair = (evaluation(benchmark(list(before))), evaluation(benchmark(list(after))))
    assert compare_seeds([pair]) == compare_evaluations(*pair)


def test_five_seeds_of_few_documents_have_an_interval_around_their_estimate():
    before = np.ones((5, 20))
    after = np.ones((5, 20))
    after[:, :9] = 0.0
    after[:2, 7:9] = 1.0
    row = compare_seeds(by_seed(before, after, "many"))[0]
    assert row.ci_low <= row.delta <= row.ci_high


def test_false_discoveries_stay_rare_where_nothing_changed():
    generator = np.random.default_rng(2)
    families_with_a_discovery = 0
    for _ in range(300):
        p_values = []
        for _ in range(8):
            n10, n01, rest = generator.multinomial(80, [0.1, 0.1, 0.8])
            p_values.append(paired_p_value(*binary_pair(rest, n10, n01, 0)))
        families_with_a_discovery += min(adjust(p_values)) <= 0.05
    assert families_with_a_discovery / 300 <= 0.06


def test_equivalence_is_the_two_one_sided_tests_of_statsmodels():
    generator = np.random.default_rng(8)
    half = generator.normal(0, 0.2, 60)
    before = generator.uniform(0.3, 0.6, 120)
    after = before + 0.01 + np.concatenate([half, -half])
    for margin in (0.02, 0.03, 0.035, 0.04, 0.05):
        expected = ttost_paired(after, before, -margin, margin)[0] < 0.05
        assert (compare(list(before), list(after), margin=margin).verdict == "equivalent") == expected


def test_the_three_verdicts_on_what_is_no_change():
    assert compare([1.0, 0.0] * 400, [1.0, 0.0] * 400).verdict == "equivalent"
    assert compare([1.0, 0.0] * 15, [1.0, 0.0] * 15).verdict == "undecided"
    gained = binary_pair(100, 22, 35, 143)
    assert compare(*gained).verdict == "no loss above the margin"
    assert compare(*gained, higher_is_better=False).verdict == "undecided"


@pytest.mark.parametrize(("n", "flips"), [(200, 0.15), (730, 0.15), (80, 0.3)])
def test_a_change_of_the_detectable_size_is_found_in_four_runs_of_five(n, flips):
    size = detectable_share(n, flips)
    generator = np.random.default_rng(9)
    found = 0
    for _ in range(RUNS):
        n10, n01, rest = generator.multinomial(n, [(flips + size) / 2, (flips - size) / 2, 1 - flips])
        found += paired_p_value(*binary_pair(rest, n10, n01, 0)) <= 0.05
    assert 0.74 <= found / RUNS <= 0.87
    assert documents_needed(size, flips) == pytest.approx(n, rel=1e-3)


def test_the_detectable_change_of_a_mean_is_that_of_statsmodels():
    expected = TTestPower().solve_power(nobs=2000, alpha=0.05, power=0.8) / math.sqrt(1)
    assert detectable_mean(1 / math.sqrt(2000)) == pytest.approx(expected, rel=0.01)


def test_few_samples_can_show_nothing():
    assert detectable_share(3) is None
    assert compare([1.0, 0.0, 1.0], [1.0, 0.0, 0.0]).detectable is None


def test_as_many_samples_as_would_decide_decide():
    n = documents_to_decide(0.15, 0.05)
    generator = np.random.default_rng(10)
    decided = 0
    for _ in range(RUNS):
        n10, n01, rest = generator.multinomial(n, [0.075, 0.075, 0.85])
        low, high = mean_change(*binary_pair(rest, n10, n01, 0)).interval(0.9)
        decided += low > -0.05 and high < 0.05
    assert 0.75 <= decided / RUNS <= 0.86


def test_a_second_metric_of_the_same_documents_is_not_counted_twice():
    changed, same = binary_pair(50, 20, 6, 24), binary_pair(50, 5, 5, 40)
    names = ("task", "task acc_norm", "other")
    pairs = (changed, changed, same)

    def side(place):
        return evaluation(
            *(
                benchmark(list(pair[place]), name, same_documents_as="task" if name.endswith("norm") else "")
                for name, pair in zip(names, pairs, strict=True)
            )
        )

    rows = compare_evaluations(side(0), side(1))
    alone = adjust([rows[0].p_value, rows[2].p_value])
    assert [rows[0].p_adjusted, rows[2].p_adjusted] == pytest.approx(alone)
    assert rows[1].p_adjusted == pytest.approx(alone[0])


def test_every_order_of_documents_gives_the_same_figures():
    before, after, clusters = clustered(np.random.default_rng(11), 8, 3, 0.5)
    expected = mean_change(before, after, clusters)
    for order in itertools.islice(itertools.permutations(range(24)), 3):
        places = np.array(order)[::-1]
        found = mean_change(before[places], after[places], clusters[places])
        assert (found.p_value, found.interval()) == (
            pytest.approx(expected.p_value),
            pytest.approx(expected.interval()),
        )
