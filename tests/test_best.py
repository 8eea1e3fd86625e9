"""Keeping the best checkpoint: by the loss on prompts held back, or by the reward of the latest rollouts."""

from __future__ import annotations

import dataclasses

import pytest
from pfh.errors import UserError
from pfh.hooks.domains import Verdict
from pfh.kit.supervised import Example, SupervisedOptions, train_on
from pfh.kit.validation import ValidatedOptions, hold_back
from pfh_methods import grpo

from tests.letters import Letters, problems, same, training_spec, untimed, weights

KEEPING = ValidatedOptions(keep_best=True, validation=0.25)


def examples(count: int, *completions: str) -> list[Example]:
    return [Example(problem=problem, completion=text) for problem in problems(count) for text in completions]


def test_nothing_is_held_back_unless_asked_for():
    given = examples(4, "a")
    assert hold_back(given, ValidatedOptions(), 0) == (given, ())


def test_all_examples_of_a_prompt_are_on_one_side_whatever_others_there_are():
    taught, held = hold_back(examples(8, "a", "b"), KEEPING, 0)
    ids = [{example.problem.id for example in side} for side in (taught, held)]
    assert [len(side) for side in ids] == [6, 2]
    assert not ids[0] & ids[1]
    assert (len(taught), len(held)) == (12, 4)
    _, fewer = hold_back([example for example in examples(8, "c") if example.problem.id in ids[1]], KEEPING, 0)
    assert {example.problem.id for example in fewer} < ids[1]
    assert any(hold_back(examples(8, "a", "b"), KEEPING, seed)[1] != held for seed in (1, 2, 3))
    with pytest.raises(UserError, match="there is one only"):
        hold_back(examples(1, "a", "b"), KEEPING, 0)


def learn_by_heart(model, folder, *, look=None, look_every=1, **changes):
    """Teach each prompt an answer of its own: what is learned of one says nothing of those held back."""
    settings = {"max_steps": 12, "save_steps": 2, "batch_size": 8, "learning_rate": 3e-2, "max_length": 64}
    settings |= {"schedule": "constant_with_warmup", "warmup": 0.0, "keep_best": True}
    spec = dataclasses.replace(training_spec(grpo, model, folder), look=look, look_every=look_every)
    given = [Example(problem=problem, completion=f"{7 * n % 10}") for n, problem in enumerate(problems(10))]
    return train_on(
        dataclasses.replace(spec, options=SupervisedOptions(**settings | changes)), given, notes=(), figures={}
    )


@pytest.mark.parametrize("adapter", ["lora", "full"])
def test_the_checkpoint_with_the_lowest_loss_on_held_back_prompts_is_saved(adapter, tiny_llama_path, tmp_path):
    result = learn_by_heart(tiny_llama_path, tmp_path / "a", adapter=adapter)
    (phase,) = result.phases
    losses = {row["step"]: row["validation_loss"] for row in result.curves if "validation_loss" in row}
    assert list(losses) == [2, 4, 6, 8, 10, 12]
    kept = phase.notes["kept_update"]
    assert kept == min(losses, key=losses.get) < 12
    assert phase.notes["kept_validation_loss"] == losses[kept]
    assert phase.notes["examples"] == 9
    as_far = learn_by_heart(tiny_llama_path, tmp_path / "b", adapter=adapter, max_steps=kept)
    assert same(weights(result.path), weights(as_far.path))
    again = learn_by_heart(tiny_llama_path, tmp_path / "a", adapter=adapter)
    assert same(weights(result.path), weights(again.path))
    assert again.phases[0].notes["kept_update"] == kept


class Fading(Letters):
    """Rewards letters, and from the seventh batch of 32 rollouts on nothing but the first completion of four."""

    def __init__(self) -> None:
        super().__init__()
        self.seen = 0

    def verify(self, problem, completion) -> Verdict:
        self.seen += 1
        verdict = super().verify(problem, completion)
        return verdict if self.seen <= 6 * 32 else dataclasses.replace(verdict, reward=float(self.seen % 4 == 0))


def test_the_checkpoint_with_the_best_recent_reward_is_saved(tiny_llama_path, tmp_path):
    def train(folder, **changes):
        options = {"generations": 4, "save_steps": 1, "learning_rate": 1e-1, "adapter": "lora"} | changes
        return grpo.train(training_spec(grpo, tiny_llama_path, tmp_path / folder, domain=Fading(), **options))

    result = train("a", max_steps=9, keep_best=True)
    training = result.phases[-1]
    rewards = [row["reward"] for row in result.curves]
    means = {step: sum(rewards[step - 5 : step]) / 5 for step in range(5, 10)}
    kept = training.notes["kept_update"]
    assert kept == max(means, key=means.get) < 9
    assert training.notes["kept_reward"] == pytest.approx(means[kept])
    as_far = train("b", max_steps=kept)
    assert same(weights(result.path), weights(as_far.path))
    assert "kept_update" not in as_far.phases[-1].notes
    again = train("a", max_steps=9, keep_best=True)
    assert same(weights(again.path), weights(result.path))
    assert untimed(again.curves) == untimed(result.curves)
