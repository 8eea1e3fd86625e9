"""The line that a running training shows."""

from __future__ import annotations

import pytest
from pfh.errors import UserError
from pfh.kit.training import TrainingOptions
from pfh.kit.training.progress_line import WIDTH, curve, progress_line
from pfh.registry.options import fill


def test_a_curve_runs_between_its_smallest_and_its_largest():
    assert curve([0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]) == "▁▂▃▄▅▆▇█"
    assert curve([3.0, 1.0]) == "█▁"
    assert curve([2.0] * 5) == curve([]) == curve([1.0]) == ""


def test_a_long_curve_is_the_course_of_its_means():
    long = curve([float(number) for number in range(100)])
    assert len(long) == WIDTH
    assert list(long) == sorted(long)


def test_the_line_has_every_figure_that_the_log_has_as_it_is_now():
    log = [
        {"loss": 2.0, "learning_rate": 1e-4, "reward": 0.25, "frac_reward_zero_std": 0.5, "step": 1},
        {"loss": 1.0, "learning_rate": 1e-4, "reward": 0.75, "frac_reward_zero_std": 0.5, "step": 2},
        {"eval_loss": 9.0, "step": 2},
    ]
    assert progress_line(log) == "loss 1 █▁ · reward 0.75 ▁█ · no variance 0.5 · learning rate 0.0001"
    assert progress_line([]) == ""


def test_a_loss_that_is_not_finite_is_said_and_not_drawn():
    assert progress_line([{"loss": 1.0}, {"loss": 2.0}, {"loss": float("nan")}]) == "loss nan ▁█"


def test_a_long_log_is_looked_through_in_steps():
    class Counting(dict):
        looks = 0

        def get(self, *arguments):
            Counting.looks += 1
            return super().get(*arguments)

    log = [Counting(loss=float(number)) for number in range(10_000)]
    assert progress_line(log) == "loss 1e+04 " + curve([row["loss"] for row in log[:: 10_000 // 48]])
    assert Counting.looks < 1000


@pytest.mark.parametrize(
    ("tracker", "said"), [("trakio", "Did you mean 'trackio'"), ("neptune", "pip install neptune"), ("", "no such")]
)
def test_a_tracker_that_is_not_there_is_refused_before_anything_runs(tracker, said, monkeypatch):
    monkeypatch.setattr("pfh.kit.training.trackers.find_spec", lambda module: None)
    with pytest.raises(UserError, match=f"methods:x: option report_to got .*{said}"):
        fill(TrainingOptions, {"report_to": tracker}, "methods:x")


def test_a_tracker_that_is_installed_is_taken(monkeypatch):
    monkeypatch.setattr("pfh.kit.training.trackers.find_spec", lambda module: module == "tensorboardX")
    assert fill(TrainingOptions, {"report_to": "tensorboard"}, "methods:x").report_to == "tensorboard"
