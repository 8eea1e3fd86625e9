"""Calibration errors against cases by hand, and their intervals by simulation."""

import numpy as np
import pytest
from pfh_evals.policy import calibration_error as errors


def answers(generator, n, low, high, over=0.0):
    """Draw confidences between `low` and `high`, and whether the answer is right: less often than said by `over`."""
    confidence = generator.uniform(low, high, n)
    return confidence, generator.random(n) < np.clip(confidence - over, 0, 1)


def test_the_squared_error_by_hand():
    confidence = np.array([0.5, 0.5, 0.5, 0.9, 0.9])
    right = np.array([True, False, False, True, False])
    places = np.array([0, 0, 0, 1, 1])
    of_first = 2 * (0.5 * -0.5 + 0.5 * -0.5 + -0.5 * -0.5) / (3 * 2)
    of_second = 0.1 * -0.9
    assert errors.squared_error(confidence, right, places) == pytest.approx((3 * of_first + 2 * of_second) / 5)


def test_the_squared_error_has_no_bias_where_the_plug_in_error_has():
    generator = np.random.default_rng(0)
    squared, plain = [], []
    for _ in range(300):
        confidence, right = answers(generator, 150, 0.4, 0.7)
        places = errors.equal_mass_places(confidence)
        squared.append(errors.squared_error(confidence, right, places))
        plain.append(errors.binned_error(confidence, right, places))
    assert np.mean(squared) == pytest.approx(0.0, abs=0.002)
    assert np.mean(plain) > 0.08


def test_leaving_one_out_is_computing_without_it():
    generator = np.random.default_rng(1)
    confidence, right = answers(generator, 60, 0.3, 1.0)
    places = errors.equal_mass_places(confidence)
    expected = [
        errors.squared_error(*(np.delete(each, place) for each in (confidence, right, places))) for place in range(60)
    ]
    assert errors._each_left_out(right - confidence, places) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("before", "after", "truth"),
    [
        ((0.4, 0.7, 0.0), (0.85, 1.0, 0.0), 0.0),
        ((0.5, 0.9, 0.0), (0.6, 1.0, 0.2), 0.04),
        ((0.5, 0.9, 0.2),) * 2 + (0.0,),
    ],
)
def test_intervals_of_the_change_cover(before, after, truth):
    """Two calibrated models of different confidence have not changed in calibration; the plug-in error says so."""
    generator = np.random.default_rng(2)
    covered = 0
    for _ in range(300):
        change, low, high = errors.change_interval(answers(generator, 200, *before), answers(generator, 200, *after))
        assert low <= change <= high
        covered += low <= truth <= high
    assert covered / 300 >= 0.92
    assert before == (0.4, 0.7, 0.0) or covered / 300 <= 0.98, "only between calibrated models it may be too long"


def test_the_parts_of_brier_add_up():
    generator = np.random.default_rng(3)
    confidence = generator.choice([0.3, 0.6, 0.9], 500)
    right = generator.random(500) < confidence
    places = np.searchsorted([0.3, 0.6], confidence)
    reliability, resolution, uncertainty = errors.brier_parts(confidence, right, places)
    assert reliability - resolution + uncertainty == pytest.approx(np.mean((confidence - right) ** 2))


def test_intervals_of_cka_hold_for_all_layers_at_once():
    """Layers that share a part with their counterpart: the CKA of very many texts is what the intervals must hold."""
    from pfh_evals.representation import similarity

    generator = np.random.default_rng(4)

    def layers(texts):
        shared = generator.normal(size=(texts, 3, 6))
        return [similarity.grams((shared + generator.normal(size=shared.shape)).astype(np.float32)) for _ in range(2)]

    truth = np.diag(similarity.similarity(*layers(1500)))
    held = 0
    for _ in range(60):
        before, after = layers(60)
        low, high = similarity.interval(before, after)
        middle = np.diag(similarity.similarity(before, after))
        assert np.all((low <= middle) & (middle <= high))
        held += np.all((low <= truth) & (truth <= high))
    assert held / 60 >= 0.88
