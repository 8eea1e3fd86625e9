"""Benchmarks that are measured where they are asked for: what is a prompt of them, and what their figures are."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import pytest
from pfh.hooks.evals import AnalysisSpec
from pfh.hooks.evaluation import Benchmark, Evaluation
from pfh.hooks.judges import Case, Judgement, Label
from pfh.hooks.tables import Quantity, Table
from pfh.statistics.paired import compare_evaluations
from pfh.testing import FakeEngine, evaluation_spec
from pfh_evals import safety
from pfh_evals.safety.latent_benchmarks import LATENT_BY_NAME

from tests.test_safety import Cautious, Tables

SALAD = "OpenSafetyLab/Salad-Data"
DATA = Tables(
    {
        ("walledai/StrongREJECT", "default", "train"): [
            {"prompt": f"forbidden {number}", "category": "Violence"} for number in range(4)
        ],
        ("walledai/WildGuardTest", "default", "train"): [
            {"prompt": "plain harm", "label": "harmful", "adversarial": False},  # type: ignore[dict-item]
            {"prompt": "hidden harm", "label": "harmful", "adversarial": True},  # type: ignore[dict-item]
            {"prompt": "no harm", "label": "unharmful", "adversarial": True},  # type: ignore[dict-item]
            {"prompt": "disputed", "label": "", "adversarial": False},  # type: ignore[dict-item]
        ],
        ("JailbreakBench/JBB-Behaviors", "behaviors", "harmful"): [
            {"Goal": "unsafe deed", "Target": "Sure, here is the deed", "Category": "Malware"}
        ],
        (SALAD, "base_set", "train"): [
            {
                "question": f"unsafe {number}" if number < 3 else f"bad {number}",
                "1-category": "O1: Toxicity" if number < 9 else "O6: Autonomy",
                "2-category": "O2: Unfair",
                "human_harmful": "0" if number == 11 else "1",
            }
            for number in range(12)
        ],
        (SALAD, "attack_enhanced_set", "train"): [
            {"augq": "Pretend. unsafe", "baseq": "unsafe", "1-category": "O1: Toxicity", "2-category": "O2: Unfair"}
        ],
    }
)


class Grade:
    """A judge of harm that finds a share of it, and keeps the cases that it saw."""

    name = "grade 1"
    reads = frozenset({"harm"})

    def __init__(self, harmful: float) -> None:
        self.harmful, self.cases = harmful, list[Case]()

    def label(self, prompts: Sequence[str], completions: Sequence[str]) -> list[Judgement]:
        raise NotImplementedError

    def judge(self, cases: Sequence[Case]) -> list[Judgement]:
        self.cases += cases
        label: Label = "harmful" if self.harmful >= 0.5 else "harmless"
        return [Judgement(label=label, harmful=self.harmful) for _ in cases]


def evaluated(name: str, judge: Grade | None = None, engine: FakeEngine | None = None) -> Evaluation:
    spec = dataclasses.replace(
        evaluation_spec([""], options=safety.Options()),
        engine=engine or Cautious("unsafe"),
        data=DATA,
        benchmarks=(name,),
    )
    found = safety.evaluate(dataclasses.replace(spec, judge=lambda _: judge) if judge else spec)
    return dataclasses.replace(
        found, benchmarks=tuple(each for each in found.benchmarks if each.name not in LATENT_BY_NAME)
    )


def only(evaluation: Evaluation) -> Benchmark:
    (benchmark,) = evaluation.benchmarks
    return benchmark


def test_strongreject_is_a_mean_of_grades_under_a_judge_of_harm_and_a_bound_without_one() -> None:
    graded = only(evaluated("strongreject", Grade(0.25)))
    assert (graded.metric, {sample.score for sample in graded.samples}) == ("mean_harm", {0.25})
    bound = only(evaluated("strongreject"))
    assert (bound.metric, bound.higher_is_better) == ("not_refused_rate", False)


def test_wildguardtest_keeps_plain_adversarial_and_benign_prompts_apart() -> None:
    found = {each.name: each for each in evaluated("wildguardtest").benchmarks}
    asked = {name: [sample.extra["user_prompt"] for sample in each.samples] for name, each in found.items()}
    assert asked == {
        "wildguardtest-vanilla": ["plain harm"],
        "wildguardtest-adversarial": ["hidden harm"],
        "wildguardtest-benign": ["no harm"],
    }
    assert found["wildguardtest-benign"].metric == "refusal_rate"


def test_what_jailbreakbench_lacks_is_not_run_with_the_reason() -> None:
    harmful, benign = evaluated("jailbreakbench").benchmarks
    assert harmful.samples[0].extra["target"] == "Sure, here is the deed"
    assert (benign.status, "JBB-Behaviors" in benign.reason) == ("NOT_RUN", True)


def test_a_part_of_salad_is_not_salad() -> None:
    base, attack, _mcq = evaluated("salad").benchmarks
    assert base.status == "NOT_RUN"
    assert "12 of SALAD's 21,318 base questions" in base.reason
    assert len(only(evaluated("salad-lite")).samples) == 11  # people call one harmless
    judge = Grade(1.0)
    evaluated("salad-attack", judge)
    assert attack.status == "MEASURED"
    assert judge.cases[0].behaviour == "unsafe"  # and not the attack around it


def test_salad_is_the_mean_over_its_domains() -> None:
    table = table_of("salad-lite", "SALAD: mean over its domains", Cautious("unsafe"), Cautious("unsafe", "bad"))
    ((_, n, domains, before, after),) = table.rows
    assert (n, domains) == (11, 2)
    assert isinstance(before, Quantity)
    assert before.value == pytest.approx((3 / 9 + 0 / 2) / 2)  # and not 3 of 11
    assert isinstance(after, Quantity)
    assert after.value == 1.0


def table_of(name: str, title: str, before: FakeEngine, after: FakeEngine) -> Table:
    first, second = evaluated(name, engine=before), evaluated(name, engine=after)
    analysis = safety.analyze(
        AnalysisSpec(
            before=first, after=second, comparisons=compare_evaluations(first, second), options=safety.Options()
        )
    )
    return next(table for table in analysis.tables if table.title == title)
