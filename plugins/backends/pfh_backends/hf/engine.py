"""The HF engine: one resident transformers model behind pfh's `Engine`."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from pfh.errors import NotNumbersError, UserError
from pfh.hooks.backends import (
    Completion,
    Distributions,
    GenerationRequest,
    Intervention,
    Message,
    Sampling,
    Score,
    ScoringRequest,
    interventions_id,
)
from pfh.kit.halving import free_cached_memory, halving
from pfh.kit.soft_thoughts import ThinkingModel, are_soft_thoughts, read_soft_thoughts
from pfh.kit.tokens import chat_templates as templates
from pfh.kit.tokens import encoding as tokens
from pfh.kit.tokens import taught
from pfh.kit.tokens.loading import load_tokenizer, pick_device, pick_dtype

from pfh_backends.hf import adapters, hidden, scoring
from pfh_backends.hf.batching import group_by_length, token_budget
from pfh_backends.hf.decoding import decode, decode_with_generate, keeps_plain_cache
from pfh_backends.hf.interventions import intervened
from pfh_backends.hf.loading import load_model
from pfh_backends.hf.sampling import choose, uniforms
from pfh_backends.hf.sharing import Scorer

if TYPE_CHECKING:
    from pathlib import Path

    import torch
    from numpy.typing import NDArray
    from pfh.hooks.backends import EngineSpec
    from pfh.hooks.checkpoint import Checkpoint
    from transformers import PreTrainedModel

GROWTH = 128
"""Tokens that a row is expected to grow by, when generation requests are grouped."""
DEFAULT_WINDOW = 2048
"""Tokens that a model sees whose configuration does not say."""


class HfEngine:
    """Generates, scores and shows hidden states with the model of `spec`.

    Of a model's generation_config only the end-of-sequence tokens count: temperature, penalties and the like are as the
    caller's `Sampling` says. Prompts longer than the model's window lose their beginning.
    """

    def __init__(self, spec: EngineSpec) -> None:
        self._device = pick_device()
        self._dtype = pick_dtype(spec.dtype, self._device)
        self._batch_tokens = spec.batch_tokens
        self._progress = spec.progress
        self._checkpoint = spec.checkpoint
        self._base: tuple[Path, str | None] | None = None
        self._merged: adapters.MergedAdapter | None = None
        self._thinking: ThinkingModel | None = None
        self._interventions = ""
        self._model: PreTrainedModel
        self.use(spec.checkpoint)

    @property
    def checkpoint(self) -> Checkpoint:
        """The checkpoint whose weights answer now."""
        return self._checkpoint

    @property
    def identity(self) -> str:
        """Backend, versions, dtype and kind of device."""
        import torch
        import transformers

        dtype = str(self._dtype).removeprefix("torch.")
        libraries = f"transformers {transformers.__version__}, torch {torch.__version__}"
        return f"hf, {libraries}, {dtype}, {self._device.type}{self._interventions}"

    @property
    def depth(self) -> int:
        """Number of the model's blocks."""
        return len(hidden.find_blocks(self._model))

    def use(self, checkpoint: Checkpoint) -> None:
        """Answer with `checkpoint` from now on; an adapter of the resident base is swapped in without a reload.

        Raises:
            UserError: it cannot be loaded; the engine is then empty until a `use` succeeds.
        """
        base = (checkpoint.path, checkpoint.gguf_file)
        if self._base is not None and checkpoint == self._checkpoint:
            return
        self._stop_thinking()
        kept = self._base == base and (self._merged is None or adapters.restore(self._model, self._merged))
        if not kept:
            self.close()
            self._model = load_model(checkpoint, self._dtype, self._device, self._progress)
            self._plain_cache = keeps_plain_cache(self._model)
            self._scorer = Scorer(self._model, self._budget, plain_cache=self._plain_cache)
        self._base = self._merged = None
        self._tokenizer = load_tokenizer(checkpoint)
        self._end_tokens = taught.end_tokens(self._model, self._tokenizer)
        if are_soft_thoughts(checkpoint):
            if read_soft_thoughts(checkpoint).count:
                self._thinking = ThinkingModel(self._model, checkpoint, self._tokenizer)
        elif checkpoint.adapter is not None:
            self._merged = adapters.merge(self._model, checkpoint)
            if self._merged.apart is not None:
                self._progress.say(
                    f"{checkpoint.name}: merged into {str(self._dtype).removeprefix('torch.')} weights "
                    f"{self._merged.left:.0%} of its update would be left, so it is kept beside them (slower)"
                )
        self._base, self._checkpoint = base, checkpoint

    def render(self, messages: Sequence[Message]) -> str:
        """Return the text that the model is fed for a chat, generation prompt included."""
        return templates.render(self._tokenizer, messages)

    def count_tokens(self, text: str) -> int:
        """Return the length of `text` in this model's tokens, special tokens not added."""
        return len(self.encode(text))

    def encode(self, text: str) -> list[int]:
        """Return `text` in this model's tokens, special tokens not added."""
        return tokens.encode_text(self._tokenizer, text)

    def decode(self, tokens: Sequence[int]) -> str:
        """Return the text of `tokens`, special ones included."""
        return str(self._tokenizer.decode(list(tokens), clean_up_tokenization_spaces=False))

    def batches(self, requests: Sequence[GenerationRequest | ScoringRequest]) -> list[list[int]]:
        """Group `requests` by length or, what is scored, by common beginnings; all must be of one kind."""
        if requests and isinstance(requests[0], ScoringRequest):
            return self._scorer.groups(self._encode_pairs(cast("Sequence[ScoringRequest]", requests)))
        return self._generation_groups(self._encode_prompts(cast("Sequence[GenerationRequest]", requests)))

    def generate(self, requests: Sequence[GenerationRequest], sampling: Sampling) -> list[Completion]:
        """Complete every request, in the order given.

        `Completion.tokens` counts what was generated; a stop string's own tokens count too.
        """
        prompts = self._encode_prompts(requests)
        completions: dict[int, Completion] = {}
        for group in self._generation_groups(prompts):
            try:
                answers = halving(lambda part: self._complete(part, requests, prompts, sampling), group)
            except NotNumbersError:
                raise self._not_numbers() from None
            completions |= zip(group, answers, strict=True)
        return [completions[index] for index in range(len(requests))]

    def loglikelihood(self, requests: Sequence[ScoringRequest]) -> list[Score]:
        """Score every request, in the order given; common beginnings are computed once.

        Raises:
            NotNumbersError: the model's outputs are not numbers.
        """
        scores = self._scorer.score(self._encode_pairs(requests))
        self._check_numbers(score.logprob for score in scores)
        return scores

    def hidden_states(self, texts: Sequence[str], layers: Sequence[int]) -> list[NDArray[np.float32]]:
        """Return for every text the residual stream, shape (len(layers), tokens, width).

        Special tokens are added as in `loglikelihood`; texts longer than the window lose their beginning.

        Raises:
            UserError: the model has no such layer.
        """
        hidden.check_layers(self._model, layers)
        rows = self._encode_texts(texts)
        streams: dict[int, NDArray[np.float32]] = {}
        for group in self._groups(rows):
            answers = halving(
                lambda part: hidden.hidden_states(self._model, [rows[index] for index in part], layers), group
            )
            streams |= zip(group, answers, strict=True)
        return [self._of_text(row, streams[index]) for index, row in enumerate(rows)]

    def next_token_logprobs(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return the log-probabilities of the token that follows each text, shape (len(texts), vocabulary).

        Special tokens are added as in `loglikelihood`; texts longer than the window lose their beginning.
        """
        rows = self._encode_texts(texts)
        found: dict[int, NDArray[np.float32]] = {}
        for group in self._groups(rows):
            answers = halving(
                lambda part: scoring.next_token_logprobs(
                    self._model, [rows[index] for index in part], plain_cache=self._plain_cache
                ),
                group,
            )
            found |= zip(group, answers, strict=True)
        self._check_numbers(row.max() for row in found.values())
        return np.stack([found[index] for index in range(len(texts))])

    def distributions(self, requests: Sequence[GenerationRequest], completions: Sequence[str]) -> list[Distributions]:
        """Return what the model expects along each completion; a prompt too long for the window loses its beginning."""
        rows = tokens.encode_completed(self._tokenizer, requests, completions, self._window)
        self._known([row.inputs for row in rows])
        if self._thinking is not None:
            rows = [
                replace(row, inputs=self._thinking.tokens.into(row.inputs, _question(request), len(row.targets)))
                for row, request in zip(rows, requests, strict=True)
            ]
        vocabulary = self._model.get_output_embeddings().weight.shape[0]
        found: dict[int, NDArray[np.float32]] = {}
        together = scoring.group(rows, self._budget, vocabulary)
        for group in together if self._plain_cache else [[index] for index in range(len(rows))]:
            answers = halving(lambda part: scoring.distributions(self._model, [rows[index] for index in part]), group)
            found |= zip(group, answers, strict=True)
        self._check_numbers(row.max() for row in found.values())
        return [Distributions(tokens=row.targets, logprobs=found[index]) for index, row in enumerate(rows)]

    @contextmanager
    def intervened(self, interventions: Sequence[Intervention]) -> Iterator[None]:
        """Answer everything under `interventions` until the context is left; the checkpoint must stay the same.

        Raises:
            UserError: a direction has another width than the model, or the model has no such layer.
        """
        outside = self._interventions
        with intervened(self._model, interventions):
            self._interventions = f"{outside}, under {interventions_id(interventions)}"
            try:
                yield
            finally:
                self._interventions = outside

    @contextmanager
    def white_box(self) -> Iterator[tuple[PreTrainedModel, Any]]:
        """Lend the model, with 32-bit weights, and its tokenizer until the context is left."""
        import torch

        parts = [*self._model.parameters(), *self._model.buffers()]
        outside, dtypes = self._dtype, [each.dtype for each in parts]
        learns = [each.requires_grad for each in parts]
        for each in parts:
            each.requires_grad_(False)
            each.data = each.data.float() if each.is_floating_point() else each.data
        self._dtype = torch.float32
        try:
            yield self._model, self._tokenizer
        finally:
            self._dtype = outside
            for each, dtype, learnt in zip(parts, dtypes, learns, strict=True):
                each.data = each.data.to(dtype)
                each.requires_grad_(learnt)

    def close(self) -> None:
        """Free the model's memory; `use` loads again."""
        self._stop_thinking()
        resident = {"_model", "_scorer"} & vars(self).keys()
        for name in resident:
            delattr(self, name)
        self._base = self._merged = None
        if resident:
            free_cached_memory()

    def _stop_thinking(self) -> None:
        if self._thinking is not None:
            self._thinking.leave()
            self._thinking = None

    def _check_numbers(self, values: Iterable[float]) -> None:
        if any(math.isnan(value) for value in values):
            raise self._not_numbers()

    def _not_numbers(self) -> NotNumbersError:
        return NotNumbersError(str(self._dtype).removeprefix("torch."))

    def _complete(
        self,
        group: Sequence[int],
        requests: Sequence[GenerationRequest],
        prompts: Sequence[tuple[int, ...]],
        sampling: Sampling,
    ) -> list[Completion]:
        """Generate one batch."""
        cut, limits = zip(
            *(tokens.fit_prompt(prompts[index], sampling.max_new_tokens, self._window) for index in group), strict=True
        )
        draws = uniforms([requests[index].id for index in group], sampling, self._device)
        stops = tokens.stop_strings(self._tokenizer, requests, sampling.stop)
        tail = 4 + max((len(stop.encode()) for stop in stops), default=0)
        end_tokens = self._end_tokens

        def choose_next(logits: torch.Tensor, rows: torch.Tensor, step: int) -> torch.Tensor:
            return choose(logits, sampling, draws[rows, step])

        def ended(written: Sequence[int]) -> bool:
            if written[-1] in end_tokens:
                return True
            text = tokens.decode_tokens(self._tokenizer, written[-tail:]) if stops else ""
            return tokens.first_stop(text, stops) is not None

        if self._plain_cache:
            rows = decode(self._model, cut, limits, choose_next, ended)
        else:
            assert len(group) == 1
            rows = [decode_with_generate(self._model, cut[0], limits[0], choose_next, ended)]
        return [
            tokens.read_completion(
                self._tokenizer,
                requests[index],
                written,
                prompt_tokens=len(prompt),
                end_tokens=end_tokens,
                stops=stops,
                truncated=not ended(written),
            )
            for index, prompt, written in zip(group, cut, rows, strict=True)
        ]

    def _generation_groups(self, prompts: Sequence[tuple[int, ...]]) -> list[list[int]]:
        return self._groups(prompts, allowance=GROWTH)

    def _groups(self, rows: Sequence[tuple[int, ...]], allowance: int = 0) -> list[list[int]]:
        if not self._plain_cache:  # such a model may not see padding, so its rows run alone
            return [[index] for index in range(len(rows))]
        return group_by_length(rows, self._budget, allowance)

    @property
    def _budget(self) -> int:
        return self._batch_tokens or token_budget(self._model, self._device)

    @property
    def _window(self) -> int:
        config = self._model.config.get_text_config()
        thoughts = 0 if self._thinking is None else self._thinking.count
        for name in ("n_positions", "max_position_embeddings", "n_ctx"):
            if window := getattr(config, name, None):
                return int(window) - thoughts
        longest = self._tokenizer.model_max_length
        return (int(longest) if longest < 10**9 else DEFAULT_WINDOW) - thoughts

    def _encode_prompts(self, requests: Sequence[GenerationRequest]) -> list[tuple[int, ...]]:
        rows = self._known(tokens.encode_prompts(self._tokenizer, requests))
        if self._thinking is None:
            return rows
        into = self._thinking.tokens.into
        return [into(row, _question(request)) for row, request in zip(rows, requests, strict=True)]

    def _encode_texts(self, texts: Sequence[str]) -> list[tuple[int, ...]]:
        rows = self._known([tuple(tokens.encode_context(self._tokenizer, text)[-self._window :]) for text in texts])
        if self._thinking is None:
            return rows
        return [self._thinking.tokens.into(row, text) for row, text in zip(rows, texts, strict=True)]

    def _encode_pairs(self, requests: Sequence[ScoringRequest]) -> list[tokens.Encoded]:
        rows = tokens.encode_pairs(self._tokenizer, requests, self._window)
        self._known([row.inputs + row.targets for row in rows])
        if self._thinking is None:
            return rows
        into = self._thinking.tokens.into
        return [
            replace(row, inputs=into(row.inputs, request.context, len(row.targets) - 1)) if row.targets else row
            for row, request in zip(rows, requests, strict=True)
        ]

    def _of_text(self, row: Sequence[int], stream: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return of a residual stream what belongs to the text's own tokens."""
        if self._thinking is None:
            return stream
        return stream[:, [place for place, token in enumerate(row) if token < self._thinking.tokens.vocabulary]]

    def _known(self, rows: list[tuple[int, ...]]) -> list[tuple[int, ...]]:
        """Return `rows` of tokens, all of which the model's embedding has.

        Raises:
            UserError: one is beyond it.
        """
        size = self._model.get_input_embeddings().weight.shape[0]
        highest = max((max(row, default=0) for row in rows), default=0)
        if highest >= size:
            raise UserError(
                f"The tokenizer of {self._checkpoint.name} makes the token {highest}, and the model has {size} rows of "
                "embeddings: take the tokenizer that the model was trained with."
            )
        return rows


def _question(request: GenerationRequest) -> str:
    """Return what an assistant reads of a request: the last turn of a chat, or the whole prompt."""
    return request.messages[-1]["content"] if request.prompt is None else request.prompt
