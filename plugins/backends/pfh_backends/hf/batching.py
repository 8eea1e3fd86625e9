"""Requests grouped by length under a token budget, and rows padded to a rectangle."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

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
