"""A training that outlives what stops it: a killed process, or batches too large for the memory."""

from __future__ import annotations

import errno
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pfh.errors import StartAgainError, StepFailedError, UserError
from pfh.hooks.methods import TrainingSpec
from pfh.kit.training.along import FOLDER
from pfh.kit.training.attempt import attempt
from pfh.kit.training.held_near import NOTES, Near, hold_near
from pfh.kit.training.models import free_memory
from pfh.kit.training.options import TrainingOptions, trainer_arguments
from pfh.kit.training.rehearsal import rehearse
from pfh.kit.training.running import FinishedTraining, RunningTraining, Stage
from pfh.kit.training.sharing import examples_per_process, processes
from pfh.kit.training.spending import Allowance, Spent

if TYPE_CHECKING:
    from transformers import Trainer


_SMALLER = "batch_size"
"""Where a rank that ran out of memory leaves what all of them shall try next."""


_FULL_BELOW = 2**20
"""Bytes."""


def train_resumably(
    spec: Stage,
    build: Callable[[dict[str, Any]], Trainer],
    *,
    folder: str = "trainer",
    name: str = "training",
    rounds: int = 1,
) -> FinishedTraining:
    """Train to the end from the last complete checkpoint in `folder`, with smaller batches if memory runs out.

    Args:
        spec: the stage. Training ends when its budget is spent: one of updates or samples takes the place of epochs,
            so the learning rate runs its whole course.
        build: given what every TRL config takes (`trainer_arguments`), returns a new trainer. The examples of an
            update stay as many when the batch is halved, and when several processes (`pfh.steps.ranks`) share it out.
        folder: of this training's checkpoints, in the stage's; what all attempts spent is kept there too.
        name: the phase, in the ledger and beside the bar.
        rounds: trainings still to come in this stage, this one counted; it may spend that part of what is left.

    Raises:
        UserError: the processes cannot share out the examples of an update.
        StepFailedError: the loss is not finite, one example is too large for the memory, the disk is full, or the
            budget does not last for one update.
        StartAgainError: one of several processes ran out of memory.
        Rehearsed: the stage is a rehearsal, and went well.
        RehearsalFailedError: it did not.
    """
    from safetensors import SafetensorError

    options: TrainingOptions = spec.options
    training = _begun(spec, spec.output_dir / folder, name, rounds)
    output_dir, spent = training.output_dir, training.spent

    def build_with_arguments(batch_size: int, gradient_accumulation: int) -> Trainer:
        arguments = trainer_arguments(
            options,
            output_dir=output_dir,
            seed=spec.seed,
            batch_size=batch_size,
            gradient_accumulation=gradient_accumulation,
        )
        return build(arguments)

    if spec.rehearsal:
        return rehearse(lambda: attempt(training, build_with_arguments), spec.output_dir)
    while True:
        try:
            finished = attempt(training, build_with_arguments)
            spec.account.add(finished.phase)
            return finished
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
        spent.batch_size = _fitting(spent.batch_size // 2, training.share)
        line = (
            f"out of memory: {name} goes on with batch_size={spent.batch_size} and "
            f"gradient_accumulation={training.share // spent.batch_size}, from the last complete checkpoint"
        )
        if processes() > 1:  # The others wait for this one, in the middle of an update.
            (output_dir / _SMALLER).write_text(str(spent.batch_size))
            raise StartAgainError(line)
        spec.progress.say(line)


def _begun(spec: Stage, output_dir: Path, name: str, rounds: int) -> RunningTraining:
    """Return the training with what earlier attempts spent, and the batch size that is to be tried next."""
    options: TrainingOptions = spec.options
    output_dir.mkdir(parents=True, exist_ok=True)
    effective = options.batch_size * options.gradient_accumulation
    share = examples_per_process(effective, processes(), name)
    near = _held_near(spec, effective)
    spent = Spent.read(output_dir)
    spent.batch_size = _fitting(_smaller(output_dir) or spent.batch_size or options.batch_size, share)
    return RunningTraining(
        name=name,
        output_dir=output_dir,
        share=share,
        allowance=Allowance.of(spec.account, rounds, effective + options.general(effective), name),
        spent=spent,
        progress=spec.progress,
        keep_every=spec.keep_every,
        along=spec.output_dir / FOLDER,
        before=tuple(spec.account.phases),
        near=near,
        **_looks(spec, output_dir),
        general=options.general(effective),
    )


def _looks(spec: Stage, output_dir: Path) -> dict[str, Any]:
    """Return who looks at the training on its way, if anybody does; a rehearsal is not looked at."""
    if not isinstance(spec, TrainingSpec) or spec.look is None or spec.rehearsal:
        return {}
    return {"look": spec.look, "look_every": spec.look_every, "looks": output_dir / "looks"}


def _held_near(spec: Stage, examples: int) -> Near | None:
    """Return what holds the model near to where the run began, and leave word of it for the report.

    Raises:
        UserError: several processes train, or the rows cannot be had.
    """
    near = hold_near(spec, examples) if isinstance(spec, TrainingSpec) else None
    if near is not None and processes() > 1:
        raise UserError("replay, kl_start and l2_sp are for a training in one process: leave --accelerate out.")
    if near is not None:
        (spec.output_dir / NOTES).write_text(json.dumps(near.notes))
    return near


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
