"""CF-SFT: supervised fine-tuning on verified completions of a teacher of another model family."""

from __future__ import annotations

from typing import ClassVar

from pfh import hookimpl
from pfh.hooks.methods import Draw, StageSpec, TrainingResult, TrainingSpec
from pfh.kit.teachers import Relation, TeacherOptions, check_teacher, imitate
from pydantic import BaseModel


class Options(TeacherOptions):
    """Options of the method."""

    relation: ClassVar[Relation] = "other"


@hookimpl
def options() -> type[BaseModel]:
    """Return the options of the method."""
    return Options


@hookimpl
def check(spec: StageSpec) -> None:
    """Check that the teacher is of another family.

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
