"""Attention of a pack in blocks of queries, each over the keys that one of them may see.

Most of a pack are questions that do not see each other: over all keys at once, most products would be masked away. An
attention function of pfh's own, in force while a pack runs, calls transformers' function for `sdpa` once a block. Other
devices than CPUs are better off with one large call.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray
    from transformers import PreTrainedModel

QUERIES = 64
"""Queries of a block, about."""
IMPLEMENTATION = "pfh_blocks"


@dataclass(frozen=True)
class Block:
    """Successive queries, and the keys that at least one of them sees."""

    queries: slice
    keys: torch.Tensor
    """Their places, shape (keys,)."""


_BLOCKS: ContextVar[Sequence[Block]] = ContextVar("blocks")


def supported(model: PreTrainedModel) -> bool:
    """Say whether `model` can attend in blocks, and gains by it."""
    return (
        model.device.type == "cpu"
        and model.config._attn_implementation == "sdpa"
        and not model.config.sub_configs
        and model._can_set_attn_implementation()
    )


@contextmanager
def in_blocks(model: PreTrainedModel, hidden: NDArray[np.bool_], size: int) -> Iterator[None]:
    """Let `model` attend in blocks of about `size` queries, until the context is left.

    `hidden`, shape (queries, keys), says what a query does not see; the mask given to the model must say the same.
    """
    from transformers import AttentionInterface

    AttentionInterface.register(IMPLEMENTATION, _attend)
    model.set_attn_implementation(IMPLEMENTATION)
    token = _BLOCKS.set(_cut(hidden, size))
    try:
        yield
    finally:
        _BLOCKS.reset(token)
        model.set_attn_implementation("sdpa")


def _cut(hidden: NDArray[np.bool_], size: int) -> list[Block]:
    """Cut where the next query sees the least, which is where a question begins."""
    import torch

    seen = np.count_nonzero(~hidden, axis=1)
    blocks = []
    start = 0
    while start < len(hidden):
        first = start + max(1, size // 2)
        stop = first + int(np.argmin(seen[first : start + size + 1])) if start + size < len(hidden) else len(hidden)
        keys = np.flatnonzero(~hidden[start:stop].all(axis=0))
        blocks.append(Block(slice(start, stop), torch.from_numpy(keys)))
        start = stop
    return blocks


def _attend(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor,
    **settings: Any,  # noqa: ANN401 - what the model's own attention passes on
) -> tuple[torch.Tensor, None]:
    """Return the attention's outputs, shape (1, queries, heads, width), as transformers' own function does."""
    import torch
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    outputs = [
        sdpa_attention_forward(
            module,
            query[:, :, block.queries],
            key.index_select(2, block.keys),
            value.index_select(2, block.keys),
            attention_mask[:, :, block.queries].index_select(3, block.keys),
            **settings,
        )[0]
        for block in _BLOCKS.get()
    ]
    return torch.cat(outputs, dim=1), None
