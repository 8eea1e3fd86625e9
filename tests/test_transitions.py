"""Forgetting and backward transfer against cases worked by hand."""

import numpy as np
import pytest
from pfh.statistics.transitions import transitions


def scores(n11, n10, n01, n00):
    before = np.array([1.0] * (n11 + n10) + [0.0] * (n01 + n00))
    return before, np.array([1.0] * n11 + [0.0] * n10 + [1.0] * n01 + [0.0] * n00)


def test_eighty_to_seventy_percent_with_four_options():
    """acc 0.8 -> 0.7, k = 4: chance is 0.2 * 0.3 / 3 = 0.02; F 0.10 is 0.08 beyond chance, BT 0.00 stays 0."""
    before, after = scores(70, 10, 0, 20)
    found = transitions(before, after, [4] * 100)
    assert found.forgetting == pytest.approx(0.10)
    assert found.forgetting_corrected == pytest.approx(0.08)
    assert found.backward_transfer_corrected == 0.0
    assert found.forgetting_ceiling == pytest.approx((4 * 0.8 - 1) / 3)
    assert found.backward_transfer_ceiling == pytest.approx((4 * 0.7 - 1) / 3)


def test_a_guessing_model_forgets_nothing_beyond_chance():
    generator = np.random.default_rng(0)
    before, after = (generator.random((2, 200_000)) < 0.25).astype(float)
    found = transitions(before, after, [4] * 200_000)
    assert found.forgetting == pytest.approx(0.1875, abs=0.005)
    assert found.forgetting_corrected == pytest.approx(0.0, abs=0.005)
    assert found.forgetting_ceiling == pytest.approx(0.0, abs=0.005)


def test_each_number_of_options_is_corrected_by_its_own_accuracies():
    before = np.array([1.0, 1.0, 0.0, 0.0, 1.0, 0.0])
    after = np.array([0.0, 1.0, 1.0, 0.0, 0.0, 0.0])
    found = transitions(before, after, [2, 2, 2, 2, 5, 5])
    chance = 4 / 6 * (0.5 * 0.5 / 1) + 2 / 6 * (0.5 * 1.0 / 4)
    assert found.forgetting_corrected == pytest.approx(2 / 6 - chance)


def test_free_text_is_not_corrected():
    before, after = scores(5, 3, 1, 1)
    found = transitions(before, after, [None] * 10)
    assert (found.forgetting, found.backward_transfer) == (0.3, 0.1)
    assert found.forgetting_corrected is None
