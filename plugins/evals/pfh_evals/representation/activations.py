"""Residual streams of many texts, reduced batch by batch, so that never more than one batch of them is in memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import takewhile
from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from pfh.hooks.backends import Engine
    from pfh.progress import Progress

BATCH_TOKENS = 1024
"""Tokens whose streams are in memory at once: at 33 layers of width 4,096 half a gigabyte."""


class NotFiniteError(Exception):
    """The model computes numbers that are not finite; the message says where."""


def pooled(
    engine: Engine, texts: Sequence[str], pool: Literal["mean", "last"], progress: Progress, label: str
) -> NDArray[np.float32]:
    """Return one vector a text and layer, shape (texts, depth + 1, width).

    "last" is a text's last token. "mean" is the mean over its tokens behind what all texts begin with, and behind the
    first one: that says nothing of a text, and many models give the first token a stream so large (Sun et al. 2024,
    arXiv 2402.17762) that a mean over it tells the number of tokens and little else.

    Raises:
        NotFiniteError: an activation is NaN or infinite.
    """
    kept = own_tokens(engine, texts) if pool == "mean" else [1] * len(texts)
    found = zip(streams(engine, texts, progress, label), kept, strict=True)
    return np.stack([stream[:, -own:].mean(axis=1, dtype=np.float64).astype(np.float32) for stream, own in found])


def own_tokens(engine: Engine, texts: Sequence[str]) -> list[int]:
    """Return how many tokens each text has behind what all begin with and behind the first one; at least 1."""
    rows = [engine.encode(text) for text in texts]
    ends = zip(min(rows), max(rows), strict=False)  # the first and the last in order share what all share
    shared = len(list(takewhile(lambda pair: pair[0] == pair[1], ends)))
    return [max(len(row) - max(shared, 1), 1) for row in rows]


def streams(engine: Engine, texts: Sequence[str], progress: Progress, label: str) -> Iterator[NDArray[np.float32]]:
    """Yield for each text its residual stream, shape (depth + 1, tokens, width), one batch in memory at a time.

    Raises:
        NotFiniteError: an activation is NaN or infinite.
    """
    layers = range(engine.depth + 1)
    with progress.task(label, total=len(texts)) as bar:
        for batch in batches(engine, texts):
            for stream in engine.hidden_states([texts[index] for index in batch], layers):
                if not np.all(np.isfinite(stream)):
                    raise NotFiniteError("the model's activations are not finite")
                yield stream
            bar.advance(len(batch))


def batches(engine: Engine, texts: Sequence[str]) -> Iterator[list[int]]:
    """Group the indices of `texts`, in their order, by `BATCH_TOKENS`."""
    batch: list[int] = []
    tokens = 0
    for index, text in enumerate(texts):
        length = engine.count_tokens(text)
        if batch and tokens + length > BATCH_TOKENS:
            yield batch
            batch, tokens = [], 0
        batch.append(index)
        tokens += length
    if batch:
        yield batch
