"""Forgetting and backward transfer against cases worked by hand."""

import numpy as np
import pytest
from pfh.statistics.transitions import transitions


def scores(n11, n10, n01, n00):
    before = np.array([1.0] * (n11 + n10) + [0.0] * (n01 + n00))
    return before, np.array([1.0] * n11 + [0.0] * n10 + [1.0] * n01 + [0.0] * n00)


def test_eighty_to_seventy_percent_with_four_options():
    """acc 0.8 -> 0.7, k = 4: guesses drawn anew would gain 0.2 * 0.3 / 3 = 0.02; none did, so none is taken off."""
    before, after = scores(70, 10, 0, 20)
    found = transitions(before, after, [4] * 100)
    assert found.forgetting == pytest.approx(0.10)
    assert found.forgetting_corrected == pytest.approx(0.10)
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


def test_the_correction_leaves_the_net_change_as_it_is():
    """60 lost and 10 gained of 1,000 at 4 options: chance is at most what was gained, so 50 stay lost."""
    before, after = scores(440, 60, 10, 490)
    found = transitions(before, after, [4] * 1000)
    assert found.forgetting_corrected == pytest.approx(0.05)
    assert found.backward_transfer_corrected == 0.0


def test_each_number_of_options_is_corrected_by_its_own_accuracies():
    before = np.array([1.0] * 6 + [0.0] * 6 + [1.0, 1.0, 0.0, 0.0])
    after = np.array([0.0, 0.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 1.0, 0.0])
    found = transitions(before, after, [2] * 12 + [5] * 4)
    of_two = min(0.5 * 0.5 / 1, 2 / 12, 2 / 12)
    of_five = min(0.5 * 0.5 / 4, 1 / 4, 1 / 4)
    taken = 12 / 16 * of_two + 4 / 16 * of_five
    assert found.forgetting_corrected == pytest.approx(3 / 16 - taken)
    assert found.backward_transfer_corrected == pytest.approx(3 / 16 - taken)


def test_free_text_is_not_corrected():
    before, after = scores(5, 3, 1, 1)
    found = transitions(before, after, [None] * 10)
    assert (found.forgetting, found.backward_transfer) == (0.3, 0.1)
    assert found.forgetting_corrected is None
