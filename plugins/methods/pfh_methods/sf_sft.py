"""SF-SFT: supervised fine-tuning on verified completions of a teacher of the same model family."""

from __future__ import annotations

from pfh import hookimpl
from pfh.hooks.methods import Draw, StageSpec, TrainingResult, TrainingSpec
from pfh.kit.teachers import TeacherOptions, check_teacher, imitate
from pydantic import BaseModel


@hookimpl
def options() -> type[BaseModel]:
    """Return the options of the method."""
    return TeacherOptions


@hookimpl
def check(spec: StageSpec) -> None:
    """Check that the teacher is of the same family.

    Raises:
        UserError: it is, or there is none.
    """
    check_teacher(spec)


@hookimpl
def draws(spec: StageSpec) -> tuple[Draw, ...]:
    """Name the teacher's rollouts."""
    return (Draw(samples=spec.options.samples, by_teacher=True),)


@hookimpl
def train(spec: TrainingSpec) -> TrainingResult:
    """Fine-tune on the teacher's rollouts that the verifier accepts.

    Raises:
        UserError: the teacher's family is not the one wanted.
        StepFailedError: the verifier accepts no rollout.
    """
    return imitate(spec)
