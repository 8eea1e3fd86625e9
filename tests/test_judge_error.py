"""Correction of a judge's errors, by simulation and against cases worked by hand."""

import numpy as np
import pytest
from pfh.statistics.judge_error import (
    ErrorCounts,
    change_within_error,
    corrected_rate,
    false_alarm_floor,
    powered_change,
)

GOOD = ErrorCounts(true_positives=180, false_negatives=20, true_negatives=190, false_positives=10)


def test_a_rate_is_corrected_as_rogan_and_gladen_do():
    """Of 40% true positives a judge of sensitivity .9 and specificity .95 calls .4 * .9 + .6 * .05 = 39% positive."""
    found = corrected_rate(390, 1000, GOOD)
    assert found.estimate == pytest.approx(0.4)
    assert found.low < 0.4 < found.high


@pytest.mark.parametrize(("rate", "sensitivity", "specificity"), [(0.02, 0.9, 0.95), (0.3, 0.8, 0.9), (0.9, 0.7, 0.95)])
def test_intervals_of_corrected_rates_cover(rate, sensitivity, specificity):
    generator = np.random.default_rng(0)
    covered = 0
    for _ in range(500):
        hits, clear = generator.binomial(120, sensitivity), generator.binomial(120, specificity)
        errors = ErrorCounts(
            true_positives=hits, false_negatives=120 - hits, true_negatives=clear, false_positives=120 - clear
        )
        judged = generator.binomial(300, rate * sensitivity + (1 - rate) * (1 - specificity))
        found = corrected_rate(judged, 300, errors)
        covered += found.low <= rate <= found.high
    assert 0.93 <= covered / 500 <= 0.99


def test_a_judge_that_tells_nothing_corrects_nothing():
    blind = ErrorCounts(true_positives=60, false_negatives=40, true_negatives=60, false_positives=40)
    assert corrected_rate(50, 100, blind) is None


def test_a_small_change_is_within_the_judges_error_and_a_large_one_is_not():
    low, high = change_within_error(0.95, 0.90, GOOD)
    assert low < 0 <= high
    low, high = change_within_error(0.9, 0.3, GOOD)
    assert low < high < 0


def test_error_rates_may_differ_between_the_models():
    """A judge that misses a fifth of the refusals of the model after makes 1.0 into .8 where nothing changed."""
    blunt = ErrorCounts(true_positives=160, false_negatives=40, true_negatives=190, false_positives=10)
    low, high = change_within_error(0.9, 0.8, GOOD, blunt)
    assert low < 0 < high


def judged_and_labelled(generator, prompts, labels, change, flaw):
    """Draw paired differences by people, and by a judge that misses refusals of the model after with odds `flaw`."""
    before = (generator.random(prompts) < 0.9).astype(float)
    after = np.where(generator.random(prompts) < change, 0.0, before)
    seen = np.where((after == 1) & (generator.random(prompts) < flaw), 0.0, after)
    people, judge = after - before, seen - before
    chosen = generator.permutation(prompts) < labels
    return people.mean(), judge[~chosen], judge[chosen], people[chosen]


@pytest.mark.parametrize(("change", "flaw"), [(0.0, 0.2), (0.2, 0.2), (0.2, 0.0)])
def test_labels_of_the_run_correct_a_biased_judge(change, flaw):
    generator = np.random.default_rng(1)
    truth = -0.9 * change
    powered, alone, of_people, of_powered = 0, 0, [], []
    for _ in range(400):
        _, judge, labelled_judge, labelled = judged_and_labelled(generator, 400, 60, change, flaw)
        found = powered_change(judge, labelled_judge, labelled)
        powered += found.low <= truth <= found.high
        everything = np.concatenate([judge, labelled_judge])
        half = 1.96 * everything.std(ddof=1) / 20
        alone += abs(everything.mean() - truth) <= half
        of_people.append(abs(labelled.mean() - truth))
        of_powered.append(abs(found.estimate - truth))
    assert powered / 400 >= 0.92
    if flaw:
        assert alone / 400 < 0.2, "the judge alone is sure, and wrong"
    if change:
        assert np.mean(of_powered) < 0.95 * np.mean(of_people), "the judge helps beyond the labels"


def test_few_labels_correct_nothing():
    zeros = np.zeros(29)
    assert powered_change(np.zeros(100), zeros, zeros) is None


def test_a_perfect_judge_is_nearly_as_good_as_labels_of_everything():
    generator = np.random.default_rng(2)
    people = generator.choice([-1.0, 0.0, 1.0], 1000, p=[0.3, 0.5, 0.2])
    found = powered_change(people[100:], people[:100], people[:100])
    assert found.estimate == pytest.approx(people.mean(), abs=0.02)
    assert found.high - found.low < 1.2 * 2 * 1.96 * people.std() / np.sqrt(1000)


def test_many_attempts_make_false_alarms_certain():
    assert false_alarm_floor(0.01, 100) == pytest.approx(0.634, abs=1e-3)
