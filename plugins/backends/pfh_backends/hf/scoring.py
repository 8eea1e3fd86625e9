"""Log-likelihoods of continuations: tokenised as lm-eval does, and scored the plain way, a padded row each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pfh.engine import Score, ScoringRequest
from pfh.errors import UserError

from pfh_backends.hf.batching import group_by_length, pad_left

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

SCORED_LOGITS = 1 << 26
"""At most this many float32 logits (rows x longest continuation x vocabulary) are made at once."""


@dataclass(frozen=True, kw_only=True)
class Encoded:
    """One request in tokens."""

    inputs: tuple[int, ...]
    """What the model is fed: context and continuation without its last token, cut on the left to the window."""
    targets: tuple[int, ...]
    """The continuation's tokens; the last `len(targets)` inputs predict them."""


def encode(tokenizer: PreTrainedTokenizerBase, requests: Sequence[ScoringRequest], window: int) -> list[Encoded]:
    """Tokenise `requests` for a model that sees `window` tokens.

    A continuation longer than the window is scored on its last `window` tokens.
    """
    contexts: dict[str, list[int]] = {}
    rows = []
    for request in requests:
        context, continuation = encode_pair(tokenizer, request.context, request.continuation, contexts)
        inputs = (context + continuation)[-(window + 1) :][:-1]
        rows.append(Encoded(inputs=tuple(inputs), targets=tuple(continuation[-window:])))
    return rows


def encode_pair(
    tokenizer: PreTrainedTokenizerBase, context: str, continuation: str, contexts: dict[str, list[int]]
) -> tuple[list[int], list[int]]:
    """Return the tokens of context and continuation, split as lm-eval 0.4 splits them (`TemplateLM._encode_pair`).

    Spaces that end the context go to the continuation; the whole is encoded at once and cut at the context's own
    length; an empty context becomes the beginning-of-sequence token, or the end-of-sequence one where there is none.
    `contexts` remembers the tokens of contexts: the options of a question have one.
    """
    stripped = context.rstrip()
    if stripped == "":
        prefix = _prefix_token(tokenizer)
        tokens = tokenizer.encode(context + continuation, add_special_tokens=False)
        return (tokens[:1], tokens[1:]) if tokens[:1] == [prefix] else ([prefix], tokens)
    whole = encode_context(tokenizer, context + continuation)
    if stripped not in contexts:
        contexts[stripped] = encode_context(tokenizer, stripped)
    context_tokens = contexts[stripped]
    return context_tokens, whole[len(context_tokens) :]


def encode_context(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    """Return the tokens of `text`, special ones added unless it already begins with the first of them."""
    prefix = _prefix_token(tokenizer)
    given = text.startswith(tokenizer.decode(prefix))
    tokens: list[int] = tokenizer.encode(text, add_special_tokens=not given)
    return tokens


def _prefix_token(tokenizer: PreTrainedTokenizerBase) -> int:
    token = tokenizer.bos_token_id if tokenizer.bos_token_id is not None else tokenizer.eos_token_id
    if token is None:
        raise UserError("The model's tokenizer has neither a beginning- nor an end-of-sequence token: set one of them.")
    return int(token)


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


def _score_row(logits: torch.Tensor, targets: tuple[int, ...]) -> Score:
    import torch

    kept = logits[len(logits) - len(targets) :].float()
    wanted = torch.tensor(targets, device=logits.device)
    logprobs = kept.log_softmax(-1).gather(-1, wanted[:, None])
    return Score(logprob=float(logprobs.sum()), greedy=bool((kept.argmax(-1) == wanted).all()), tokens=len(targets))
