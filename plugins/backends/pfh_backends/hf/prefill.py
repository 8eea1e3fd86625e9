"""From prompts to a filled cache: what prompts share is computed once, and little of the rest is padding.

Decoding is bound by memory and wants many rows; prefill is bound by arithmetic and wants few padded ones. So the rows
of one decoding batch are prefilled in chunks of like length behind their common beginning (a system prompt, worked
examples), and written into one cache, aligned on the right:

    common beginning | padding | own rest | room to grow
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import TYPE_CHECKING

from pfh_backends.hf.batching import group_by_length, pad_left

if TYPE_CHECKING:
    import torch
    from transformers import DynamicCache, PreTrainedModel

SHARED_TOKENS = 16
"""A shorter common beginning is not worth a forward pass of its own."""
CPU_CHUNK_TOKENS = 512
GPU_CHUNK_TOKENS = 8192
ROOM = 32
"""Columns that are added to the cache when it is full, at least."""


@dataclass(frozen=True, kw_only=True)
class Filled:
    """The state of a batch before its first token is chosen, a row a prompt."""

    cache: DynamicCache
    mask: torch.Tensor
    """Shape (rows, columns of the cache); 0 on padding."""
    logits: torch.Tensor
    """Float32, shape (rows, vocabulary)."""


def prefill(model: PreTrainedModel, prompts: Sequence[tuple[int, ...]]) -> Filled:
    """Run `model` over `prompts`; equal ones are computed once."""
    import torch
    from transformers import DynamicCache

    distinct = list(dict.fromkeys(prompts))
    places = {prompt: place for place, prompt in enumerate(distinct)}
    owners = torch.tensor([places[prompt] for prompt in prompts], device=model.device)
    if any(DynamicCache(config=model.config).is_sliding):  # its window counts columns, padding included
        return _prefill_padded(model, distinct, owners)

    start = _shared_length(distinct)
    shared, _ = _run(model, [distinct[0][:start]], None) if start else (None, None)
    rests = [prompt[start:] for prompt in distinct]
    width = start + max(map(len, rests))
    batch: _Batch | None = None
    budget = GPU_CHUNK_TOKENS if model.device.type == "cuda" else CPU_CHUNK_TOKENS
    for chunk in group_by_length(rests, budget):
        cache, logits = _run(model, [rests[place] for place in chunk], shared)
        members = torch.tensor(chunk, device=model.device)
        rows, sources = (owners[:, None] == members).nonzero(as_tuple=True)
        if batch is None:
            batch = _Batch(cache, logits, len(prompts), width)
        batch.take(cache, logits, rows, sources, start)
    assert batch is not None
    mask = torch.ones(len(prompts), width, dtype=torch.long, device=model.device)
    for row, prompt in enumerate(prompts):
        mask[row, start : width - (len(prompt) - start)] = 0
    return Filled(cache=batch.as_cache(width), mask=mask, logits=batch.logits)


def _prefill_padded(model: PreTrainedModel, distinct: Sequence[tuple[int, ...]], owners: torch.Tensor) -> Filled:
    """Run all prompts at once, padded on the left."""
    cache, logits = _run(model, distinct, None)
    _, mask, _ = pad_left(distinct, model.device)
    if len(owners) > len(distinct):
        cache.batch_select_indices(owners)
    return Filled(cache=cache, mask=mask[owners], logits=logits[owners])


def _run(
    model: PreTrainedModel, rests: Sequence[tuple[int, ...]], shared: DynamicCache | None
) -> tuple[DynamicCache, torch.Tensor]:
    """Run `rests` behind the one row of `shared`; return the cache of both and the last logits."""
    import torch
    from transformers import DynamicCache

    ids, mask, positions = pad_left(rests, model.device)
    cache = DynamicCache(config=model.config)
    if shared is not None:
        start = shared.get_seq_length()
        for place, layer in enumerate(shared.layers):
            cache.update(layer.keys.expand(len(rests), -1, -1, -1), layer.values.expand(len(rests), -1, -1, -1), place)
        mask = torch.cat([mask.new_ones(len(rests), start), mask], dim=1)
        positions = positions + start
    output = model(
        input_ids=ids,
        attention_mask=mask,
        position_ids=positions,
        past_key_values=cache,
        use_cache=True,
        logits_to_keep=1,
    )
    return cache, output.logits[:, -1].float()


class _Batch:
    """The buffers of a decoding batch, filled chunk by chunk."""

    def __init__(self, like: DynamicCache, logits: torch.Tensor, rows: int, width: int) -> None:
        self.width = width
        self.logits = logits.new_empty(rows, logits.shape[-1])
        # Zeros, as padding is read: weighted by 0, but 0 times NaN would be NaN.
        self.keys = [_zeros(layer.keys, rows, width + ROOM) for layer in like.layers]
        self.values = [_zeros(layer.values, rows, width + ROOM) for layer in like.layers]

    def take(
        self, cache: DynamicCache, logits: torch.Tensor, rows: torch.Tensor, sources: torch.Tensor, start: int
    ) -> None:
        """Copy the rows `sources` of a chunk, whose first `start` columns are the common beginning, to `rows`."""
        self.logits[rows] = logits[sources]
        own = cache.get_seq_length() - start
        for place, layer in enumerate(cache.layers):
            for buffer, chunk in ((self.keys[place], layer.keys), (self.values[place], layer.values)):
                buffer[rows, :, :start] = chunk[sources, :, :start]
                buffer[rows, :, self.width - own : self.width] = chunk[sources, :, start:]

    def as_cache(self, width: int) -> DynamicCache:
        """Return the filled columns as a cache that grows in place."""
        from transformers import DynamicCache

        cache = DynamicCache()
        layer = _growing_layer()
        cache.layers = [layer(keys, values, width) for keys, values in zip(self.keys, self.values, strict=True)]
        return cache


@functools.cache
def _growing_layer() -> type:
    import torch
    from transformers.cache_utils import DynamicLayer

    class GrowingLayer(DynamicLayer):  # type: ignore[misc]
        """A cache layer with room behind its last column: a step writes one column instead of copying them all."""

        def __init__(self, keys: torch.Tensor, values: torch.Tensor, filled: int) -> None:
            super().__init__()
            self.lazy_initialization(keys, values)
            self._keys, self._values = keys, values
            self._show(filled)

        def update(
            self, key_states: torch.Tensor, value_states: torch.Tensor, *_: object, **__: object
        ) -> tuple[torch.Tensor, torch.Tensor]:
            """Append the new columns and return all."""
            filled = self.get_seq_length()
            end = filled + key_states.shape[-2]
            if end > self._keys.shape[-2]:
                more = max(ROOM, end // 4)
                self._keys = torch.nn.functional.pad(self._keys, (0, 0, 0, more))
                self._values = torch.nn.functional.pad(self._values, (0, 0, 0, more))
            self._keys[:, :, filled:end] = key_states
            self._values[:, :, filled:end] = value_states
            self._show(end)
            return self.keys, self.values

        def batch_select_indices(self, indices: torch.Tensor) -> None:
            """Keep the rows `indices`."""
            filled = self.get_seq_length()
            self._keys, self._values = self._keys[indices], self._values[indices]
            self._show(filled)

        def _show(self, filled: int) -> None:
            self.keys, self.values = self._keys[:, :, :filled], self._values[:, :, :filled]

    return GrowingLayer


def _zeros(like: torch.Tensor, rows: int, columns: int) -> torch.Tensor:
    return like.new_zeros(rows, like.shape[1], columns, like.shape[3])


def _shared_length(prompts: Sequence[tuple[int, ...]]) -> int:
    """Return how many tokens all `prompts` begin with, at least one of each left over; 0 if too few to matter."""
    if len(prompts) == 1:
        return 0
    # The first and the last in order share what all share.
    alike = takewhile(lambda pair: pair[0] == pair[1], zip(min(prompts), max(prompts), strict=False))
    length = min(len(list(alike)), min(map(len, prompts)) - 1)
    return length if length >= SHARED_TOKENS else 0
