"""Pairs, the error without any, and a training of a tiny random model."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from pfh import testing as fakes
from pfh.errors import StepFailedError
from pfh.hooks.domains import Problem, Rollout, Verdict
from pfh.testing import Plugins
from pfh_orpo import Options, make_pairs, train


def rollout(problem: str, index: int, completion: str, reward: float) -> Rollout:
    """Return one rollout of a problem named `problem`."""
    asked = Problem(id=problem, environment="test", messages=({"role": "user", "content": problem},), answer="yes")
    verdict = Verdict(reward=reward, extracted=completion)
    return Rollout(problem=asked, index=index, completion=completion, tokens=1, truncated=False, verdict=verdict)


def test_pairs_join_correct_and_incorrect_rollouts_of_one_problem() -> None:
    drawn = [
        rollout("a", 0, "yes", 1.0),
        rollout("a", 1, "no", 0.0),
        rollout("a", 2, "yes", 1.0),
        rollout("a", 3, "never", 0.0),
        rollout("b", 0, "yes", 1.0),
        rollout("c", 0, "no", 0.0),
    ]

    pairs = make_pairs(drawn, per_prompt=2)

    assert [(pair.problem.id, pair.chosen, pair.rejected) for pair in pairs] == [("a", "yes", "no")]


def test_without_pairs_the_error_says_what_to_change(tmp_path: Path) -> None:
    drawn = tuple(rollout("a", index, f"no {index}", 0.0) for index in range(4))
    spec = dataclasses.replace(
        fakes.training_spec(tmp_path, options=Options(samples=4), problems=1), rollouts=lambda **_: drawn
    )

    with pytest.raises(StepFailedError, match=r"0 of 4 rollouts are correct.*orpo\.samples"):
        train(spec)


def test_pfh_finds_the_method_and_fills_its_options() -> None:
    options = Plugins().options("methods", "orpo", {"beta": "0.2", "lora_rank": "4"})

    assert (options.beta, options.lora_rank, options.samples) == (0.2, 4, 8)
