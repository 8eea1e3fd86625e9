"""Which way the log-likelihoods of a model are computed: sharing prefixes wherever that is sure to change nothing."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING

from pfh.hooks.backends import Score
from pfh.kit.halving import halving
from pfh.kit.tokens.encoding import Encoded

from pfh_backends.hf import scoring
from pfh_backends.hf.packing import LEAST_PACK_TOKENS, PackedScorer, pack_size
from pfh_backends.hf.trie import group_by_prefix

if TYPE_CHECKING:
    from transformers import PreTrainedModel

LOGGER = logging.getLogger(__name__)

SHORTEST_REACH = 8
"""A model that may share only shorter sequences than this is scored the plain way."""
MADE_UP_TOKENS = 20
TOLERANCE = 1e-3
"""Nats a token by which the two ways may differ in float32: rounding differs by less than a tenth of it."""
HALF_TOLERANCE = 0.25
"""The same in 16 bits: rounding differs by less than that, a mask that is not heeded by far more."""


class Scorer:
    """Scores encoded requests with one resident model, prefixes shared where the model allows it.

    Before the first request a few made-up sequences are scored both ways. A model whose answers differ, or that cannot
    be run the shared way at all, is scored the plain way, and a warning says so once.
    """

    def __init__(self, model: PreTrainedModel, budget: int, *, plain_cache: bool) -> None:
        self._model = model
        self._budget = budget
        self._plain_cache = plain_cache
        self._packed = PackedScorer(model, pack_size(model.device, budget))
        self._warned = False

    @property
    def refusal(self) -> str | None:
        """Why prefixes are not shared; None where they are."""
        return self._checked[1]

    def groups(self, rows: Sequence[Encoded]) -> list[list[int]]:
        """Group the indices of `rows` as they would be scored together."""
        shared, plain = self._split(rows)
        groups = [[shared[place] for place in group] for group in self._prefix_groups([rows[i] for i in shared])]
        return groups + [[plain[place] for place in group] for group in self._plain_groups([rows[i] for i in plain])]

    def score(self, rows: Sequence[Encoded]) -> list[Score]:
        """Score `rows`, in the order given."""
        shared, plain = self._split(rows)
        scores = dict(zip(shared, self._packed.score([rows[index] for index in shared]), strict=True))
        for group in self._plain_groups([rows[index] for index in plain]):
            indices = [plain[place] for place in group]
            answers = halving(lambda part: scoring.score(self._model, [rows[index] for index in part]), indices)
            scores |= zip(indices, answers, strict=True)
        return [scores[index] for index in range(len(rows))]

    def _split(self, rows: Sequence[Encoded]) -> tuple[list[int], list[int]]:
        """Return the indices of the rows that share prefixes, and those of the others."""
        reach, refusal = self._checked
        shared = [index for index, row in enumerate(rows) if len(row.inputs) <= reach]
        plain = [index for index, row in enumerate(rows) if len(row.inputs) > reach]
        if plain and not self._warned:
            self._warned = True
            LOGGER.warning(
                "Log-likelihoods %s are computed without sharing prefixes, which is slower: %s.",
                "of this model" if refusal else f"of more than {reach} tokens",
                refusal or "this model does not look at all tokens of a longer sequence in the same way",
            )
        return shared, plain

    def _prefix_groups(self, rows: Sequence[Encoded]) -> list[list[int]]:
        return group_by_prefix([row.inputs for row in rows], self._budget)

    def _plain_groups(self, rows: Sequence[Encoded]) -> list[list[int]]:
        if not self._plain_cache:  # such a model may not see padding, so its rows run alone
            return [[index] for index in range(len(rows))]
        return scoring.group(rows, self._budget, self._model.config.get_text_config().vocab_size)

    @cached_property
    def _checked(self) -> tuple[float, str | None]:
        """The longest sequence that may share its prefixes, and why none may."""
        if not self._plain_cache:
            return 0, "it keeps more than keys and values, or does not take positions"
        reach = longest_shareable(self._model)
        if reach < SHORTEST_REACH:
            return 0, f"it looks at {reach} tokens at once"
        if refusal := try_out(self._model, reach):
            return 0, refusal
        return reach, None


def longest_shareable(model: PreTrainedModel) -> float:
    """Return up to which length a sequence is computed alike whatever else is in its pack; infinity for most models.

    Sliding and chunked attention see less of a longer one, and some rotary embeddings change all their frequencies with
    the longest position in the batch.
    """
    from transformers import DynamicCache

    config = model.config.get_text_config()
    limits = [layer.sliding_window for layer in DynamicCache(config=model.config).layers if layer.is_sliding]
    limits.append(getattr(config, "attention_chunk_size", None))
    rotary = getattr(config, "rope_parameters", None) or {}
    for settings in (rotary, *rotary.values()):
        if isinstance(settings, dict) and settings.get("rope_type") in ("dynamic", "longrope"):
            trained = settings.get("original_max_position_embeddings")
            limits.append(trained or getattr(config, "original_max_position_embeddings", None))
            limits.append(config.max_position_embeddings)
    return min((limit for limit in limits if limit), default=float("inf"))


def try_out(model: PreTrainedModel, reach: float) -> str | None:
    """Score made-up sequences both ways; return why the shared way must not be taken, or None."""
    import torch

    rows = _made_up_rows(model.config.get_text_config().vocab_size, int(min(reach, MADE_UP_TOKENS)))
    try:
        shared = PackedScorer(model, LEAST_PACK_TOKENS, block=LEAST_PACK_TOKENS // 2).score(rows)
    except Exception as error:  # noqa: BLE001 - any model's own code, given a mask that it may never have been tried with
        return f"it cannot be run that way ({type(error).__name__})"
    plain = scoring.score(model, rows)
    difference = max(abs(one.logprob - other.logprob) / one.tokens for one, other in zip(shared, plain, strict=True))
    # Written so that a difference that is not a number counts as one.
    if difference <= (TOLERANCE if model.dtype == torch.float32 else HALF_TOLERANCE):
        return None
    return f"scored that way its log-likelihoods differ by {difference:.2g} a token"


def _made_up_rows(vocabulary: int, length: int) -> list[Encoded]:
    """Return sequences of `length` tokens, so that none is padded, that part early, late and not at all."""
    common = [(7919 * place + 13) % vocabulary for place in range(length)]
    rows: list[Encoded] = []
    for parting in (1, length // 2, length // 2, length - 2, length):
        own = [(104729 * (place + len(rows)) + 29) % vocabulary for place in range(parting, length)]
        tokens = (*common[:parting], *own)
        rows.append(Encoded(inputs=tokens[:-1], targets=tokens[max(1, length // 3) :]))
    return rows
