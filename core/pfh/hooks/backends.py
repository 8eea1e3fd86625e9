"""What a backend offers: one resident model that generates, scores and shows its hidden states."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypedDict, TypeVar, runtime_checkable

from pfh.progress import Progress, Silent

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from pfh.hooks.checkpoint import Checkpoint


@dataclass(frozen=True, kw_only=True)
class EngineSpec:
    """Which model a backend should make resident."""

    checkpoint: Checkpoint
    dtype: str = "auto"
    """"auto", "float32", "bfloat16" or "float16"."""
    batch_tokens: int = 0
    """Token budget of a batch, padding included; 0 lets the backend choose for the device."""
    memory_share: float = 0.9
    """Of the device's memory, what a backend may take that takes it all at once."""
    open_engine: Callable[[str, EngineSpec], Engine] | None = None
    """Opens another backend by its name, for a backend that answers through others."""
    progress: Progress = field(default_factory=Silent)


@dataclass(frozen=True, kw_only=True)
class BackendSpec:
    """How a run asks for a backend, before it is known for which model."""

    dtype: str = "auto"
    """As in `EngineSpec`."""


class Message(TypedDict):
    """One turn of a chat."""

    role: Literal["system", "user", "assistant"]
    content: str


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """How completions are drawn."""

    max_new_tokens: int = 128
    """Length limit of a completion, in tokens."""
    temperature: float = 0.0
    """Softmax temperature; 0 is greedy decoding."""
    top_p: float = 1.0
    """Nucleus mass that is kept (Holtzman et al. 2020, arXiv 1904.09751); 1 keeps everything."""
    stop: tuple[str, ...] = ()
    """The completion ends before the first of these strings."""
    seed: int = 0
    """Every request draws from a generator of its own, seeded by this and the request's id."""


@dataclass(frozen=True, kw_only=True)
class GenerationRequest:
    """One completion to generate."""

    id: str
    """Unique in a call; with `Sampling.seed` it fixes the random draw, whatever else is in the batch."""
    messages: tuple[Message, ...] = ()
    """The chat so far, ending in a user turn; a model without a chat template gets pfh's plain template."""
    prompt: str | None = None
    """Rendered text, fed as it is in place of a chat. The requests of one call are all chats or all prompts."""


@dataclass(frozen=True, kw_only=True)
class Completion:
    """What the model wrote for one request."""

    text: str
    tokens: int
    """Length in tokens, the end-of-sequence token not counted."""
    prompt_tokens: int
    truncated: bool
    """The length limit was reached before the model ended its turn."""
    token_ids: Sequence[int] = field(default=(), compare=False, repr=False)
    """The tokens that all of `text` was written in, its end left out; empty where they are not known. Put into tokens
    anew, a text may give others."""


@dataclass(frozen=True, kw_only=True)
class ScoringRequest:
    """One continuation to score: log p(continuation | context)."""

    id: str
    context: str
    """Rendered text, fed as it is (no chat template is applied)."""
    continuation: str


@dataclass(frozen=True, kw_only=True)
class Score:
    """The log-likelihood of one continuation."""

    logprob: float
    """Sum over the continuation's tokens, in nats."""
    greedy: bool
    """Every token of the continuation is the model's most likely one."""
    tokens: int
    """Length of the continuation in tokens."""


@dataclass(frozen=True, kw_only=True)
class Distributions:
    """What a model expects along one completion, whoever wrote it."""

    tokens: tuple[int, ...]
    """The completion in the model's tokens."""
    logprobs: NDArray[np.float32]
    """Shape (len(tokens) + 1, vocabulary): of what follows the prompt, and of what follows each of the tokens."""


@dataclass(frozen=True, kw_only=True)
class Intervention:
    """A change of the residual stream at every token, along one direction (Arditi et al. 2024, arXiv 2406.11717)."""

    kind: Literal["ablate", "add"]
    """"ablate" removes the direction from the input of every block and from what attention and MLP write; "add" adds
    the vector, as long as it is, to the input of one block."""
    direction: NDArray[np.float32]
    """Shape (width,)."""
    layer: int = 0
    """The block whose input "add" changes."""


