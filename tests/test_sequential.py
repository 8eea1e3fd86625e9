"""A comparison that may stop at every look keeps its error, finds what is there, and looks at fewer samples."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from numpy.typing import NDArray
from pfh.statistics.change import mid_p
from pfh.statistics.sequential import Stopped, above, coin, e_bh, stopped, two_sided

RUNS, SAMPLES, MARGIN = 2000, 400, 0.1


def flips(generator: np.random.Generator, change: float, share: float = 0.2) -> NDArray[np.float64]:
    chances = [(share - change) / 2, 1 - share, (share + change) / 2]
    return generator.choice([-1.0, 0.0, 1.0], SAMPLES, p=chances)


def skewed(generator: np.random.Generator, change: float) -> NDArray[np.float64]:
    """Differences of which a few fall a lot: the hard case of a t-test."""
    return np.where(generator.random(SAMPLES) < 0.1, -0.9, 0.1) + change


def stops(kind: str, change: float, runs: int = RUNS) -> list[Stopped]:
    generator = np.random.default_rng(0)
    draw = {"flips": flips, "skewed": skewed}[kind]
    return [stopped(draw(generator, change), margin=MARGIN, binary=kind == "flips") for _ in range(runs)]


@pytest.mark.parametrize("kind", ["flips", "skewed"])
def test_no_change_is_called_one_in_at_most_one_of_twenty_comparisons_over_all_looks(kind: str) -> None:
    found = Counter(each.verdict for each in stops(kind, 0.0))
    assert found["worse"] + found["better"] <= 0.05 * RUNS


def test_a_change_as_large_as_the_margin_is_called_none_as_rarely() -> None:
    found = Counter(each.verdict for each in stops("flips", -MARGIN, runs=800))
    assert found["no change larger than the margin"] <= 0.05 * 800


def test_a_p_value_that_is_looked_at_after_every_sample_does_not_keep_it() -> None:
    generator = np.random.default_rng(0)
    false = 0
    for _ in range(60):
        lost, gained = (np.cumsum(flips(generator, 0.0) == side) for side in (-1, 1))
        false += any(mid_p(int(b), int(c)) <= 0.05 for b, c in zip(lost[9::10], gained[9::10], strict=True))
    assert false > 0.1 * 60


def test_what_is_there_is_found_before_the_end() -> None:
    for kind in ("flips", "skewed"):
        found = stops(kind, -0.15, runs=200)
        right = [each for each in found if each.verdict == "worse"]
        assert len(right) >= 0.9 * len(found)
        assert float(np.median([each.n for each in right])) < SAMPLES / 2
        assert all(each.change < 0 for each in right)


def test_the_evidence_is_a_fair_bet() -> None:
    generator = np.random.default_rng(1)
    last = np.array([[each(flips(generator, 0.0)[:20])[-1] for each in (coin, two_sided)] for _ in range(1500)])
    assert np.all(np.abs(last.mean(axis=0) - 1) < 4 * last.std(axis=0) / np.sqrt(len(last)))
    beyond = np.array([above(flips(generator, -0.1)[:20], 0.0)[-1] for _ in range(600)])
    assert beyond.mean() < 1


def test_no_samples_and_a_first_look() -> None:
    assert stopped(np.zeros(0), margin=0.1, binary=True).verdict == "undecided"
    assert stopped(np.ones(100), margin=0.1, binary=True, least=50).n == 50
    assert stopped(np.ones(100), margin=0.1, binary=True).n < 10


def test_e_bh_is_the_step_up_over_e_values() -> None:
    assert e_bh([100.0, 1.0, 40.0, 0.0]) == [True, False, True, False]  # 4 / (.05 * 2) = 40
    assert e_bh([79.0, 1.0, 39.0, 0.0]) == [False, False, False, False]
    assert e_bh([]) == []
