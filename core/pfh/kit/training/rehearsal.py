"""One update of a training, to see whether what it leaves can be saved, before anything else is done for it."""

from __future__ import annotations

import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from pfh.errors import PfhError, StepFailedError, UserError, out_of_resources
from pfh.kit.tokens.loading import reason
from pfh.kit.training.colocated import end_vllm
from pfh.kit.training.models import save_trained
from pfh.kit.training.running import FinishedTraining

FOLDER = "rehearsed"
"""Of what was saved, in the stage's."""


class Rehearsed(PfhError):  # noqa: N818 - no error: a method need not know that it only rehearses
    """The update was made and what it left is saved: the method is not to go on."""

    def __init__(self, path: Path, seconds: float) -> None:
        super().__init__("A rehearsal ends before its method does.")
        self.path, self.seconds = path, seconds


class RehearsalFailedError(UserError):
    """A training cannot be done; the message says which part of it and why."""


def rehearse(train: Callable[[], FinishedTraining], output_dir: Path) -> FinishedTraining:
    """Make the update that `train` makes, and save what it leaves.

    Raises:
        Rehearsed: that went well.
        RehearsalFailedError: it did not.
    """
    with part("train one update"):
        finished = train()
    with part("save what was trained"):
        path = save_trained(finished.trainer, output_dir / FOLDER)
    end_vllm(finished.trainer)
    took = [row["train_runtime"] for row in finished.trainer.state.log_history if "train_runtime" in row]
    raise Rehearsed(path, took[-1] if took else finished.phase.seconds)


@contextmanager
def part(of: str) -> Iterator[None]:
    """Say of whatever goes wrong that it went wrong in this part of a rehearsal.

    Raises:
        RehearsalFailedError: something did.
    """
    try:
        yield
    except Exception as error:
        if isinstance(error, UserError | StepFailedError):
            said = str(error)
        elif out_of_resources(error):
            said = (
                "two short examples do not fit into the memory. Lower batch_size and max_length, set "
                "gradient_checkpointing=true, or train an adapter (adapter=lora) instead of all weights."
            )
        else:
            said = f"{type(error).__name__}: {reason(error)}"
        raise RehearsalFailedError(f"it cannot {of}: {said}") from error


def peak_memory() -> int:
    """Return the most bytes that this process has had so far, on the GPU where there is one."""
    import torch

    if torch.cuda.is_available():
        return int(torch.cuda.max_memory_allocated())
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
