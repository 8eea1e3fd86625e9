"""Rollouts: drawing them through an engine, and keeping them."""

from __future__ import annotations

from pathlib import Path

from pfh.hooks.backends import Completion, Sampling
from pfh.hooks.domains import GenerationSpec, Problem, Rollout, Verdict
from pfh.kit.rollouts import single_turn
from pfh.store.rollouts import read_rollouts, write_rollouts
from pfh.testing import FakeEngine


class Echo:
    name, version, sampling = "echo", "1", Sampling(max_new_tokens=4, temperature=1.0)

    def verify(self, problem: Problem, completion: str) -> Verdict:
        return Verdict(reward=float(completion == problem.answer), extracted=completion or None)


class NotingEngine(FakeEngine):
    """Remembers the ids that it was asked for."""

    def generate(self, requests, sampling):
        self.ids = [request.id for request in requests]
        return super().generate(requests, sampling)


def problem(number: int) -> Problem:
    return Problem(
        id=f"p{number}",
        environment="echo",
        answer=str(number),
        messages=({"role": "user", "content": f"Say {number}."},),
    )


def test_every_sample_is_a_request_of_its_own_and_is_verified():
    engine = NotingEngine(answers=["0", "1"])
    spec = GenerationSpec(
        domain=Echo(), engine=engine, problems=[problem(0), problem(1)], samples=2, sampling=Echo.sampling
    )
    rollouts = single_turn(spec).rollouts
    assert engine.ids == ["p0/0", "p0/1", "p1/0", "p1/1"]
    assert [(one.problem.id, one.index, one.verdict.reward) for one in rollouts] == [
        ("p0", 0, 1.0),
        ("p0", 1, 0.0),
        ("p1", 0, 0.0),
        ("p1", 1, 1.0),
    ]


def test_a_domain_that_judges_many_together_is_asked_once_and_in_order():
    class Together(Echo):
        asked: list[list[tuple[str, str]]] = []  # noqa: RUF012 - read after the run

        def verify(self, problem, completion):
            raise AssertionError("one by one")

        def verify_many(self, problems, completions):
            self.asked.append([(one.id, text) for one, text in zip(problems, completions, strict=True)])
            return [Echo.verify(self, one, text) for one, text in zip(problems, completions, strict=True)]

    domain = Together()
    engine = FakeEngine(answers=["0", "1"])
    spec = GenerationSpec(
        domain=domain, engine=engine, problems=[problem(0), problem(1)], samples=2, sampling=Echo.sampling
    )
    assert [one.verdict.reward for one in single_turn(spec).rollouts] == [1.0, 0.0, 0.0, 1.0]
    assert domain.asked == [[("p0", "0"), ("p0", "1"), ("p1", "0"), ("p1", "1")]]


def test_a_lone_surrogate_is_replaced_before_the_verifier_sees_it():
    class Broken(FakeEngine):
        def generate(self, requests, sampling):
            return [Completion(text="a\ud800b", tokens=1, prompt_tokens=1, truncated=False) for _ in requests]

    spec = GenerationSpec(domain=Echo(), engine=Broken(), problems=[problem(0)], samples=1, sampling=Echo.sampling)
    (rollout,) = single_turn(spec).rollouts
    assert rollout.completion == rollout.verdict.extracted == "a?b"


def test_rollouts_come_back_from_disk_as_they_were(tmp_path: Path):
    chat = (
        {"role": "user", "content": "2 + 2 ="},
        {"role": "assistant", "content": "4"},
        {"role": "user", "content": "naïve \x00 \u202e 🙂 <b>[red]"},
    )
    rollouts = tuple(
        Rollout(
            problem=Problem(id=f"p{index}", environment="rg:gcd", messages=chat, answer="4", solution=solution),
            index=index,
            completion=completion,
            tokens=index,
            truncated=bool(index),
            verdict=Verdict(reward=index / 3, extracted=extracted),
        )
        for index, (solution, completion, extracted) in enumerate(
            [(None, "", None), ("because", "line\none\x1b[31m", ""), (None, "x" * 100_000, "4")]
        )
    )
    write_rollouts(tmp_path / "rollouts.parquet", rollouts)
    assert read_rollouts(tmp_path / "rollouts.parquet") == rollouts


def test_no_rollouts_at_all_come_back_as_none(tmp_path: Path):
    write_rollouts(tmp_path / "rollouts.parquet", ())
    assert read_rollouts(tmp_path / "rollouts.parquet") == ()
