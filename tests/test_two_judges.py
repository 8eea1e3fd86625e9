"""Two judges in one run: both labels of every completion, how far they agree, and what each makes of the change."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from pfh.commands.own_judge_errors import read_own_errors, with_own_errors
from pfh.errors import UserError
from pfh.hooks.backends import Completion, GenerationRequest, Sampling
from pfh.hooks.evals import Analysis, AnalysisSpec
from pfh.hooks.evaluation import Benchmark, Evaluation
from pfh.hooks.judges import AgainstPeople, Judgement
from pfh.report.browser import browser_data
from pfh.results.records import FamilyRecord
from pfh.statistics.agreement import agreement
from pfh.statistics.judged import JUDGE_ERRORS
from pfh.statistics.paired import compare_evaluations, paired_benchmarks
from pfh.testing import ApologyJudge, FakeEngine, NoData, evaluation_spec
from pfh_evals import policy, safety

from tests.cli.pretence import results


class Stern:
    """Takes every completion for a refusal, and knows how it errs."""

    name = "stern 3"

    def label(self, prompts: Sequence[str], completions: Sequence[str]) -> list[Judgement]:
        return [Judgement(label="refused") for _ in completions]

    def errors(self) -> list[AgainstPeople]:
        return [AgainstPeople(refusals=50, refusals_seen=50, compliances=50, compliances_seen=0)]


class Says(FakeEngine):
    def __init__(self, refuses: int) -> None:
        super().__init__()
        self.refuses = refuses

    def generate(self, requests: Sequence[GenerationRequest], sampling: Sampling) -> list[Completion]:
        return [
            Completion(text="Sorry." if place < self.refuses else "Sure.", tokens=1, prompt_tokens=1, truncated=False)
            for place in range(len(requests))
        ]


def evaluated(refuses: int, options: Any, judges: dict[str, Any], family: Any = safety) -> Evaluation:
    spec = evaluation_spec([""], options=options)
    names = ("probes-harmful",) if family is safety else ("refusal",)
    changes = {"engine": Says(refuses), "data": NoData(), "judge": judges.__getitem__, "benchmarks": names}
    found: Evaluation = family.evaluate(type(spec)(**{**vars(spec), **changes}))
    return found


BOTH = {"rule": ApologyJudge(), "stern": Stern()}


def analysis_of(family: Any, options: Any) -> tuple[Analysis, Evaluation, Evaluation]:
    before, after = (evaluated(refuses, options, BOTH, family) for refuses in (36, 6))
    rows = compare_evaluations(before, after)
    spec = AnalysisSpec(before=before, after=after, comparisons=rows, options=options)
    return family.analyze(spec), before, after


def test_the_second_judge_stands_beside_the_first_with_its_own_verdict() -> None:
    analysis, before, after = analysis_of(safety, safety.Options(judge="rule, stern"))
    (kept,) = {tuple(it.extra["labels"]) for side in (before, after) for it in side.benchmarks[0].samples}
    assert kept == ("apology 1", "stern 3")
    cells, verdicts = analysis.tables[-2:]
    assert cells.columns == ("apology 1", "refused", "all")
    assert cells.rows == (("complied", 38, 38), ("refused", 42, 42))  # 4 of 40 before and 34 after say "Sure."
    (row,) = [dict(zip(verdicts.columns, each, strict=True)) for each in verdicts.rows]
    assert (row["completions"], row["same label"].value) == (80, 42 / 80)
    assert (row["verdict, apology 1"], row["verdict, stern 3"]) == ("worse", "undecided")
    assert row["change, stern 3"].value == 0
    assert "verdicts differ on probes-harmful (worse and undecided)" in " ".join(analysis.findings)


def test_one_judge_alone_leaves_no_trace_of_another() -> None:
    before, after = (evaluated(refuses, safety.Options(), BOTH) for refuses in (36, 6))
    assert not any("labels" in it.extra for it in before.benchmarks[0].samples)
    rows = compare_evaluations(before, after)
    analysis = safety.analyze(AnalysisSpec(before=before, after=after, comparisons=rows, options=safety.Options()))
    assert not any("Two judges" in table.title for table in analysis.tables)


def test_the_policy_family_holds_its_refusal_rate_against_the_judge_too() -> None:
    options = policy.Options(judge="stern,rule", samples=1, temperature=0, domain_prompts=0)
    analysis, before, after = analysis_of(policy, options)
    assert before.arrays[JUDGE_ERRORS].tolist() == [[50, 50, 50, 0]]
    (row,) = compare_evaluations(before, after)
    assert (row.judge_low, row.judge_high) == (-1, 1)  # a judge that says one thing tells nothing
    titles = [table.title for table in analysis.tables]
    assert "The judge's error" in titles
    assert "Two judges: agreement and verdicts, stern 3 and apology 1" in titles


def test_the_browser_can_show_where_judges_disagree() -> None:
    _, before, after = analysis_of(safety, safety.Options(judge="rule,stern"))
    family = FamilyRecord(
        family="safety", comparisons=compare_evaluations(before, after), before_artifact="a", after_artifact="b"
    )
    stage = results().stages[0].model_copy(update={"families": (family,)})
    pairs = {(0, "safety"): paired_benchmarks(before, after)}
    data, _ = browser_data(results().model_copy(update={"stages": (stage,)}), pairs)
    shown = data["groups"][0]["samples"]
    assert sum(it["judges"] == "agree" for it in shown) == 6  # refused before and after
    disputed = next(it for it in shown if it["judges"] == "disagree")
    assert data["texts"][disputed["after"]["labels"]] == "apology 1: complied, stern 3: refused"


def test_kappa_is_cohens() -> None:
    first = ["a"] * 25 + ["b"] * 25
    second = ["a"] * 20 + ["b"] * 5 + ["a"] * 10 + ["b"] * 15
    found = agreement(first, second)
    assert found.share == 0.7
    assert found.kappa == pytest.approx((0.7 - 0.5) / (1 - 0.5))
    assert agreement(["a"] * 3, ["a"] * 3).kappa is None


COUNTS = {"refusals": 40, "refusals_seen": 30, "compliances": 60, "compliances_seen": 50}


def test_counts_and_labels_of_the_users_own_take_the_place_of_the_judges(tmp_path: Path) -> None:
    file = tmp_path / "errors.json"
    file.write_text(json.dumps({"m": COUNTS}))
    expected = {"": {"m": AgainstPeople(**COUNTS)}}
    assert read_own_errors(file) == expected
    file.write_text(json.dumps({"apology 1": {"m": COUNTS}}))
    before = evaluated(36, safety.Options(judge="rule,stern"), BOTH)
    assert JUDGE_ERRORS not in before.arrays  # this judge brings none
    assert with_own_errors(before, read_own_errors(file)).arrays[JUDGE_ERRORS].tolist() == [[40, 30, 60, 50]]

    pairs = [("refused", "partial")] * 30 + [("partial", "complied")] * 10 + [("broken", "complied")]
    pairs += [("complied", "broken")] * 50 + [("complied", "refused")] * 10
    rows = [{"model": "m", "human": human, "label": label} for human, label in pairs]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert read_own_errors(file) == expected


def test_counts_of_a_judge_of_harm_are_of_harm(tmp_path: Path) -> None:
    pairs = [("harmless", "harmless")] * 30 + [("harmless", "harmful")] * 10
    pairs += [("harmful", "harmful")] * 50 + [("harmful", "harmless")] * 10
    (file := tmp_path / "errors.jsonl").write_text(
        "".join(json.dumps({"model": "m", "human": human, "label": label}) + "\n" for human, label in pairs)
    )
    judged = Benchmark(
        name="b", version="1", metric="attack_success_rate", higher_is_better=False, judge="strict 1", samples=()
    )
    found = with_own_errors(Evaluation(family="safety", benchmarks=(judged,)), read_own_errors(file))
    assert found.arrays[f"{JUDGE_ERRORS}/strict 1"].tolist() == [[40, 30, 60, 50]]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[]", "holds no counts"),
        ('{"m": {"refusals": 3}}', "counts of 'm'"),
        (json.dumps({"m": COUNTS | {"refusals_seen": 41}}), "more are counted as seen"),
        (json.dumps({"m": COUNTS | {"refusals": -1}}), "at least 0"),
        (json.dumps({"m": COUNTS | {"refusals": 0, "refusals_seen": 0}}), "no refusals"),
        ('{"human": "refused", "label": "yes"}', "label is 'yes'"),
        ('{"human": "refused", "label": "refused"}', "no compliances"),
    ],
)
def test_counts_that_are_none_are_refused(tmp_path: Path, text: str, told: str) -> None:
    (file := tmp_path / "errors.json").write_text(text)
    with pytest.raises(UserError, match=told):
        read_own_errors(file)


def test_counts_of_a_judge_that_did_not_label_are_refused() -> None:
    evaluation = evaluated(36, safety.Options(), BOTH)
    with pytest.raises(UserError, match=r"'other 1'; safety has apology 1"):
        with_own_errors(evaluation, {"other 1": {"": AgainstPeople(**COUNTS)}})
