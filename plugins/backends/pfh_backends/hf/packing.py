"""A trie of rows run through the model in packs: every distinct prefix once.

Nodes are run in depth-first order, some hundreds at a time, as one row of tokens with their own positions and a mask by
which each sees its ancestors alone. Between packs the cache keeps what is above the next node, and nothing else: the
worked examples of a benchmark stay while its questions pass by.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING

import numpy as np
from pfh.errors import StepFailedError
from pfh.hooks.backends import Score
from pfh.kit.halving import free_cached_memory, is_out_of_memory

from pfh_backends.hf import blocks
from pfh_backends.hf.trie import Trie, build

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray
    from pfh.kit.tokens.encoding import Encoded
    from transformers import PreTrainedModel

    Columns = list[tuple[torch.Tensor, torch.Tensor]]
    """Keys and values of every layer, shape (1, heads, columns, width)."""

CPU_PACK_TOKENS = 1024
GPU_PACK_TOKENS = 4096
LEAST_PACK_TOKENS = 16
CPU_SCORED_LOGITS = 1 << 25
"""At most this many logits (scored positions x vocabulary) are made at once."""
GPU_SCORED_LOGITS = 1 << 28
SOFTMAX_ROWS = 64


def pack_size(device: torch.device, budget: int) -> int:
    """Return how many tokens a pack has on `device`, about `budget` at the most."""
    return max(LEAST_PACK_TOKENS, min(budget, GPU_PACK_TOKENS if device.type == "cuda" else CPU_PACK_TOKENS))


class PackedScorer:
    """Scores rows with one model, `size` tokens at once; the size is halved for good where memory runs out.

    On a CPU they attend in blocks of about `block` queries where the model can do that.
    """

    def __init__(self, model: PreTrainedModel, size: int, *, block: int = blocks.QUERIES) -> None:
        self._model = model
        self.size = size
        self._block = block if blocks.supported(model) else None

    def score(self, rows: Sequence[Encoded]) -> list[Score]:
        """Score `rows`, in the order given.

        Raises:
            StepFailedError: the smallest packs do not fit into memory.
        """
        if not any(row.targets for row in rows):
            return [Score(logprob=0.0, greedy=True, tokens=0) for _ in rows]
        trie = build([row.inputs if row.targets else () for row in rows], [len(row.targets) for row in rows])
        targets = np.concatenate([np.asarray(row.targets, dtype=np.int64) for row in rows])
        logprobs, greedy = self._score_targets(trie, targets)
        bounds = np.cumsum([len(row.targets) for row in rows])[:-1]
        return [
            Score(logprob=float(mine.sum()), greedy=bool(best.all()), tokens=len(mine))
            for mine, best in zip(np.split(logprobs, bounds), np.split(greedy, bounds), strict=True)
        ]

    def _score_targets(self, trie: Trie, targets: NDArray[np.int64]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """Return the log-probability of each of `targets`, one a node of the paths, and whether it is the best."""
        predictors = np.concatenate(trie.paths)
        order = np.argsort(predictors, kind="stable")
        sorted_predictors = predictors[order]
        scored = np.unique(predictors)
        logprobs, greedy = np.empty(len(targets)), np.empty(len(targets), dtype=bool)
        above = np.empty(0, dtype=np.int64)
        columns: Columns = []
        start = 0
        while start < len(trie.tokens):
            stop = _pack_end(self._model, scored, start, min(start + self.size, len(trie.tokens)))
            seen = np.concatenate([above, np.arange(start, stop)])
            needed = np.flatnonzero(trie.ends[seen] > stop)
            members = order[slice(*np.searchsorted(sorted_predictors, [start, stop]))]
            try:
                answers, columns = _run_pack(
                    self._model, trie, seen, start, columns, needed, predictors[members], targets[members], self._block
                )
            except RuntimeError as error:
                if not is_out_of_memory(error):
                    raise
                if self.size <= LEAST_PACK_TOKENS:
                    raise StepFailedError(
                        f"Not even {self.size} tokens at once fit into memory: use a smaller model, shorter prompts or "
                        "a larger device."
                    ) from error
            else:
                logprobs[members], greedy[members] = answers
                above, start = seen[needed], stop
                continue
            self.size = max(LEAST_PACK_TOKENS, self.size // 2)
            free_cached_memory()  # outside of the except clause: the traceback there holds on to the pack's tensors
        return logprobs, greedy


def _pack_end(model: PreTrainedModel, scored: NDArray[np.int64], start: int, stop: int) -> int:
    """Return `stop`, or where the nodes from `start` on have given as many logits as may be made at once."""
    logits = GPU_SCORED_LOGITS if model.device.type == "cuda" else CPU_SCORED_LOGITS
    most = max(1, logits // model.config.get_text_config().vocab_size)
    beyond = np.searchsorted(scored, start) + most
    return min(stop, int(scored[beyond])) if beyond < len(scored) else stop


def _run_pack(
    model: PreTrainedModel,
    trie: Trie,
    seen: NDArray[np.int64],
    start: int,
    columns: Columns,
    needed: NDArray[np.int64],
    predictors: NDArray[np.int64],
    targets: NDArray[np.int64],
    block: int | None,
) -> tuple[tuple[NDArray[np.float64], NDArray[np.bool_]], Columns]:
    """Run the nodes of `seen` from `start` on, those before being in `columns`, attention in blocks of `block` nodes.

    Returns what each of `predictors` says of its one of `targets`, and the columns at the places `needed` of `seen`.
    """
    import torch
    from transformers import DynamicCache

    def on_device(array: NDArray[np.generic]) -> torch.Tensor:
        return torch.from_numpy(array).to(model.device)

    nodes = seen[np.searchsorted(seen, start) :]
    hidden = (seen[None, :] > nodes[:, None]) | (nodes[:, None] >= trie.ends[seen][None, :])
    mask = torch.zeros(hidden.shape, dtype=model.dtype, device=model.device)
    mask.masked_fill_(on_device(hidden), torch.finfo(model.dtype).min)
    cache = DynamicCache()  # plain layers even where the model has sliding ones: no row is longer than their window
    for layer, (keys, values) in enumerate(columns):
        cache.update(keys, values, layer)
    scored, places = np.unique(predictors, return_inverse=True)
    attention = blocks.in_blocks(model, hidden, block) if block else nullcontext()
    with torch.inference_mode():
        with attention:
            logits = model(
                input_ids=on_device(trie.tokens[nodes])[None],
                position_ids=on_device(trie.depths[nodes])[None],
                attention_mask=mask[None, None],
                past_key_values=cache,
                use_cache=True,
                logits_to_keep=on_device(scored - start),
            ).logits[0]
        answers = _answers(logits, on_device(places), on_device(targets))
        kept = on_device(needed)
        return answers, [
            (layer.keys.index_select(2, kept), layer.values.index_select(2, kept)) for layer in cache.layers
        ]


def _answers(
    logits: torch.Tensor, rows: torch.Tensor, targets: torch.Tensor
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return the log-probability of each of `targets` in its one of `rows` of `logits`, and whether it is the best."""
    import torch

    logprobs = torch.empty(len(targets), device=targets.device)
    # A few rows at a time: float32 copies of all logits would be the largest tensors of a pack.
    for first in range(0, len(logits), SOFTMAX_ROWS):
        chunk = logits[first : first + SOFTMAX_ROWS].float().log_softmax(-1)
        inside = (rows >= first) & (rows < first + SOFTMAX_ROWS)
        logprobs[inside] = chunk[rows[inside] - first, targets[inside]]
    return logprobs.double().cpu().numpy(), (logits.argmax(-1)[rows] == targets).cpu().numpy()
