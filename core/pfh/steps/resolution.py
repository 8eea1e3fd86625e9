"""What of a training's update is left where it is measured: rounded weights lose a small one."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from pfh.kit.update_resolution import WHOLE

if TYPE_CHECKING:
    from pfh.steps.training import TrainedStage

UPDATE_LEFT = "update_left_in_bfloat16"
"""Note of a training's last phase: share of its update that weights kept in bfloat16 would leave."""
UPDATE_MEASURED = "update_left_when_measured"
"""The same in the precision that this run measures in."""


def with_measured_update(trained: TrainedStage, dtype: str) -> TrainedStage:
    """Return `trained` with the share of its update that is measured in `dtype`, and a warning where most is lost.

    An adapter whose update would be lost stays beside the weights, in float32, and is measured whole. Of float16 and of
    a start whose weights cannot be read one by one nothing is said.
    """
    from pfh.kit.tokens.loading import pick_device, pick_dtype

    left = next((phase.notes[UPDATE_LEFT] for phase in trained.phases[::-1] if UPDATE_LEFT in phase.notes), None)
    precision = str(pick_dtype(dtype, pick_device())).removeprefix("torch.")
    if not isinstance(left, float) or precision == "float16":
        return trained
    apart = trained.checkpoint.adapter is not None and left < WHOLE
    measured = 1.0 if apart or precision == "float32" else left
    last = trained.phases[-1]
    phases = (*trained.phases[:-1], dataclasses.replace(last, notes={**last.notes, UPDATE_MEASURED: measured}))
    return dataclasses.replace(trained, phases=phases, notes=(*trained.notes, *_said(left, measured, apart=apart)))


def _said(left: float, measured: float, *, apart: bool) -> tuple[str, ...]:
    small = f"{left:.0%} of the update is left where the trained weights are kept in bfloat16"
    if measured < WHOLE:
        return (f"Warning: {small}, and so they are measured: the rest is not in any figure; use --dtype float32.",)
    if left < WHOLE and apart:
        return (f"Warning: {small}; it is measured whole, the adapter beside them; merging it loses the rest.",)
    if left < WHOLE:
        return (f"Warning: {small}; it is measured whole here, in float32.",)
    return ()
