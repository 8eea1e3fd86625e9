"""How several processes share a training."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from pfh.errors import UserError

if TYPE_CHECKING:
    from accelerate import Accelerator


def processes() -> int:
    """Return how many processes share this training: the ranks of `pfh.steps.ranks`, or this one alone."""
    return int(os.environ.get("WORLD_SIZE") or 1)


def is_first() -> bool:
    """Say whether this process is the one that writes what all share."""
    return os.environ.get("RANK", "0") == "0"


def examples_per_process(effective: int, count: int, name: str) -> int:
    """Return how many of the `effective` examples of an update each of `count` processes takes.

    Raises:
        UserError: they do not divide.
    """
    if effective % count:
        raise UserError(
            f"{name} takes {effective} examples an update (batch_size x gradient_accumulation), which {count} "
            f"processes cannot share out evenly: make it a multiple of {count}."
        )
    return effective // count


def of_the_first(number: float, accelerator: Accelerator) -> float:
    """Return the `number` of the first process; every process must ask with its own."""
    import torch
    from accelerate.utils import broadcast

    return float(broadcast(torch.tensor([number], dtype=torch.float64, device=accelerator.device))[0])
