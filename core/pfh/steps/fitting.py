"""Options of a method cut down to what a model can take."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pfh.steps.session import Session

if TYPE_CHECKING:
    from pydantic import BaseModel

    from pfh.hooks.checkpoint import Checkpoint


def fit_options(session: Session, checkpoint: Checkpoint, method: str, options: BaseModel | None) -> BaseModel | None:
    """Return `options` with a max_length for which the model has positions, and say where it was cut."""
    from pfh.kit.training import TrainingOptions

    if not isinstance(options, TrainingOptions):
        return options
    length = fitting_length(checkpoint, options.max_length)
    if length == options.max_length:
        return options
    session.progress.say(
        f"{method} trains with max_length={length}, not {options.max_length}: {checkpoint.name} has learned so many "
        "positions and no more"
    )
    return options.model_copy(update={"max_length": length})


def fitting_length(checkpoint: Checkpoint, length: int) -> int:
    """Return `length`, or the number of positions that the model has learned, where that is less."""
    from pfh.kit.weights import learned_positions, without_weights

    positions = learned_positions(without_weights(checkpoint))
    return length if positions is None else min(length, positions)
