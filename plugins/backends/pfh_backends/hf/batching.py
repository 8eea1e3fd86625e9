"""Requests grouped by length under a token budget, and rows padded to a rectangle."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeVar

from pfh.errors import StepFailedError

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

Item = TypeVar("Item")
Answer = TypeVar("Answer")

CPU_BATCH_TOKENS = 8192
"""Larger batches are no faster on a few cores, and a killed run repeats one of them."""
GPU_BATCH_TOKENS = 65536


def token_budget(model: PreTrainedModel, device: torch.device) -> int:
    """Return how many tokens, padding included, a batch of `model` may hold on `device`."""
    import torch

    if device.type != "cuda":
        return CPU_BATCH_TOKENS
    config = model.config.get_text_config()
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    cache_bytes = 2 * config.num_hidden_layers * heads * width * model.dtype.itemsize
    weights = sum(parameter.nbytes for parameter in model.parameters())
    spare = torch.cuda.get_device_properties(device).total_memory * 0.9 - weights
    return int(min(GPU_BATCH_TOKENS, max(1024, spare * 0.4 / cache_bytes)))


def group_by_length(rows: Sequence[tuple[int, ...]], budget: int, allowance: int = 0) -> list[list[int]]:
    """Group the indices of token `rows` so that rows x (longest + `allowance`) stays within `budget`.

    The longest come first, so what does not fit into memory shows at once; equal rows stand side by side. A group
    that is grouped again stays one group in the same order.
    """
    order = sorted(range(len(rows)), key=lambda index: (-len(rows[index]), rows[index]))
    groups: list[list[int]] = []
    width = 0
    for index in order:
        if groups and (len(groups[-1]) + 1) * width <= budget:
            groups[-1].append(index)
        else:
            groups.append([index])
            width = len(rows[index]) + allowance
    return groups


def pad_left(rows: Sequence[Sequence[int]], device: torch.device) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return input ids, attention mask and position ids, each of shape (rows, longest), padded on the left."""
    import torch

    width = max(len(row) for row in rows)
    ids = torch.tensor([[0] * (width - len(row)) + list(row) for row in rows], device=device)
    mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in rows], device=device)
    return ids, mask, (mask.cumsum(-1) - 1).clamp(min=0)


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
