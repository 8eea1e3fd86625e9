"""SELF: SPIN, self-play fine-tuning: ground truth preferred to the model's own answers, again and again."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pfh import hookimpl
from pfh.errors import StepFailedError
from pfh.hooks.checkpoint import Checkpoint
from pfh.hooks.domains import Rollout, why_unverified
from pfh.hooks.ledger import Phase
from pfh.hooks.meanings import Leaves
from pfh.hooks.methods import StageSpec, TrainingResult, TrainingSpec
from pfh.kit.preferences import Pair, preference_trainer
from pfh.kit.supervised import Example, GroundTruthOptions, ground_truth, left_out, require_ground_truth
from pfh.kit.targets import told_forms
from pfh.kit.thoughts import thinks_on
from pfh.kit.training import Optimizer, TrainingOptions, Work, free_memory, rate, save_trained, train_resumably
from pfh.kit.training.along import keep_round
from pfh.sources.models import resolve
from pydantic import BaseModel, Field, model_validator

if TYPE_CHECKING:
    from trl import DPOTrainer


Progression = Literal["constant", "authors"]
"""How the learning rate and beta go from iteration to iteration."""
_FACTORS: Mapping[Progression, tuple[tuple[float, float], ...]] = {
    "constant": ((1.0, 1.0),),
    "authors": ((1.0, 1.0), (1.0, 1.0), (0.2, 1.0), (0.2, 50.0)),
}
"""What the rate and beta are multiplied by in each iteration; the last goes for all that follow. The authors' scripts
finetune.sh to finetune_iter3.sh train with 5e-7, 5e-7, 1e-7, 1e-7 and beta .1, .1, .1, 5 (github.com/uclaml/SPIN)."""


class Options(GroundTruthOptions, TrainingOptions):
    """Options of SPIN; the defaults are the authors', but for the adapter and the prompts, of which they had 50,000."""

    leaves: ClassVar[Leaves] = Leaves.ALL_WEIGHTS

    iterations: int = Field(4, ge=1, description="rounds of generation and training; each starts from the one before")
    beta: float = Field(0.1, gt=0, description="strength of the pull towards the model that the round started from")
    progression: Progression = Field(
        "authors",
        description="authors: a fifth of the learning rate from the third iteration on, 50 times beta from the fourth; "
        "constant: the same in all",
    )
    learning_rate: float = rate(5e-7)
    batch_size: int = Field(4, ge=1, description="pairs a device holds at once; halved when memory runs out")
    gradient_accumulation: int = Field(16, ge=1, description="batches whose gradients make one update")
    epochs: float = Field(3.0, gt=0, description="passes over the pairs, in each round")
    optimizer: Optimizer = Field("rmsprop", description="optimiser")

    @model_validator(mode="after")
    def _begins_once(self) -> Options:
        if self.iterations > 1 and (self.kl_start or self.l2_sp):
            raise ValueError(
                "kl_start and l2_sp hold a model near to where its training begins, and spin begins anew in every "
                "iteration: take iterations=1, or leave them out"
            )
        return self

    @property
    def work(self) -> Work:
        """What it does with a problem."""
        return Work(trained=2, read=2, generated=1, at_once=2, rounds=self.iterations)


@hookimpl
def options() -> type[BaseModel]:
    """Return the options of the method."""
    return Options


@hookimpl
def check(spec: StageSpec) -> None:
    """Check that the domain has ground truth.

    Raises:
        UserError: no problem has a solution or an answer that the verifier accepts.
    """
    require_ground_truth(spec)


