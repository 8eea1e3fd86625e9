"""No post-training: the start measured again under another seed and in other batches, the noise of everything else."""

from __future__ import annotations

from typing import ClassVar

from pfh import hookimpl
from pfh.errors import StepFailedError
from pfh.hooks.meanings import Learns
from pfh.hooks.methods import Draw, StageSpec, TrainingResult, TrainingSpec
from pydantic import BaseModel, ConfigDict


class Options(BaseModel):
    """It has no options."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    learns: ClassVar[Learns] = Learns.NOTHING


@hookimpl
def options() -> type[BaseModel]:
    """Return the options of the method."""
    return Options


@hookimpl
def draws(spec: StageSpec) -> tuple[Draw, ...]:
    """Name none."""
    return ()


@hookimpl
def train(spec: TrainingSpec) -> TrainingResult:
    """Refuse: the core measures the start again in place of a training.

    Raises:
        StepFailedError: always.
    """
    raise StepFailedError("none trains nothing: its model is the start.")
