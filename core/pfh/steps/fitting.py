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
    from pfh.kit.weights import learned_positions, without_weights

    if not isinstance(options, TrainingOptions):
        return options
    positions = learned_positions(without_weights(checkpoint))
    if positions is None or positions >= options.max_length:
        return options
    session.progress.say(
        f"{method} trains with max_length={positions}, not {options.max_length}: {checkpoint.name} has learned so many "
        "positions and no more"
    )
    return options.model_copy(update={"max_length": positions})
