"""A training that outlives what stops it: a killed process, or batches too large for the memory."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from pfh.errors import StartAgainError, StepFailedError
from pfh.hooks.budget import Account
from pfh.kit.training.attempt import Trained, attempt
from pfh.kit.training.models import free_memory
from pfh.kit.training.sharing import examples_per_process, processes
from pfh.kit.training.spending import Allowance, Spent
from pfh.progress import Progress

if TYPE_CHECKING:
    from transformers import Trainer


_SMALLER = "batch_size"
"""Where a rank that ran out of memory leaves what all of them shall try next."""


_FULL_BELOW = 2**20
"""Bytes."""


def train_resumably(
    build: Callable[[int, int], Trainer],
    *,
    output_dir: Path,
    batch_size: int,
    gradient_accumulation: int,
    progress: Progress,
    name: str = "training",
    account: Account | None = None,
    rounds: int = 1,
) -> Trained:
    """Train to the end from the last complete checkpoint in `output_dir`, with smaller batches if memory runs out.

    Args:
        build: given the batch size and the accumulation, returns a new TRL trainer that saves into `output_dir`.
        output_dir: outlives a killed process; what all attempts spent is kept there too.
        batch_size: most examples that a device holds at once.
        gradient_accumulation: batches an update; their product, the examples of an update, stays the same when the
            batch is halved, and when several processes (`pfh.steps.ranks`) share it out.
        progress: gets the bar.
        name: the phase, in the ledger and beside the bar.
        account: the stage's; training ends when its budget is spent. A budget of updates or samples takes the place of
            epochs, so the learning rate runs its whole course.
        rounds: trainings still to come in this stage, this one counted; it may spend that part of what is left.

    Raises:
        UserError: the processes cannot share out the examples of an update.
        StepFailedError: the loss is not finite, one example is too large for the memory, the disk is full, or the
            budget does not last for one update.
        StartAgainError: one of several processes ran out of memory.
    """
    from safetensors import SafetensorError

    output_dir.mkdir(parents=True, exist_ok=True)
    effective = batch_size * gradient_accumulation
    share = examples_per_process(effective, processes(), name)
    spent = Spent.read(output_dir)
    spent.batch_size = _fitting(_smaller(output_dir) or spent.batch_size or batch_size, share)
    allowance = Allowance.of(account or Account(), rounds, effective, name)
    while True:
        try:
            trained = attempt(build, share, output_dir, spent, allowance, progress, name)
            if account is not None:
                account.add(trained.phase)
            return trained
        except (OSError, RuntimeError, MemoryError, SafetensorError) as error:
            if _disk_is_full(error, output_dir):
                raise StepFailedError(
                    f"The disk filled up while {name} wrote to {output_dir}: free some space and run the same command "
                    "again; it goes on from the last complete checkpoint."
                ) from error
            if not _out_of_memory(error):
                raise
        # Here, not in the handler: its traceback would keep the model alive.
        free_memory()
        if spent.batch_size == 1:
            raise StepFailedError(
                f"Out of memory in {name} with a single example: lower max_length, set gradient_checkpointing=true, "
                "or train an adapter (adapter=lora) instead of all weights."
            )
        spent.batch_size = _fitting(spent.batch_size // 2, share)
        line = (
            f"out of memory: {name} goes on with batch_size={spent.batch_size} and "
            f"gradient_accumulation={share // spent.batch_size}, from the last complete checkpoint"
        )
        if processes() > 1:  # The others wait for this one, in the middle of an update.
            (output_dir / _SMALLER).write_text(str(spent.batch_size))
            raise StartAgainError(line)
        progress.say(line)


def _fitting(most: int, share: int) -> int:
    """Return the largest batch of at most `most` examples that divides `share`."""
    return max(size for size in range(1, min(most, share) + 1) if share % size == 0)


def _smaller(output_dir: Path) -> int:
    path = output_dir / _SMALLER
    return int(path.read_text()) if path.exists() else 0


def _out_of_memory(error: BaseException) -> bool:
    import torch

    said = str(error).lower()
    return isinstance(error, (MemoryError, torch.OutOfMemoryError)) or "can't allocate memory" in said


def _disk_is_full(error: BaseException, folder: Path) -> bool:
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return True
    # torch and safetensors say it in their own words, if at all.
    return "no space left" in str(error).lower() or shutil.disk_usage(folder).free < _FULL_BELOW
