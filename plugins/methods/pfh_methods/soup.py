"""A soup: the mean of the weights of several models trained from one start, or of one training's checkpoints."""

from __future__ import annotations

from typing import Annotated

from pfh import hookimpl
from pfh.errors import UserError
from pfh.hooks.meanings import Names
from pfh.hooks.methods import Draw, StageSpec, TrainingResult, TrainingSpec
from pfh.kit.merging import mean
from pydantic import BaseModel, Field

from pfh_methods.merging import MergeOptions, merge, trained_models


class Options(MergeOptions):
    """Options of a soup."""

    models: Annotated[str, Names.MODELS] = Field(
        "", description="the models beside what the stage before left, with commas; needed"
    )


@hookimpl
def options() -> type[BaseModel]:
    """Return the options of the method."""
    return Options


@hookimpl
def check(spec: StageSpec) -> None:
    """Check that there are two models or more.

    Raises:
        UserError: there are not.
    """
    if len(trained_models(spec)) < 2:
        raise UserError(
            "soup is the mean of two models or more: name those of other seeds, or other checkpoints of the training, "
            "with -o soup.models=MODEL,MODEL."
        )


@hookimpl
def draws(spec: StageSpec) -> tuple[Draw, ...]:
    """Name none."""
    return ()


@hookimpl
def train(spec: TrainingSpec) -> TrainingResult:
    """Average the weights."""
    return merge(spec, trained_models(spec), lambda name, tensors: mean(tensors))
