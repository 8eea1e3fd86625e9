"""Log-likelihoods of continuations, scored the plain way: a padded row each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pfh.hooks.backends import Score
from pfh.kit.tokens.encoding import Encoded

from pfh_backends.hf.batching import group_by_length, pad_left
from pfh_backends.hf.prefill import prefill

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray
    from transformers import PreTrainedModel

SCORED_LOGITS = 1 << 26
"""At most this many float32 logits (rows x longest continuation x vocabulary) are made at once."""


def group(rows: Sequence[Encoded], budget: int, vocabulary: int) -> list[list[int]]:
    """Group the indices of `rows` by length, so that neither tokens nor logits of a group exceed their budget."""
    groups = []
    for indices in group_by_length([row.inputs + row.targets[-1:] for row in rows], budget):
        longest = max(1, max(len(rows[index].targets) for index in indices))
        size = max(1, SCORED_LOGITS // (longest * vocabulary))
        groups += [indices[start : start + size] for start in range(0, len(indices), size)]
    return groups


def score(model: PreTrainedModel, rows: Sequence[Encoded]) -> list[Score]:
    """Score one batch."""
    import torch

    longest = max(len(row.targets) for row in rows)
    if longest == 0:
        return [Score(logprob=0.0, greedy=True, tokens=0) for _ in rows]
    ids, mask, positions = pad_left([row.inputs for row in rows], model.device)
    with torch.inference_mode():
        output = model(
            input_ids=ids, attention_mask=mask, position_ids=positions, use_cache=False, logits_to_keep=longest
        )
        return [_score_row(logits, row.targets) for logits, row in zip(output.logits, rows, strict=True)]


def next_token_logprobs(
    model: PreTrainedModel, rows: Sequence[tuple[int, ...]], *, plain_cache: bool
) -> list[NDArray[np.float32]]:
    """Return the log-probabilities of the token after each of `rows`, one batch, shape (vocabulary,) each.

    What all rows begin with is computed once where the model's cache is plain; else they must be of one length.
    """
    import torch

    with torch.inference_mode():
        if plain_cache:
            logits = prefill(model, rows).logits
        else:
            ids, mask, positions = pad_left(rows, model.device)
            logits = model(
                input_ids=ids, attention_mask=mask, position_ids=positions, use_cache=False, logits_to_keep=1
            ).logits[:, -1]
        return list(logits.float().log_softmax(-1).cpu().numpy())


def distributions(model: PreTrainedModel, rows: Sequence[Encoded]) -> list[NDArray[np.float32]]:
    """Return for each of `rows`, one batch, the log-probabilities after its prompt and after each of its targets.

    The inputs of a row end in all of its targets; shape (len(targets) + 1, vocabulary) each.
    """
    import torch

    longest = max(len(row.targets) for row in rows) + 1
    ids, mask, positions = pad_left([row.inputs for row in rows], model.device)
    with torch.inference_mode():
        logits = model(
            input_ids=ids, attention_mask=mask, position_ids=positions, use_cache=False, logits_to_keep=longest
        ).logits
        return [
            kept[len(kept) - len(row.targets) - 1 :].float().log_softmax(-1).cpu().numpy()
            for kept, row in zip(logits, rows, strict=True)
        ]


def _score_row(logits: torch.Tensor, targets: tuple[int, ...]) -> Score:
    import torch

    kept = logits[len(logits) - len(targets) :].float()
    wanted = torch.tensor(targets, device=logits.device)
    logprobs = kept.log_softmax(-1).gather(-1, wanted[:, None])
    return Score(logprob=float(logprobs.sum()), greedy=bool((kept.argmax(-1) == wanted).all()), tokens=len(targets))
