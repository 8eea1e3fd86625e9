"""The verifier self-test: which verifiers pass, which holes are found, and that a hole stops the run."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import pytest
from pfh.errors import StepFailedError
from pfh.hooks.domains import Problem, Verdict
from pfh.progress import Silent
from pfh.steps.verifier import TESTED, SelfTest, check_verifier, read_self_test, spread_problems, write_self_test
from pfh.testing import EchoDomain


class Judged(EchoDomain):
    """The echo domain with another verifier."""

    def __init__(self, reward: Callable[[str, str], float]) -> None:
        self.reward = reward

    def verify(self, problem: Problem, completion: str) -> Verdict:
        return Verdict(reward=float(self.reward(problem.answer, completion)), extracted=completion)


class UnitTested(EchoDomain):
    """Its answers are no text that a completion could say."""

    def gold(self, problem: Problem) -> str | None:
        return f"def f(): return {problem.answer}"

    def verify(self, problem: Problem, completion: str) -> Verdict:
        return Verdict(reward=float(completion == self.gold(problem)), extracted=completion)


class Batched(EchoDomain):
    """Judges many at once, and only so."""

    def verify_many(self, problems, completions):
        return [EchoDomain.verify(self, *pair) for pair in zip(problems, completions, strict=True)]

    def verify(self, problem, completion):
        raise AssertionError("one by one")


def outcome_of(domain: EchoDomain, count: int = 6) -> SelfTest:
    return check_verifier(domain, domain.problems("train", count, seed=0), Silent())


def test_a_sound_verifier_passes() -> None:
    outcome = outcome_of(EchoDomain())

    assert (outcome.environments, outcome.problems, outcome.golds, outcome.unrewarded) == (1, 6, 6, ())
    assert outcome.probes > 6 * 20
    assert outcome.sentence() == (
        f"Verifier self-test on 6 problems of 1 environment: {outcome.probes} worthless completions earned nothing; "
        "6 of 6 gold answers earned 1."
    )


@pytest.mark.parametrize(
    ("probe", "hole"),
    [
        ("empty", lambda answer, said: not said.strip() or said == answer),
        ("punctuation", lambda answer, said: said == answer or said == "?!"),
        ("prompt echo", lambda answer, said: said == answer or said == f"Say {answer}."),
        ("prompt echo", lambda answer, said: said == answer or said == f"\\boxed{{Say {answer}.}}"),
        ("template only", lambda answer, said: said in (answer, "\\boxed{}")),
        ("template only", lambda answer, said: said in (answer, "```python\n \n```")),
        ("every option", lambda answer, said: answer in said.split(", ")),
        ("every option", lambda answer, said: answer in said.replace("\\boxed{", "").rstrip("}").split(" or ")),
        ("repeated answer", lambda answer, said: set(said.split()) == {answer}),
    ],
)  # fmt: skip
def test_a_hole_is_named(probe: str, hole: Callable[[str, str], float]) -> None:
    with pytest.raises(StepFailedError) as error:
        outcome_of(Judged(hole))

    assert f"domain echo, environment echo: the verifier rewards the probe '{probe}' with 1 (" in str(error.value)
    assert "for problem echo-" in str(error.value)
    assert "nothing was trained" in str(error.value)


def test_a_little_reward_is_a_hole_too() -> None:
    with pytest.raises(StepFailedError, match=r"'empty' with 0\.1 \(''"):
        outcome_of(Judged(lambda answer, said: 1.0 if said == answer else 0.1))


def test_gold_answers_must_earn_1() -> None:
    with pytest.raises(StepFailedError, match="no full reward to the gold answers of 6 of 6 problems"):
        outcome_of(Judged(lambda answer, said: 0.9 * (said == answer)))


@pytest.mark.parametrize("form", ["\\boxed{{{}}}", "<answer>{}</answer>", "The answer is {}."])
def test_a_gold_answer_counts_in_the_form_that_the_domain_asks_for(form: str) -> None:
    assert outcome_of(Judged(lambda answer, said: said == form.format(answer))).golds == 6


def test_a_worked_solution_is_gold() -> None:
    class Proofs(Judged):
        def problems(self, split, count, seed):
            return tuple(
                dataclasses.replace(problem, solution=f"Since it was asked for: {problem.answer}.")
                for problem in super().problems(split, count, seed)
            )

    assert outcome_of(Proofs(lambda answer, said: said == f"Since it was asked for: {answer}.")).golds == 6


def test_one_gold_answer_in_eight_may_be_unreadable() -> None:
    assert outcome_of(Judged(lambda answer, said: said == answer != "4"), count=8).unrewarded == ("echo-4",)
    with pytest.raises(StepFailedError, match=r"of 2 of 8 problems \(echo-4, echo-6\)"):
        outcome_of(Judged(lambda answer, said: said == answer and said not in "4 6"), count=8)


def test_a_domain_may_say_what_is_gold() -> None:
    assert outcome_of(UnitTested()).golds == 6


def test_a_domain_without_gold_is_still_probed() -> None:
    class Unknown(UnitTested):
        def gold(self, problem):
            return None

        def verify(self, problem, completion):
            return Verdict(reward=0.0, extracted=None)

    assert "no gold answer is known" in outcome_of(Unknown()).sentence()


def test_a_verifier_that_raises_stops_the_run() -> None:
    with pytest.raises(StepFailedError, match=r"environment echo: the verifier raised ZeroDivisionError \(.*echo-0"):
        outcome_of(Judged(lambda answer, said: 1 / 0))


def test_a_domain_that_judges_many_at_once_is_asked_so() -> None:
    assert outcome_of(Batched()).golds == 6


def test_closed_questions_are_probed_with_all_options() -> None:
    class Either(Judged):
        def problems(self, split, count, seed):
            return (dataclasses.replace(super().problems(split, 1, seed)[0], answer="Yes"),)

    with pytest.raises(StepFailedError, match=r"'every option' with 1 \('Yes, No'|'No, Yes'"):
        outcome_of(Either(lambda answer, said: answer in said.split(", ")))


def test_every_environment_is_tried() -> None:
    problems = [
        dataclasses.replace(problem, environment=f"echo {number % 3 if number < 60 else 3}")
        for number, problem in enumerate(EchoDomain().problems("train", 80, seed=0))
    ]
    tested = spread_problems(problems)

    assert len(tested) == TESTED
    assert [sum(problem.environment == f"echo {name}" for problem in tested) for name in range(4)] == [4, 4, 4, 4]


def test_the_outcome_is_kept(tmp_path) -> None:
    outcome = dataclasses.replace(outcome_of(EchoDomain()), unrewarded=("echo-2",))
    write_self_test(tmp_path / "outcome.json", outcome)

    assert read_self_test(tmp_path / "outcome.json") == outcome
