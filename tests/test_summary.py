"""Several runs side by side."""

import dataclasses

import pytest
from pfh import testing as fakes
from pfh.hooks.ledger import Phase
from pfh.results.records import FamilyRecord
from pfh.results.summary import Matching, family_change, matching, summarize

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


def run_of(notes=(), **changes):
    stage = results().stages[0]
    told = {"prompts": changes.pop("prompts", 16), "effective_prompts": changes.pop("effective", 16)}
    training = {"name": "training", "seconds": 60.0, "tokens": 1000, "updates": 4, "samples": 16} | changes
    phases = (Phase(name="rollouts", seconds=0.0), Phase(**training, notes=told))
    stage = stage.model_copy(update={"ledger": phases, "notes": tuple(notes)})
    return summarize(results().model_copy(update={"stages": (stage,), "domain": "reasoning"}))


def test_what_was_matched_is_told_from_what_was_not():
    runs = [run_of(), run_of(tokens=1049, effective=9, seconds=90.0), run_of(tokens=1020, samples=32)]
    assert [(runs[1].effective_prompts, runs[1].prompts), runs[1].domain] == [(9, 16), "reasoning"]
    found = {match.name: (match.matched, match.said) for match in matching(runs)}
    assert found == {
        "start": (True, "start"),
        "domain": (True, "reasoning"),
        "seed": (True, "0"),
        "prompts given": (True, "16"),
        "effective prompts": (False, "9 to 16"),
        "updates": (True, "4"),
        "samples": (False, "16 to 32"),
        "tokens": (True, "1,000 to 1,049"),
        "device time": (False, "1 min 0 s to 1 min 30 s"),
    }


def test_starts_of_one_name_are_told_apart_by_their_weights():
    runs = [run_of(), dataclasses.replace(run_of(), start_fingerprint="other")]
    assert matching(runs)[0] == Matching(name="start", matched=False, said="start f, start other")


def test_methods_that_do_not_count_their_prompts_are_left_out_of_the_match():
    runs = [run_of(), dataclasses.replace(run_of(), prompts=None, effective_prompts=None)]
    assert "16" in {match.name: match.said for match in matching(runs)}["prompts given"]
    alone = [runs[1]]
    assert "prompts given" not in {match.name for match in matching(alone)}


def test_what_a_method_warned_of_is_kept():
    run = run_of(notes=["Mean reward: 1.", "Warning: completions grew."])
    assert run.warnings == ("Warning: completions grew.",)


def test_results_without_a_stage_have_no_line():
    with pytest.raises(ValueError, match="has no stage"):
        summarize(results().model_copy(update={"stages": ()}))


def test_runs_that_learned_from_other_forms_are_told_apart():
    one, other = (
        dataclasses.replace(run_of(), target_form=form, flops=flops)
        for form, flops in (("rationale 40, answer 8", 2e12), ("rationale 30, answer 9", 3e12))
    )
    own = dataclasses.replace(other, target_form="own completions")
    found = {match.name: match for match in matching([one, other])}
    assert found["form of what was taught"] == Matching(
        name="form of what was taught", matched=True, said="rationale, answer"
    )
    assert found["FLOPs"] == Matching(name="FLOPs", matched=False, said="2e+12 to 3e+12")
    assert not {match.name: match for match in matching([one, own])}["form of what was taught"].matched
    assert "form of what was taught" not in {match.name for match in matching([one, run_of()])}
