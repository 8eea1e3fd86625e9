"""WiSE-FT: weights between the start of the run and what the stage before trained (Wortsman et al. 2022)."""

from __future__ import annotations

from pfh import hookimpl
from pfh.hooks.methods import Draw, StageSpec, TrainingResult, TrainingSpec
from pfh.kit.merging import interpolated
from pydantic import BaseModel, Field

from pfh_methods.merging import MergeOptions, merge, require_earlier_stage


class Options(MergeOptions):
    """Options of WiSE-FT."""

    alpha: float = Field(
        0.5, ge=0, le=1, description="share of the way from the start (0) to the trained model (1), in every weight"
    )


@hookimpl
def options() -> type[BaseModel]:
    """Return the options of the method."""
    return Options


@hookimpl
def check(spec: StageSpec) -> None:
    """Check that a stage comes before.

    Raises:
        UserError: none does.
    """
    require_earlier_stage(spec, "wise-ft")


@hookimpl
def draws(spec: StageSpec) -> tuple[Draw, ...]:
    """Name none."""
    return ()


@hookimpl
def train(spec: TrainingSpec) -> TrainingResult:
    """Interpolate every weight: (1 - alpha) start + alpha trained."""
    require_earlier_stage(spec, "wise-ft")
    alpha = spec.options.alpha
    return merge(
        spec,
        [spec.beginning, spec.checkpoint],
        lambda name, tensors: interpolated(tensors[0], tensors[1], alpha),
        [f"Every weight is {1 - alpha:g} of the start's and {alpha:g} of the trained model's."],
    )
