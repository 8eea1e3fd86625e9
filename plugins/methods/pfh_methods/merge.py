"""Task vectors merged into the start: task arithmetic, TIES, DARE, or SLERP, of what was trained and other models."""

from __future__ import annotations

from typing import Annotated

from pfh import hookimpl
from pfh.errors import UserError
from pfh.hooks.meanings import Names
from pfh.hooks.methods import Draw, StageSpec, TrainingResult, TrainingSpec
from pfh.kit.merging import How, Recipe, merged
from pydantic import BaseModel, Field

from pfh_methods.merging import MergeOptions, merge, trained_models


class Options(MergeOptions):
    """Options of a merge."""

    how: How = Field("ties", description="how the differences from the start are put together; slerp takes one model")
    models: Annotated[str, Names.MODELS] = Field(
        "", description="other models trained from the same start, with commas; unset: only what the stage before left"
    )
    scale: float = Field(
        1.0, gt=0, le=4, description="factor of the merged difference; of slerp the share of the way, at most 1"
    )
    density: float = Field(0.2, gt=0, le=1, description="ties: share of each difference's largest entries to keep")
    drop: float = Field(0.9, ge=0, lt=1, description="dare: share of each difference's entries to drop at random")


@hookimpl
def options() -> type[BaseModel]:
    """Return the options of the method."""
    return Options


@hookimpl
def check(spec: StageSpec) -> None:
    """Check that there are models to merge.

    Raises:
        UserError: there is none, or slerp is given several or more than the way.
    """
    options, models = spec.options, trained_models(spec)
    if not models:
        raise UserError(
            "merge has nothing to merge into the start: name a method that trains before it, or models with -o "
            "merge.models=."
        )
    if options.how == "slerp" and len(models) > 1:
        raise UserError(f"slerp goes from the start to one model, and there are {len(models)}: leave merge.models out.")
    if options.how == "slerp" and options.scale > 1:
        raise UserError(f"slerp goes at most all of the way: merge.scale is {options.scale:g}; take 1 or less.")


@hookimpl
def draws(spec: StageSpec) -> tuple[Draw, ...]:
    """Name none."""
    return ()


@hookimpl
def train(spec: TrainingSpec) -> TrainingResult:
    """Merge the differences of the models from the start of the run."""
    options: Options = spec.options
    recipe = Recipe(how=options.how, scale=options.scale, density=options.density, drop=options.drop, seed=spec.seed)
    said = {
        "ties": f"the largest {options.density:.0%} of each tensor's differences were kept",
        "dare": f"{options.drop:.0%} of the differences were dropped at random",
        "dare-ties": f"{options.drop:.0%} of the differences were dropped at random",
    }
    return merge(
        spec,
        [spec.beginning, *trained_models(spec)],
        lambda name, tensors: merged(tensors[0], tensors[1:], name, recipe),
        [f"By {options.how}, times {options.scale:g}{f'; {said[options.how]}' if options.how in said else ''}."],
    )
