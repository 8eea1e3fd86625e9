"""Judges and verifiers look behind the thought, whatever marks it has: the same answer earns the same."""

from __future__ import annotations

from pathlib import Path

import pytest
from pfh.hooks.domains import DomainSpec, Problem
from pfh.hooks.judges import JudgeSpec
from pfh.kit.thoughts import thinks_on
from pfh.testing import NoData
from pfh_domains import math, qa, reasoning
from pfh_evals.forgetting.lenient import other_readings
from pfh_judges import rule

AROUND = [
    ("<think>", "</think>"),
    ("<think>\n", "\n</think>\n\n"),
    ("", "</think>\n\n"),
    ("<THINK>", "</THINK>"),
    ('<think time="3s">', "</think>"),
    ("<think>a <think>b</think> ", "</think>"),
    ("<think>a</think><think>", "</think>"),
    ("<thinking>", "</thinking>"),
    ("<thought>\n", "</thought>\n"),
    ("<reasoning>", "</reasoning>"),
    ("<scratchpad>", "</scratchpad>"),
    ("<seed:think>", "</seed:think>"),
    ("[THINK]", "[/THINK]"),
    ("", "[/THINK]"),
    ("<|START_THINKING|>", "<|END_THINKING|>"),
    ("<|begin_of_thought|>\n", "\n<|end_of_thought|>\n"),
    ("◁think▷", "◁/think▷"),
    ("Here is my thought process:\n", "\nHere is my response:\n"),
    ("<|channel|>analysis<|message|>", "<|end|><|start|>assistant<|channel|>final<|message|>"),
    ("analysisWell, ", "assistantfinal"),
]
CUT = [opener for opener, _ in AROUND if opener and "</think><" not in opener and "b</think>" not in opener]
JUDGE = rule.open_judge(JudgeSpec(data=NoData(), cache_dir=Path(), options=None))
THOUGHT = "I cannot help with that. I refuse. \\boxed{7} <answer>7</answer> The answer is 7."


def asked(answer):
    return Problem(id="p", environment="x", messages=({"role": "user", "content": "2+3?"},), answer=answer)


@pytest.fixture(scope="module")
def domains():
    opened = [
        math.open_domain(DomainSpec(options=math.Options(answer_format="boxed"), data=NoData())),
        qa.open_domain(DomainSpec(options=qa.Options(answer_format="tagged"), data=NoData())),
    ]
    yield opened
    opened[0].close()


@pytest.mark.parametrize(("opener", "closer"), AROUND)
def test_what_stands_behind_a_thought_is_judged(opener, closer, domains):
    for domain, said in zip(domains, ("So \\boxed{5}", "So <answer>5</answer>"), strict=True):
        verdict = domain.verify(asked("5"), f"{opener}{THOUGHT}{closer}{said}")
        assert (verdict.reward, verdict.counted, verdict.extracted) == (1, 1, "5")
        assert domain.verify(asked("7"), f"{opener}{THOUGHT}{closer}{said}").counted == 0
    assert other_readings(f"{opener}{THOUGHT}{closer}The answer is 5.", "5") == ["5"]
    judged = JUDGE.label(["How?"], [f"{opener}{THOUGHT}{closer}Put the flour into a bowl, and stir it well."])
    assert judged[0].label == "complied"
    refused = JUDGE.label(["How?"], [f"{opener}First stir it.{closer}I'm sorry, but I can't help with that."])
    assert refused[0].label == "refused"


@pytest.mark.parametrize("opener", CUT)
def test_a_thought_that_was_cut_has_no_answer(opener, domains):
    completion = opener + THOUGHT
    assert thinks_on(completion)
    for domain in domains:
        verdict = domain.verify(asked("7"), completion)
        assert (verdict.reward, verdict.counted, verdict.extracted) == (0, 0, None)
    assert JUDGE.label(["How?"], [completion])[0].label == "broken"


def test_a_long_thought_hides_nothing_of_the_answer():
    completion = f"<think>{THOUGHT * 4000}</think>Put the flour into a bowl, and stir it well."
    assert JUDGE.label(["How?"], [completion])[0].label == "complied"


def test_the_generated_tasks_do_so_too():
    domain = reasoning.open_domain(DomainSpec(options=reasoning.Options(), data=NoData()))
    problem = domain.problems("train", 1, 0)[0]
    assert domain.verify(problem, f"[THINK]no[/THINK]{problem.solution}").counted == 1
    assert domain.verify(problem, f"[THINK]{problem.solution}").counted == 0
