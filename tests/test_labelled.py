"""People's labels of a run's own prompts, drawn with unequal chances, tell the change that people would find."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from pfh.statistics.change import mean_change
from pfh.statistics.labelled import LEAST_LABELS, LabelledChange, Stratum, labelled_change

RUNS, PROMPTS = 600, 300
DELTA = -0.15
"""The change by people: refused .8 before and .65 after."""


def drawn(generator: np.random.Generator, *, flips: int, others: int) -> tuple[LabelledChange | None, float, float]:
    """Return the corrected change of one run, the judge's own, and the mean of the labels as they come.

    The judge misses a refusal in 2% before and in 25% after, and sees one in 5% of the rest.
    """
    people = np.stack([generator.random(PROMPTS) < share for share in (0.8, 0.65)])
    missed = np.array([[0.02], [0.25]])
    judge = np.where(people, generator.random(people.shape) >= missed, generator.random(people.shape) < 0.05)
    truth, said = np.diff(people.astype(float), axis=0)[0], np.diff(judge.astype(float), axis=0)[0]
    strata, labels = [], []
    for side, most in ((-1, flips), (1, flips), (0, others)):
        members = np.flatnonzero(said == side)
        known = generator.permutation(members)[:most]
        sure = said + generator.normal(0, 0.05, PROMPTS)  # a probability and no label
        strata.append(Stratum(judged=sure[members], labelled_judged=sure[known], labelled=truth[known]))
        labels += truth[known].tolist()
    return labelled_change(strata), float(said.mean()), float(np.mean(labels))


@pytest.mark.parametrize(("flips", "others"), [(300, 60), (30, 60), (20, 150)])
def test_the_corrected_change_is_unbiased_and_its_interval_covers(flips: int, others: int) -> None:
    generator = np.random.default_rng(0)
    runs = [drawn(generator, flips=flips, others=others) for _ in range(RUNS)]
    changes = [each for each, _, _ in runs if each is not None]
    assert len(changes) == RUNS
    estimates = np.array([each.estimate for each in changes])
    noise = estimates.std() / np.sqrt(RUNS)
    assert abs(estimates.mean() - DELTA) < 3 * noise
    covered = np.mean([low <= DELTA <= high for low, high in (each.interval(0.95) for each in changes)])
    assert 0.93 <= covered <= 0.995
    judged, plain = (np.mean([each[place] for each in runs]) for place in (1, 2))
    assert abs(judged - DELTA) > 0.05  # the judge alone, and labels without the chances with which they were drawn
    assert abs(plain - DELTA) > 0.03


def test_where_all_is_labelled_it_is_the_paired_comparison_of_peoples_labels() -> None:
    generator = np.random.default_rng(1)
    before, after = ((generator.random(200) < share).astype(float) for share in (0.7, 0.5))
    truth = after - before
    said: NDArray[np.float64] = generator.choice([-1.0, 0.0, 1.0], 200)
    strata = [Stratum(judged=said[it], labelled_judged=said[it], labelled=truth[it]) for it in (said < 0, said >= 0)]
    found, plain = labelled_change(strata), mean_change(before, after)
    assert found is not None
    assert found.estimate == pytest.approx(plain.estimate)
    assert found.standard_error == pytest.approx(plain.standard_error, rel=0.02)


def test_a_judge_that_people_confirm_narrows_the_interval() -> None:
    generator = np.random.default_rng(2)
    truth = generator.choice([-1.0, 0.0], 400, p=[0.3, 0.7])
    known = generator.permutation(400)[:60]
    right = Stratum(judged=truth, labelled_judged=truth[known], labelled=truth[known])
    blind = Stratum(judged=truth * 0, labelled_judged=truth[known] * 0, labelled=truth[known])
    errors = [found.standard_error for each in (right, blind) if (found := labelled_change([each]))]
    assert errors[0] < 0.7 * errors[1]


def test_too_few_labels_or_a_stratum_without_any_correct_nothing() -> None:
    some, none = np.zeros(LEAST_LABELS - 1), np.zeros(0)
    assert labelled_change([Stratum(judged=np.zeros(99), labelled_judged=some, labelled=some)]) is None
    assert labelled_change([Stratum(judged=some, labelled_judged=some, labelled=some)]) is not None
    many = np.zeros(99)
    strata = [Stratum(judged=many, labelled_judged=many, labelled=many)]
    assert labelled_change([*strata, Stratum(judged=some, labelled_judged=none, labelled=none)]) is None
