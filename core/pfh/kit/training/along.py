"""Checkpoints along the way of a training: what the weights were after so many updates, and what they had cost."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pfh.hooks.ledger import Phase
from pfh.kit.training.models import save_trained
from pfh.kit.training.spending import Spent

if TYPE_CHECKING:
    from transformers import Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments

FOLDER = "along"
"""Of a stage's output folder: where its checkpoints along the way are."""
_COST = "cost.json"


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What a stage had spent when a checkpoint was kept, on all its devices, what was drawn included."""

    update: int
    """Updates made."""
    device_seconds: float
    tokens: int
    """Tokens of the sequences trained on."""
    flops: float


def keep_along(trainer: Trainer, spent: Spent, folder: Path, every: int, before: Sequence[Phase]) -> TrainerCallback:
    """Return a callback that keeps the weights in `folder` after every so many updates, and at the end.

    It must come behind the callback that counts what is `spent`; the stage had finished the phases `before` already.
    """
    from transformers import TrainerCallback

    earlier = _cost_of(before)

    class Along(TrainerCallback):  # type: ignore[misc] # transformers is untyped here
        def on_step_end(
            self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object
        ) -> None:
            if state.global_step % every and not control.should_training_stop and state.global_step < state.max_steps:
                return
            accelerator = trainer.accelerator
            kept = save_trained(trainer, folder / f"{state.global_step:06d}")
            devices = accelerator.num_processes
            cost = Cost(
                update=earlier.update + state.global_step,
                device_seconds=earlier.device_seconds + spent.seconds * devices,
                tokens=earlier.tokens + spent.tokens,
                flops=earlier.flops + spent.flops * devices,
            )
            if accelerator.is_main_process:
                _write(kept, cost)
            accelerator.wait_for_everyone()

    return Along()


def keep_round(weights: Path, output_dir: Path, phases: Sequence[Phase]) -> None:
    """Keep `weights`, a folder that a round of a method left after the finished `phases`, as a checkpoint."""
    cost = _cost_of(phases)
    kept = output_dir / FOLDER / f"{cost.update:06d}"
    shutil.rmtree(kept, ignore_errors=True)
    shutil.copytree(weights, kept, copy_function=os.link)
    _write(kept, cost)


def kept_along(folder: Path) -> list[tuple[Path, Cost]]:
    """Return the checkpoints in `folder` by their updates; one that was not written to its end is left out."""
    costs = sorted(folder.glob(f"*/{_COST}"))
    return [(path.parent, Cost(**json.loads(path.read_text()))) for path in costs]


def _cost_of(phases: Sequence[Phase]) -> Cost:
    return Cost(
        update=sum(phase.updates for phase in phases),
        device_seconds=sum(phase.seconds * phase.devices for phase in phases),
        tokens=sum(phase.tokens for phase in phases if phase.updates),
        flops=sum(phase.flops for phase in phases),
    )


def _write(kept: Path, cost: Cost) -> None:
    (kept / _COST).write_text(json.dumps(vars(cost)))
