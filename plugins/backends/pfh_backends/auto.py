"""The fastest here for each kind of request: vLLM for generation where it is installed, transformers for the rest."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from pfh import hookimpl
from pfh.errors import UserError
from pfh.hooks.backends import (
    Completion,
    Distributions,
    GenerationRequest,
    Intervention,
    Message,
    Sampling,
    Score,
    ScoringRequest,
    WhiteBox,
    interventions_id,
)
from pfh.kit.soft_thoughts import are_soft_thoughts
from pfh.kit.tokens.loading import pick_device, pick_dtype

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from pfh.hooks.backends import BackendSpec, Engine, EngineSpec
    from pfh.hooks.checkpoint import Checkpoint

GENERATION_SHARE = 0.5
"""Of the device's memory, vLLM's part: the other engine needs room beside it."""


@hookimpl
def answers_through(spec: BackendSpec) -> tuple[str, ...]:
    """Name what generates, or answers the rest."""
    return ("hf", "vllm")


@hookimpl
def open_engine(spec: EngineSpec) -> Engine:
    """Choose a backend for generation and one for the rest, say which, and return an engine over both."""
    writer, why = _choose_writer(spec)
    spec.progress.say(f"backend auto: generation by {writer} ({why}); log-likelihoods and hidden states by hf")
    assert spec.open_engine is not None
    if writer == "hf":
        return spec.open_engine("hf", spec)
    return AutoEngine(spec, writer, spec.open_engine)


def _choose_writer(spec: EngineSpec) -> tuple[str, str]:
    """Return the backend that generates, and why."""
    if find_spec("vllm") is None:
        return "hf", "vLLM is not installed: pip install 'pfh[vllm]'"
    if spec.checkpoint.gguf_file:
        return "hf", "vLLM loads no GGUF files"
    return "vllm", "it is installed, and batches continuously"


class AutoEngine:
    """Generates with one engine and does all else with another; each is opened when first asked."""

    def __init__(self, spec: EngineSpec, writer: str, open_backend: Callable[[str, EngineSpec], Engine]) -> None:
        self._spec = spec
        self._writer_name = writer
        self._open_backend = open_backend
        self._engines: dict[str, Engine] = {}
        self._checkpoint = spec.checkpoint
        self._interventions = ""

    @property
    def checkpoint(self) -> Checkpoint:
        """The checkpoint whose weights answer now."""
        return self._checkpoint

    @property
    def identity(self) -> str:
        """Both backends, versions, dtype and kind of device; no model is loaded to say so."""
        import torch

        device = pick_device()
        dtype = str(pick_dtype(self._spec.dtype, device)).removeprefix("torch.")
        libraries = ", ".join(f"{name} {_version(name)}" for name in (self._writer_now, "transformers"))
        return f"auto, {libraries}, torch {torch.__version__}, {dtype}, {device.type}{self._interventions}"

    @property
    def depth(self) -> int:
        """Number of the model's blocks."""
        return self._reader.depth

    def use(self, checkpoint: Checkpoint) -> None:
        """Answer with `checkpoint` from now on."""
        self._checkpoint = checkpoint

    def render(self, messages: Sequence[Message]) -> str:
        """Return the text that the model is fed for a chat, generation prompt included."""
        return self._any.render(messages)

    def count_tokens(self, text: str) -> int:
        """Return the length of `text` in this model's tokens, special tokens not added."""
        return self._any.count_tokens(text)

    def encode(self, text: str) -> list[int]:
        """Return `text` in this model's tokens, special tokens not added."""
        return self._any.encode(text)

    def decode(self, tokens: Sequence[int]) -> str:
        """Return the text of `tokens`, special ones included."""
        return self._any.decode(tokens)

    def batches(self, requests: Sequence[GenerationRequest | ScoringRequest]) -> list[list[int]]:
        """Group `requests` as the engine does that will answer them."""
        scored = bool(requests) and isinstance(requests[0], ScoringRequest)
        return (self._reader if scored else self._writer).batches(requests)

    def generate(self, requests: Sequence[GenerationRequest], sampling: Sampling) -> list[Completion]:
        """Complete every request, in the order given."""
        return self._writer.generate(requests, sampling)

    def loglikelihood(self, requests: Sequence[ScoringRequest]) -> list[Score]:
        """Score every request, in the order given."""
        return self._reader.loglikelihood(requests)

    def hidden_states(self, texts: Sequence[str], layers: Sequence[int]) -> list[NDArray[np.float32]]:
        """Return for every text the residual stream, shape (len(layers), tokens, width)."""
        return self._reader.hidden_states(texts, layers)

    def next_token_logprobs(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return the log-probabilities of the token that follows each text, shape (len(texts), vocabulary)."""
        return self._reader.next_token_logprobs(texts)

    def distributions(self, requests: Sequence[GenerationRequest], completions: Sequence[str]) -> list[Distributions]:
        """Return what the model expects along each completion."""
        return self._reader.distributions(requests, completions)

    @contextmanager
    def intervened(self, interventions: Sequence[Intervention]) -> Iterator[None]:
        """Answer everything under `interventions`, completions too with the engine that can intervene."""
        outside = self._writer_name, self._interventions
        with self._reader.intervened(interventions):
            self._writer_name = "hf"
            self._interventions += f", under {interventions_id(interventions)}"
            try:
                yield
            finally:
                self._writer_name, self._interventions = outside

    def white_box(self) -> AbstractContextManager[tuple[Any, Any]]:
        """Lend the model and tokenizer of the engine that has gradients.

        Raises:
            UserError: it has none.
        """
        if not isinstance(self._reader, WhiteBox):
            raise UserError("it needs gradients; use --backend hf or auto")
        return self._reader.white_box()

    def close(self) -> None:
        """Free the models' memory."""
        for engine in self._engines.values():
            engine.close()
        self._engines.clear()

    @property
    def _any(self) -> Engine:
        """An engine that is open, or the one that opens fastest: both render and count alike."""
        return self._writer if list(self._engines) == [self._writer_name] else self._reader

    @property
    def _writer_now(self) -> str:
        """The backend that generates with the current checkpoint: soft thoughts are hf's alone."""
        return "hf" if are_soft_thoughts(self._checkpoint) else self._writer_name

    @property
    def _writer(self) -> Engine:
        writer = self._writer_now
        return self._reader if writer == "hf" else self._opened(writer, GENERATION_SHARE)

    @property
    def _reader(self) -> Engine:
        return self._opened("hf", self._spec.memory_share)

    def _opened(self, backend: str, share: float) -> Engine:
        """Return the engine of `backend`, answering with the current checkpoint."""
        if backend not in self._engines:
            spec = replace(self._spec, checkpoint=self._checkpoint, memory_share=share)
            self._engines[backend] = self._open_backend(backend, spec)
        self._engines[backend].use(self._checkpoint)
        return self._engines[backend]


def _version(distribution: str) -> str:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return "of unknown version"
