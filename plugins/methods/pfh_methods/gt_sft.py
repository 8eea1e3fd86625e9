"""GT-SFT: supervised fine-tuning on verified ground truth."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pfh import hookimpl
from pfh.errors import StepFailedError, UserError
from pfh.hooks.domains import why_unverified
from pfh.hooks.meanings import Learns, Names
from pfh.hooks.methods import Draw, StageSpec, TrainingResult, TrainingSpec
from pfh.kit.supervised import (
    GroundTruthOptions,
    SupervisedOptions,
    ground_truth,
    left_out,
    require_ground_truth,
    train_on,
)
from pfh.kit.teachers import accepted
from pydantic import BaseModel, Field


class Options(GroundTruthOptions, SupervisedOptions):
    """Options of GT-SFT."""

    learns: ClassVar[Learns] = Learns.CONVERSATIONS
    """The worked solution needs no tool."""

    teacher: Annotated[str, Names.MODEL] = Field(
        "", description="train only on the problems that this model solves too: sf-sft's or cf-sft's prompts, matched"
    )
    samples: int = Field(4, ge=1, description="rollouts of that model a problem")


@hookimpl
def options() -> type[BaseModel]:
    """Return the options of the method."""
    return Options


@hookimpl
def check(spec: StageSpec) -> None:
    """Check that the domain has ground truth.

    Raises:
        UserError: no problem has a solution or an answer that the verifier accepts, or a teacher has no verifier.
    """
    if spec.options.teacher and (unverified := why_unverified(spec.domain)):
        raise UserError(
            f"gt-sft with a teacher keeps the problems that it solves, and {unverified}; or name no teacher."
        )
    require_ground_truth(spec)


@hookimpl
def draws(spec: StageSpec) -> tuple[Draw, ...]:
    """Name the rollouts of the model that its prompts are matched with."""
    return (Draw(samples=spec.options.samples, by_teacher=True),) if spec.options.teacher else ()


@hookimpl
def train(spec: TrainingSpec) -> TrainingResult:
    """Fine-tune on each problem's worked solution, or on its answer where there is none.

    Raises:
        UserError: the domain has no ground truth.
        StepFailedError: the model to match solves no problem.
    """
    options: Options = spec.options
    examples = ground_truth(spec)
    notes = left_out(spec, examples)
    if spec.teacher is not None:
        solved = accepted(spec.rollouts(samples=options.samples, checkpoint=spec.teacher), completions_per_prompt=1)
        ids = {example.problem.id for example in solved.examples}
        examples = tuple(example for example in examples if example.problem.id in ids)
        if not examples:
            raise StepFailedError(
                f"{spec.teacher.name} solves none of the problems, so that no example is left to train on: "
                f"ask for more samples a problem than {options.samples}, or name no teacher; the rollouts are kept."
            )
        notes += (f"Only the {len(examples)} problems that {spec.teacher.name} solves too were trained on.",)
    figures = {"prompts": len(spec.problems), "effective_prompts": len(examples)}
    return train_on(spec, examples, notes=notes, figures=figures)
