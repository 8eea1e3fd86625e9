"""What the methods share that merge weights and train nothing."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import ClassVar

from pfh.errors import UserError
from pfh.hooks.checkpoint import Checkpoint
from pfh.hooks.ledger import Phase
from pfh.hooks.meanings import Learns
from pfh.hooks.methods import StageSpec, TrainingResult, TrainingSpec
from pfh.kit.merge_models import Combine, merge_models
from pydantic import BaseModel, ConfigDict


class MergeOptions(BaseModel):
    """Options of every method that merges weights."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    learns: ClassVar[Learns] = Learns.MERGES


def require_earlier_stage(spec: StageSpec, method: str) -> None:
    """Check that there is a trained model to merge.

    Raises:
        UserError: the stage is the first.
    """
    if spec.origin is None:
        raise UserError(
            f"{method} merges what a stage before it trained with the start of the run, and no stage comes before it: "
            f"name a method that trains first, such as --method gt-sft --method {method}."
        )


def trained_models(spec: StageSpec) -> tuple[Checkpoint, ...]:
    """Return the models to merge: what the stage before left, where there is one, and those that an option names."""
    return (*((spec.checkpoint,) if spec.origin is not None else ()), *spec.others)


def merge(
    spec: TrainingSpec, models: Sequence[Checkpoint], combine: Combine, notes: Sequence[str] = ()
) -> TrainingResult:
    """Write what `combine` makes of the models; the phase in the ledger has no updates."""
    began = time.monotonic()
    path = merge_models(
        models, combine, spec.output_dir / "merged", work=spec.output_dir / "work", progress=spec.progress
    )
    phase = Phase(name="merging", seconds=round(time.monotonic() - began, 3))
    names = ", ".join(model.name for model in models)
    return TrainingResult(path=path, phases=(phase,), notes=(f"Nothing was trained: merged are {names}.", *notes))
