"""The form of what a method learns from, and bare answers where the prompts ask for reasoning."""

from __future__ import annotations

import dataclasses

import pytest
from pfh.errors import UserError
from pfh.hooks.domains import Problem
from pfh.hooks.methods import StageSpec
from pfh.kit.supervised import GroundTruthOptions, ground_truth, require_ground_truth
from pfh.kit.targets import form_of, told_forms
from pfh_domains.math.problems import _reasoning
from pfh_domains.math.prompts import written

from tests.letters import Letters

PROBLEM = Problem(
    id="p", environment="e", messages=({"role": "user", "content": "6 + 2?"},), answer="8", solution="\\boxed{8}"
)
WORKED = "Six and two make eight.\n\\boxed{8}"


class Boxed(Letters):
    asks_to_reason = True

    def verify(self, problem, completion):
        found = super().verify(problem, completion)
        return dataclasses.replace(found, reward=float("8" in completion))


@pytest.mark.parametrize(
    ("completion", "form"),
    [
        ("8", "answer"),
        ("\\boxed{8}", "answer"),
        ("<answer>8</answer>", "answer"),
        ("The answer is 8.", "answer"),
        ("The final answer is: \\boxed{8}", "answer"),
        (WORKED, "rationale"),
        ("$6 + 2 = 8$, as two more than six is eight. <answer>8</answer>", "rationale"),
        ("```python\nprint(8)\n```", "program"),
    ],
)
def test_the_form_of_a_target(completion, form):
    assert form_of(completion, PROBLEM) == form


def test_a_long_answer_without_reasoning_is_a_bare_one():
    named = dataclasses.replace(PROBLEM, answer="The Charge of the Light Brigade")
    assert form_of("The Charge of the Light Brigade", named) == "answer"


def spec_of(*problems, **options):
    return StageSpec(checkpoint=None, domain=Boxed(), problems=problems, options=GroundTruthOptions(**options))


def test_a_bare_answer_is_refused_where_the_prompts_ask_for_reasoning_unless_the_user_insists():
    with pytest.raises(UserError, match=r"ask for reasoning, .*bare answer.*worked solutions.*bare_answers=true"):
        require_ground_truth(spec_of(PROBLEM))
    require_ground_truth(spec_of(PROBLEM, bare_answers=True))
    worked = dataclasses.replace(PROBLEM, id="q", solution=WORKED)
    examples = ground_truth(spec_of(PROBLEM, worked))
    assert [example.completion for example in examples] == [WORKED]
    assert len(ground_truth(spec_of(PROBLEM, worked, bare_answers=True))) == 2


def test_the_ledger_tells_the_forms():
    targets = [(WORKED, PROBLEM), ("8", PROBLEM), (WORKED, PROBLEM)]
    assert told_forms(targets) == {"target_form": "rationale 2, answer 1"}


def test_a_worked_solution_keeps_one_box_at_its_end():
    row = {"answer": "60", "solution": "We get $z^{3} = \\boxed{\\frac{60}{1}}$, so it is $\\boxed{60}.$"}
    said = written("60", "boxed", _reasoning(row))
    assert said == "We get $z^{3} = \\frac{60}{1}$, so it is $60.$\n\\boxed{60}"
    assert _reasoning({"answer": "8"}) is None
