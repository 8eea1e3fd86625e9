"""ORPO on verified pairs: supervised fine-tuning and a log odds ratio in one loss, with no reference model.

Hong, Lee and Thorne 2024, "ORPO: Monolithic Preference Optimization without Reference Model", arXiv 2403.07691.
"""

from __future__ import annotations

import dataclasses
import itertools
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pfh import hookimpl
from pfh.errors import StepFailedError
from pfh.hooks.checkpoint import Checkpoint
from pfh.hooks.domains import Problem, Rollout
from pfh.hooks.methods import TrainingResult, TrainingSpec
from pfh.kit.tokens.chat_templates import render
from pfh.kit.training import (
    TrainingOptions,
    load_for_training,
    lora_config,
    save_trained,
    train_resumably,
)
from pydantic import Field

if TYPE_CHECKING:
    from trl.experimental.orpo import ORPOTrainer


class Options(TrainingOptions):
    """Options of ORPO, beside those that every trained method has."""

    beta: float = Field(0.1, gt=0, description="weight of the odds-ratio term (lambda in the paper)")
    samples: int = Field(8, ge=2, description="rollouts a problem from which pairs are made")
    pairs_per_prompt: int = Field(2, ge=1, description="at most this many pairs a problem")


@dataclass(frozen=True, kw_only=True)
class Pair:
    """A correct and an incorrect completion of one problem."""

    problem: Problem
    chosen: str
    rejected: str


@hookimpl
def options() -> type[Options]:
    """Name the options model."""
    return Options


@hookimpl
def train(spec: TrainingSpec) -> TrainingResult:
    """Draw rollouts, pair correct with incorrect ones, and train on the pairs.

    Raises:
        StepFailedError: no problem has both a correct and an incorrect rollout, or training broke off.
    """
    options: Options = spec.options
    rollouts = spec.rollouts(samples=options.samples)
    pairs = make_pairs(rollouts, options.pairs_per_prompt)
    without_pair = 1 - len({pair.problem.id for pair in pairs}) / len(spec.problems)
    if not pairs:
        correct = sum(rollout.verdict.reward == 1 for rollout in rollouts)
        raise StepFailedError(
            f"orpo has no pair to train on: {correct} of {len(rollouts)} rollouts are correct, and none of the "
            f"{len(spec.problems)} problems has both a correct and an incorrect one. Draw more (-o orpo.samples=16), "
            "take more problems (--problems), or make them easier or harder with the options of the domain."
        )

    def build(arguments: Mapping[str, Any]) -> ORPOTrainer:
        return orpo_trainer(spec.checkpoint, pairs, options, arguments)

    trained = train_resumably(spec, build)
    rows = trained.trainer.train_dataset
    tokens = sum(len(ids) for name in ("chosen_input_ids", "rejected_input_ids") for ids in rows[name])
    phase = dataclasses.replace(
        trained.phase,
        tokens=round(tokens * trained.phase.samples / len(pairs)),
        notes={**trained.phase.notes, "pairs": len(pairs), "share_without_a_pair": without_pair},
    )
    return TrainingResult(
        path=save_trained(trained.trainer, spec.output_dir / "trained"),
        phases=(phase,),
        curves=trained.curves,
        notes=(
            f"ORPO trained on {len(pairs)} pairs; {without_pair:.0%} of the {len(spec.problems)} problems gave none.",
            "TRL's ORPO takes the supervised part of the loss over the prompt as well as over the chosen completion.",
        ),
    )


def make_pairs(rollouts: Sequence[Rollout], per_prompt: int) -> list[Pair]:
    """Pair each problem's distinct correct completions with its distinct incorrect ones, in the order drawn.

    A problem whose rollouts are all correct or all incorrect gives no pair.
    """
    pairs = []
    for _, group in itertools.groupby(rollouts, key=lambda rollout: rollout.problem.id):
        drawn = {rollout.completion: rollout for rollout in group}.values()
        correct = [rollout for rollout in drawn if rollout.verdict.reward == 1]
        incorrect = [rollout for rollout in drawn if rollout.verdict.reward < 1]
        pairs += [
            Pair(problem=good.problem, chosen=good.completion, rejected=bad.completion)
            for good, bad in itertools.islice(zip(correct, incorrect, strict=False), per_prompt)
        ]
    return pairs


def orpo_trainer(
    checkpoint: Checkpoint, pairs: Sequence[Pair], options: Options, arguments: Mapping[str, Any]
) -> ORPOTrainer:
    """Return TRL's trainer over `pairs`."""
    os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")
    from datasets import Dataset
    from trl.experimental.orpo import ORPOConfig, ORPOTrainer

    model, tokenizer = load_for_training(checkpoint)
    # Text as the engine renders it: from messages, TRL would put a second end of sequence behind the turn's own.
    rows = [
        {"prompt": render(tokenizer, pair.problem.messages), "chosen": pair.chosen, "rejected": pair.rejected}
        for pair in pairs
    ]
    # The counter of tokens looks for "input_ids", which this trainer's batches lack; `train` counts instead.
    settings = {**arguments, "include_num_input_tokens_seen": "no", "remove_unused_columns": False}
    return ORPOTrainer(
        model=model,
        args=ORPOConfig(beta=options.beta, max_length=options.max_length, **settings),
        train_dataset=Dataset.from_list(rows),
        processing_class=tokenizer,
        peft_config=lora_config(options, model),
    )