def interventions_id(interventions: Sequence[Intervention]) -> str:
    """Return a short hash that tells `interventions` from any others, for an engine's identity."""
    digest = hashlib.sha256()
    for each in interventions:
        digest.update(f"{each.kind} {each.layer} ".encode() + each.direction.tobytes())
    return digest.hexdigest()[:16]


class Engine(Protocol):
    """One resident model. Methods, domains and evals see nothing else of a backend."""

    @property
    def checkpoint(self) -> Checkpoint:
        """The checkpoint whose weights answer now."""
        ...

    @property
    def identity(self) -> str:
        """Everything beside the weights that can change a figure: backend, its version, dtype, device kind."""
        ...

    @property
    def depth(self) -> int:
        """Number of the model's blocks; `hidden_states` has one layer more."""
        ...

    def use(self, checkpoint: Checkpoint) -> None:
        """Answer with `checkpoint` from now on; an adapter of the resident base is swapped in without a reload."""
        ...

    def render(self, messages: Sequence[Message]) -> str:
        """Return the text that the model is fed for a chat, generation prompt included."""
        ...

    def count_tokens(self, text: str) -> int:
        """Return the length of `text` in this model's tokens, special tokens not added."""
        ...

    def encode(self, text: str) -> list[int]:
        """Return `text` in this model's tokens, special tokens not added."""
        ...

    def decode(self, tokens: Sequence[int]) -> str:
        """Return the text of `tokens`, special ones included."""
        ...

    def batches(self, requests: Sequence[GenerationRequest | ScoringRequest]) -> list[list[int]]:
        """Group `requests` (by index) as this engine would run them; the grouping depends on nothing else.

        A group is the unit of progress and of resumption: a killed run repeats one group at the most.
        """
        ...

    def generate(self, requests: Sequence[GenerationRequest], sampling: Sampling) -> list[Completion]:
        """Complete every request, in the order given."""
        ...

    def loglikelihood(self, requests: Sequence[ScoringRequest]) -> list[Score]:
        """Score every request, in the order given."""
        ...

    def hidden_states(self, texts: Sequence[str], layers: Sequence[int]) -> list[NDArray[np.float32]]:
        """Return for every text the residual stream, shape (len(layers), tokens, width).

        Layer i is the input of block i; layer `number of blocks` is the last block's output, before the final norm.
        """
        ...

    def next_token_logprobs(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return the log-probabilities of the token that follows each text, shape (len(texts), vocabulary)."""
        ...

    def distributions(self, requests: Sequence[GenerationRequest], completions: Sequence[str]) -> list[Distributions]:
        """Return what the model expects along each completion of the request at the same place.

        Prompts are fed as `generate` feeds them. An answer holds tokens x vocabulary numbers: ask for few at a time.

        Raises:
            UserError: the backend cannot.
        """
        ...

    def intervened(self, interventions: Sequence[Intervention]) -> AbstractContextManager[None]:
        """Answer everything under `interventions` until the context is left; the checkpoint must stay the same.

        Raises:
            UserError: the backend cannot, or the model has no such layer or another width.
        """
        ...

    def close(self) -> None:
        """Free the model's memory."""
        ...


@runtime_checkable
class WhiteBox(Protocol):
    """An engine that lends its model to whoever needs gradients; an engine without may do without."""

    def white_box(self) -> AbstractContextManager[tuple[Any, Any]]:
        """Lend the resident torch model and its tokenizer until the context is left.

        The model has 32-bit weights meanwhile, in the engine's own answers too: half precision orders candidates
        wrongly that a search tells apart. Whoever borrows it leaves weights and hooks as they were.

        Raises:
            UserError: the backend has no gradients.
        """
        ...


Kept = TypeVar("Kept")


@runtime_checkable
class Keeps(Protocol):
    """An engine that writes down what was computed beside it, so that a killed search goes on where it was."""

    def keep(self, name: str, make: Callable[[], Kept]) -> Kept:
        """Return what was kept under `name` for these weights, or make it and keep it; it must be plain JSON."""
        ...
