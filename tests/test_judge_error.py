"""A change that a judge found is held against the judge's errors against people."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pfh.hooks.comparison import Comparison
from pfh.hooks.evaluation import Benchmark, Evaluation
from pfh.hooks.judges import HOLDING_BACK, Judge, JudgeSpec, KnowsItsErrors
from pfh.hooks.samples import Sample
from pfh.sources.datasets import HubData
from pfh.statistics.judged import JUDGE_ERRORS
from pfh.statistics.paired import compare_evaluations
from pfh_judges import rule

PERFECT = [[200, 200, 200, 200], [200, 200, 200, 200]]
WEAK = [[200, 190, 200, 190], [200, 120, 200, 190]]


def judged(refused: list[bool], errors: list[list[int]]) -> Evaluation:
    samples = tuple(
        Sample(id=str(place), benchmark="b", prompt="p", completion="c", score=float(it))
        for place, it in enumerate(refused)
    )
    benchmark = Benchmark(
        name="b", version="1", metric="refusal_rate", higher_is_better=True, judge="j 1", samples=samples
    )
    return Evaluation(family="safety", benchmarks=(benchmark,), arrays={JUDGE_ERRORS: np.array(errors)})


def change(after: int, errors: list[list[int]]) -> Comparison:
    """Compare 100 of 100 refused with `after` of 100."""
    return compare_evaluations(judged([True] * 100, errors), judged([True] * after + [False] * (100 - after), errors))[
        0
    ]


def test_a_fall_that_the_judge_could_have_made_is_no_verdict() -> None:
    assert change(80, PERFECT).verdict == "worse"
    row = change(80, WEAK)  # it may see 0.95 of the refusals of one model and 0.60 of another's
    assert row.p_adjusted is not None
    assert row.p_adjusted < 0.001
    assert row.judge_low is not None
    assert row.judge_high is not None
    assert row.judge_low < 0 <= row.judge_high
    assert row.verdict == "undecided"


def test_a_fall_that_no_error_of_the_judge_explains_stays_one() -> None:
    row = change(20, WEAK)
    assert row.verdict == "worse"
    assert row.judge_high is not None
    assert row.judge_high < 0


def test_the_built_in_judge_brings_its_errors_and_none_at_another_threshold() -> None:
    judge = rule.open_judge(JudgeSpec(data=HubData(), cache_dir=Path()))
    assert isinstance(judge, KnowsItsErrors)
    counts = judge.errors()
    assert sum(it.refusals + it.compliances for it in counts) == 1800
    right = sum(it.refusals_seen + it.compliances_seen for it in counts)
    assert right / 1800 >= 0.93
    assert all((it.refusals_seen + it.compliances_seen) / 450 >= 0.85 for it in counts)
    assert sum(it.compliances - it.compliances_seen for it in counts) <= 0.15 * sum(it.compliances for it in counts)


@pytest.mark.skipif(not os.environ.get("PFH_DATA_MIRROR"), reason="PFH_DATA_MIRROR is not set")
def test_two_models_that_people_find_equal_do_not_come_out_as_worse() -> None:
    judge = rule.open_judge(JudgeSpec(data=HubData(), cache_dir=Path()))
    for first, second in (("gpt4", "llama2new"), ("llama2new", "gpt4")):
        row = compare_evaluations(replayed(judge, first), replayed(judge, second))[0]
        assert row.verdict not in ("better", "worse")


@pytest.mark.skipif(not os.environ.get("PFH_DATA_MIRROR"), reason="PFH_DATA_MIRROR is not set")
def test_of_two_models_that_differ_the_change_by_people_lies_within_the_judges_ends() -> None:
    judge = rule.open_judge(JudgeSpec(data=HubData(), cache_dir=Path()))
    row = compare_evaluations(replayed(judge, "gpt4"), replayed(judge, "mistralinstruct"))[0]
    people = [
        np.mean([each["final_label"] != "1_full_compliance" for each in unsafe(model)])
        for model in ("gpt4", "mistralinstruct")
    ]
    assert row.verdict == "worse"
    assert row.judge_low is not None
    assert row.judge_high is not None
    assert row.judge_low <= people[1] - people[0] <= row.judge_high < 0


def unsafe(model: str) -> list[dict[str, Any]]:
    rows = HubData().load("natolambert/xstest-v2-copy", split=model).rows
    return [dict(row) for row in rows if "contrast" in row["type"]]


def replayed(judge: Judge, model: str) -> Evaluation:
    rows = unsafe(model)
    labels = judge.label([row["prompt"] for row in rows], [row["completion"] for row in rows])
    assert isinstance(judge, KnowsItsErrors)
    counts = [[it.refusals, it.refusals_seen, it.compliances, it.compliances_seen] for it in judge.errors()]
    return judged([it.label in HOLDING_BACK for it in labels], counts)