@hookimpl
def train(spec: TrainingSpec) -> TrainingResult:
    """Teach the model to tell ground truth from its own answers, round by round; it leaves all weights, merged.

    Raises:
        UserError: the domain has no ground truth.
        StepFailedError: the model's own answers are the ground truth already.
    """
    options: Options = spec.options
    examples = ground_truth(spec)
    notes = list(left_out(spec, examples))
    problems = [example.problem for example in examples]
    judged = not why_unverified(spec.domain)
    player, before = spec.checkpoint, tuple[Pair, ...]()
    phases: list[Phase] = []
    curves: list[dict[str, float]] = []

    def spent() -> bool:
        return bool(phases) and not spec.account.lasts(options.batch_size * options.gradient_accumulation)

    for iteration in range(1, options.iterations + 1):
        # Drawing answers takes time too.
        own = () if spent() else spec.rollouts(samples=1, checkpoint=player, problems=problems, judged=judged)
        if spent():
            notes.append(f"SPIN ended before iteration {iteration}: its budget was spent.")
            break
        pairs = self_play(examples, own)
        if not pairs:
            notes.append(f"SPIN ended before iteration {iteration}: the model's own answers were the ground truth.")
            break
        spec.progress.say(
            f"SPIN iteration {iteration} of {options.iterations}: {len(pairs)} new pairs, {len(before)} of the last one"
        )
        player, phase, rows = _play(spec, player, (*before, *pairs), iteration)
        figures: dict[str, float | int | str] = {
            "iteration": iteration,
            "prompts": len(spec.problems),
            "effective_prompts": len(pairs),
            "pairs": len(before) + len(pairs),
            **told_forms((pair.chosen, pair.problem) for pair in pairs),
        }
        phases.append(dataclasses.replace(phase, notes={**phase.notes, **figures}))
        if spec.keep_every:
            keep_round(player.path, spec.output_dir, spec.account.phases)
        done = curves[-1]["step"] if curves else 0
        curves += [{**row, "step": row["step"] + done, "iteration": iteration} for row in rows]
        before = pairs
    if not phases:
        raise StepFailedError(
            f"spin has nothing to train on: the model's own answers to all {len(examples)} problems are the ground "
            "truth. Take harder problems; the rollouts are kept."
        )
    return TrainingResult(path=player.path, phases=tuple(phases), curves=tuple(curves), notes=tuple(notes))


def for_iteration(options: Options, iteration: int) -> Options:
    """Return `options` with the learning rate and the beta of an iteration, from 1."""
    factors = _FACTORS[options.progression]
    rate, pull = factors[min(iteration, len(factors)) - 1]
    changes = {"learning_rate": options.learning_rate * rate, "beta": options.beta * pull}
    return options.model_copy(update=changes)


def self_play(examples: Sequence[Example], own: Sequence[Rollout]) -> tuple[Pair, ...]:
    """Pair the ground truth of each example with the model's own answer, unless the two are the same.

    What was cut while the model thought is no answer.
    """
    return tuple(
        Pair(
            problem=example.problem,
            chosen=example.completion,
            rejected=rollout.completion,
            rejected_cut=rollout.truncated,
            rejected_ids=rollout.token_ids,
        )
        for example, rollout in zip(examples, own, strict=True)
        if rollout.completion.strip() != example.completion.strip() and not thinks_on(rollout.completion)
    )


def _play(
    spec: TrainingSpec, player: Checkpoint, pairs: Sequence[Pair], iteration: int
) -> tuple[Checkpoint, Phase, tuple[dict[str, float], ...]]:
    """Train `player` on `pairs`; return the next player, told apart by its weights, with the training's records."""
    name = f"iteration-{iteration}"
    # An adapter along the way of a later round is over other weights than the start: each round's end is kept.
    spec = dataclasses.replace(spec, options=for_iteration(spec.options, iteration), keep_every=None)
    options: Options = spec.options

    def build(arguments: Mapping[str, Any]) -> DPOTrainer:
        return spin_trainer(player, pairs, options, arguments)

    trained = train_resumably(spec, build, folder=f"{name}/trainer", rounds=options.iterations - iteration + 1)
    path = save_trained(trained.trainer, spec.output_dir / name / "merged", merge_into=player)
    phase, curves = trained.phase, trained.curves
    del trained  # Its memory is needed to draw the next answers.
    free_memory()
    following = resolve(str(path), cache_dir=spec.output_dir / "fingerprints")
    following = following.with_template_arguments(player.chat_template_kwargs)
    return dataclasses.replace(following, name=f"{spec.checkpoint.name}+spin-{iteration}"), phase, curves


def spin_trainer(
    player: Checkpoint, pairs: Sequence[Pair], options: Options, arguments: Mapping[str, Any]
) -> DPOTrainer:
    """Return TRL's DPO trainer, whose loss is SPIN's (Chen et al. 2024, arXiv 2401.01335).

    With y the ground truth and y' the answer of the player theta_t, log-probabilities summed over a sequence:

        loss = -log sigmoid(beta * ((log pi(y|x) - log pi_t(y|x)) - (log pi(y'|x) - log pi_t(y'|x))))
    """
    return preference_trainer(player, pairs, options, arguments, beta=options.beta)
