"""Work on a device in halves, where the whole does not fit into its memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from pfh.errors import StepFailedError

Item = TypeVar("Item")
Answer = TypeVar("Answer")


def halving(run: Callable[[Sequence[Item]], list[Answer]], items: Sequence[Item]) -> list[Answer]:
    """Return `run(items)`, in halves where the whole does not fit into memory.

    Raises:
        StepFailedError: a single item does not fit.
    """
    try:
        return run(items)
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        if len(items) == 1:
            raise StepFailedError(
                "One request alone does not fit into memory: use a smaller model, shorter prompts or a larger device."
            ) from error
    free_cached_memory()  # outside of the except clause: the traceback there holds on to the batch's tensors
    middle = len(items) // 2
    return halving(run, items[:middle]) + halving(run, items[middle:])


def is_out_of_memory(error: RuntimeError) -> bool:
    """Say whether `error` means that memory ran out, on either device."""
    import torch

    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)


def free_cached_memory() -> None:
    """Give back what freed tensors still hold."""
    import gc

    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
