"""ORPO on verified pairs: supervised fine-tuning and a log odds ratio in one loss, with no reference model.

Hong, Lee and Thorne 2024, "ORPO: Monolithic Preference Optimization without Reference Model", arXiv 2403.07691.
"""

from __future__ import annotations

import dataclasses
import itertools
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pfh import hookimpl
from pfh.domain import Problem, Rollout
from pfh.errors import StepFailedError
from pfh.ledger import Phase
from pfh.specs import TrainingResult, TrainingSpec
from pfh.training import (
    TrainingOptions,
    load_for_training,
    lora_config,
    save_trained,
    train_resumably,
    trainer_arguments,
)
from pydantic import Field

if TYPE_CHECKING:
    from trl.experimental.orpo import ORPOTrainer


class Options(TrainingOptions):
    """Options of ORPO, beside those that every trained method has."""

    beta: float = Field(0.1, gt=0, description="weight of the odds-ratio term (lambda in the paper)")
    samples: int = Field(8, ge=2, description="rollouts a problem from which pairs are made")
    pairs_per_problem: int = Field(2, ge=1, description="at most this many pairs a problem")


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
    """Draw rollouts, pair correct with incorrect ones, and train on the pairs."""
    rollouts = spec.rollouts(samples=spec.options.samples)
    pairs = make_pairs(rollouts, spec.options.pairs_per_problem)
    without_pair = 1 - len({pair.problem.id for pair in pairs}) / len(spec.problems)
    if not pairs:
        correct = sum(rollout.verdict.reward == 1 for rollout in rollouts)
        raise StepFailedError(
            f"No pair for ORPO: {correct} of {len(rollouts)} rollouts are correct, and none of the "
            f"{len(spec.problems)} problems has both a correct and an incorrect one. Draw more (-o orpo.samples=16), "
            "take more problems (--problems), or make them easier or harder with the options of the domain."
        )
    tokenizer: Any = None
    tokens = 0

    def build(batch_size: int, gradient_accumulation: int) -> ORPOTrainer:
        nonlocal tokenizer, tokens
        model, tokenizer = load_for_training(spec.checkpoint)
        trainer = orpo_trainer(spec, pairs, model, tokenizer, batch_size, gradient_accumulation)
        rows = trainer.train_dataset
        tokens = sum(len(ids) for name in ("chosen_input_ids", "rejected_input_ids") for ids in rows[name])
        return trainer

    trained = train_resumably(
        build,
        output_dir=spec.output_dir,
        batch_size=spec.options.batch_size,
        gradient_accumulation=spec.options.gradient_accumulation,
        progress=spec.progress,
    )
    pairing = Phase(
        name="pairs", seconds=0.0, samples=len(pairs), notes={"share_of_problems_without_pair": without_pair}
    )
    training = dataclasses.replace(trained.phase, tokens=round(tokens * trained.phase.samples / len(pairs)))
    return TrainingResult(
        path=save_trained(trained.model, tokenizer, spec.output_dir / "weights"),
        phases=(pairing, training),
        curves=trained.curves,
        notes=(
            f"ORPO trained on {len(pairs)} pairs; {without_pair:.0%} of the {len(spec.problems)} problems gave none.",
            "TRL's ORPO takes the supervised part of the loss over the prompt as well as over the chosen completion.",
        ),
    )


def make_pairs(rollouts: Sequence[Rollout], per_problem: int) -> list[Pair]:
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
            for good, bad in itertools.islice(zip(correct, incorrect, strict=False), per_problem)
        ]
    return pairs


def orpo_trainer(
    spec: TrainingSpec,
    pairs: Sequence[Pair],
    model: Any,  # noqa: ANN401 - transformers is not imported at module level
    tokenizer: Any,  # noqa: ANN401
    batch_size: int,
    gradient_accumulation: int,
) -> ORPOTrainer:
    """Return TRL's trainer over `pairs`."""
    os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")
    from datasets import Dataset
    from pfh.templates import render
    from trl.experimental.orpo import ORPOConfig, ORPOTrainer

    arguments = trainer_arguments(
        spec.options,
        output_dir=spec.output_dir,
        seed=spec.seed,
        batch_size=batch_size,
        gradient_accumulation=gradient_accumulation,
    )
    # The counter looks for "input_ids", which this trainer's batches lack; `train` counts instead.
    arguments["include_num_input_tokens_seen"] = "no"
    # Text as the engine renders it: from messages, TRL would put a second end of sequence behind the turn's own.
    rows = [
        {"prompt": render(tokenizer, pair.problem.messages), "chosen": pair.chosen, "rejected": pair.rejected}
        for pair in pairs
    ]
    return ORPOTrainer(
        model=model,
        args=ORPOConfig(
            beta=spec.options.beta, max_length=spec.options.max_length, remove_unused_columns=False, **arguments
        ),
        train_dataset=Dataset.from_list(rows),
        processing_class=tokenizer,
        peft_config=lora_config(spec.options),
    )
