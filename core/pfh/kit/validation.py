"""Examples held back from training, whose loss says which checkpoint is best."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, Protocol, TypeVar

from pydantic import Field

from pfh.errors import UserError
from pfh.hooks.domains import Problem
from pfh.kit.training import TrainingOptions


class ValidatedOptions(TrainingOptions):
    """Options of every method whose examples are all there before it trains."""

    keep_best: bool = Field(
        False, description="save the checkpoint with the lowest loss on held-back prompts in place of the last one"
    )
    validation: float = Field(0.1, gt=0, lt=1, description="share of the prompts that keep_best holds back")


class _OfAProblem(Protocol):
    @property
    def problem(self) -> Problem: ...


Example = TypeVar("Example", bound=_OfAProblem)


def hold_back(
    examples: Sequence[Example], options: ValidatedOptions, seed: int
) -> tuple[Sequence[Example], Sequence[Example]]:
    """Return the examples to train on, and those to choose a checkpoint by: all of a prompt's are on one side.

    A prompt that is held back of some examples is, as far as possible, held back of any others with the same seed.

    Raises:
        UserError: there is one prompt only.
    """
    if not options.keep_best:
        return examples, ()
    prompts = sorted(
        {example.problem.id for example in examples},
        key=lambda prompt: hashlib.sha256(f"{seed}/{prompt}".encode()).digest(),
    )
    if len(prompts) < 2:
        raise UserError("keep_best holds back some of the prompts, and there is one only: set keep_best=false.")
    held = set(prompts[: min(max(round(options.validation * len(prompts)), 1), len(prompts) - 1)])
    return (
        [example for example in examples if example.problem.id not in held],
        [example for example in examples if example.problem.id in held],
    )


def validation_arguments(options: ValidatedOptions, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a TRL config takes beside `arguments` to measure the loss on held-back examples before it saves."""
    if not options.keep_best:
        return {}
    return {
        "eval_strategy": "steps",
        "eval_steps": options.save_steps,
        "per_device_eval_batch_size": arguments["per_device_train_batch_size"],
        "prediction_loss_only": True,
        "metric_for_best_model": "eval_loss",
        "greater_is_better": False,
    }
