"""What the last of several stages restored of what was lost before it, and what it only masked."""

from __future__ import annotations

import pytest
from pfh.results.restored import INSIDE, TITLE, add_restored

from tests.test_stage_by_stage import benchmark, stages


def followed(quiz, inside=None, **changes):
    """Return the last stage's families of a run of two, scored at the start, after the first and after the second."""
    started = stages(2)
    names = ["fake", *(["representation"] if inside else [])]
    families = tuple(started[1].families[0].model_copy(update={"family": name}) for name in names)
    started = [each.model_copy(update={"families": families}) for each in started]
    pairs = {}
    for name, scores in zip(names, (quiz, inside or ()), strict=False):
        settings = {} if name == "fake" else {"metric": "score", "higher_is_better": None}
        start = benchmark(scores[0], **(settings | changes if name == "fake" else settings))
        for number, after in enumerate(scores[1:]):
            measured = benchmark(after, **(settings | changes if name == "fake" else settings))
            pairs[number, name] = [(start, measured)]
    return add_restored(started, pairs)[-1].families


START = [1] * 40 + [0] * 20
SFT = [0] * 20 + [1] * 20 + [0] * 20
BACK = [1] * 15 + [0] * 5 + [1] * 18 + [0] * 2 + [1] * 2 + [0] * 18


def test_what_was_lost_is_followed_sample_by_sample():
    (family,) = followed((START, SFT, BACK))
    (table,) = [each for each in family.tables if each.title == TITLE]
    (row,) = table.rows
    assert row[:3] == ("quiz", 20, 15)
    assert row[3].value == pytest.approx(0.75)
    assert (row[3].low, row[3].high) == (pytest.approx(0.531, abs=1e-3), pytest.approx(0.888, abs=1e-3))
    assert row[4].value == pytest.approx(2 / 20)
    assert row[5] == 2
    (told,) = family.findings
    assert "restored 15 of the 20 samples" in told
    assert "5 are still lost, 2 more were lost" in told


def test_a_metric_of_which_less_is_better_is_turned():
    turned = [[1 - score for score in scores] for scores in (START, SFT, BACK)]
    (family,) = followed(turned, higher_is_better=False)
    assert family.tables[-1].rows[0][1:3] == (20, 15)


def test_gains_that_are_the_same_everywhere_are_no_recovery():
    everywhere = [1] * 15 + [0] * 5 + [1] * 20 + [1] * 15 + [0] * 5
    (family,) = followed((START, SFT, everywhere))
    assert "not known to be more than it gains" in family.findings[0]


def test_what_came_back_in_the_answers_alone_is_masked():
    moved = [0.0] * 30, [1.0] * 30, [1.0 + 0.01 * (place % 3) for place in range(30)]
    answers, inside = followed((START, SFT, BACK), moved)
    assert "masks a change that is still there" in answers.findings[-1]
    assert inside.tables[-1].title == INSIDE
    assert inside.tables[-1].rows[0][-1] == "no"
    answers, inside = followed((START, SFT, BACK), (moved[0], moved[1], [0.1 + 0.01 * (n % 3) for n in range(30)]))
    assert "nearer to the start" in answers.findings[-1]
    assert inside.tables[-1].rows[0][-1] == "yes"


def test_one_stage_restores_nothing():
    assert add_restored(stages(1), {}) == tuple(stages(1))
