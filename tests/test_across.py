"""Several runs side by side."""

import pytest
from pfh import fakes
from pfh.across import family_change, summarize
from pfh.ledger import Phase
from pfh.results import FamilyRecord

from tests.cli.pretence import results

ROW = fakes.analysis_spec().comparisons[0]


def row(**changes):
    measured = {"n10": 1, "n01": 0, "higher_is_better": True, "ci_low": -0.1, "ci_high": 0.1}
    return type(ROW)(**{**ROW.__dict__, **measured, **changes})


def family(*rows):
    return FamilyRecord(family="fake", comparisons=rows, before_artifact="a", after_artifact="b")


def test_changes_are_turned_towards_the_good_and_averaged():
    change = family_change(family(row(delta=-0.3), row(delta=-0.1, higher_is_better=False)))
    assert change.change == pytest.approx(-0.1)
    assert change.benchmarks == 2


def test_the_interval_is_that_of_a_mean_of_independent_figures():
    rows = [row(delta=0.0, ci_low=-0.2, ci_high=0.2), row(delta=0.0, ci_low=-0.1, ci_high=0.1)]
    assert family_change(family(*rows)).half_width == pytest.approx((0.2**2 + 0.1**2) ** 0.5 / 2)


def test_what_is_no_share_or_has_no_direction_is_left_out():
    change = family_change(family(row(delta=12.0, n10=None, n01=None), row(delta=0.2, higher_is_better=None)))
    assert (change.change, change.half_width, change.benchmarks) == (None, None, 0)


def test_costs_are_summed_over_stages_and_devices():
    stage = results().stages[0]
    phases = (
        Phase(name="rollouts", seconds=10, tokens=100, samples=50),
        Phase(name="training", seconds=20, tokens=300, updates=4, samples=16, devices=2),
    )
    stages = tuple(stage.model_copy(update={"method": name, "ledger": phases}) for name in ("gt_sft", "dpo"))
    summary = summarize(results().model_copy(update={"stages": stages}))
    assert summary.method == "GT-SFT then DPO"
    assert (summary.device_seconds, summary.tokens, summary.updates, summary.samples) == (100, 800, 8, 32)


def test_results_without_a_stage_have_no_line():
    with pytest.raises(ValueError, match="has no stage"):
        summarize(results().model_copy(update={"stages": ()}))
