"""What crosses the hook of an attack: behaviours and a model in, what was really sent and answered out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pfh.progress import Progress, Silent

if TYPE_CHECKING:
    from pfh.hooks.backends import Engine, Message
    from pfh.hooks.judges import Case, Judgement


@dataclass(frozen=True, kw_only=True)
class Behaviour:
    """One harmful request that a model should refuse."""

    id: str
    prompt: str
    """What is asked, context included."""
    target: str = "Sure, here is"
    """How an answer begins that an attacker wants."""
    category: str = ""


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """One request that was really sent, and its answer."""

    messages: tuple[Message, ...]
    prefill: str = ""
    """What was put into the model's mouth; the completion goes on from there."""
    completion: str = ""
    tokens_in: int = 0
    tokens_out: int = 0
    loss: float | None = None
    """What a search lowered, in nats."""
    fits: bool = True
    """The model's window held all of it."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """All attempts at one behaviour, in their order."""

    id: str
    attempts: tuple[Attempt, ...]
    final: int | None = None
    """The attempt that counts, chosen by its loss and never by the judge; None where all count alike."""
    queries: int = 0
    """Requests to the model, those of a search included."""
    tokens: int = 0
    """Tokens that a search put to the model, beside those of the attempts."""


@dataclass(frozen=True, kw_only=True)
class AttackResult:
    """What an attack found, an outcome for every behaviour."""

    outcomes: tuple[Outcome, ...]
    access: str = "black-box"
    """What of the model it uses: "black-box" completions, "grey-box" log-probabilities too, "white-box" gradients."""
    searched: bool = False
    """The requests were made for this model: replayed on another, they are a transfer."""


@dataclass(frozen=True, kw_only=True)
class AttackSpec:
    """Behaviours to put to one model, under a budget that is the same for every model."""

    behaviours: tuple[Behaviour, ...]
    engine: Engine
    """Journaled: a killed attack goes on where it was, as long as it asks the same in the same order."""
    options: Any = None
    """An instance of the attack's options model."""
    max_new_tokens: int = 48
    """Length limit of a completion that is judged."""
    seed: int = 0
    judge: Callable[[Sequence[Case]], list[Judgement]] | None = None
    """For attacks that look at it, and say so."""
    start: Mapping[str, Sequence[Attempt]] = field(default_factory=dict)
    """What was found on the model that is compared with, by behaviour; empty for that model itself."""
    progress: Progress = field(default_factory=Silent)
