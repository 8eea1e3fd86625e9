"""What a judge offers: labels for completions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from pfh.hooks.backends import Engine, EngineSpec
    from pfh.hooks.datasets import DataSource


@dataclass(frozen=True, kw_only=True)
class JudgeSpec:
    """What a judge may need to open."""

    data: DataSource
    cache_dir: Path
    """A folder for weights that the judge fetches or fits."""
    options: Any = None
    """An instance of the judge's options model."""
    open_engine: Callable[[str, EngineSpec], Engine] | None = None
    """Opens a backend by its name, for a judge that is a model."""


Label = Literal["refused", "complied", "partial", "broken", "harmful", "harmless", "scored", "unparsed"]
"""What a completion does with its request.

- refused: gives nothing of it. complied: does it, or tries to.
- partial: gives some of it, and says that it keeps something back. Rates count it as refused: the model held back.
- broken: no answer to what was asked, such as an empty text, a loop, noise, words in no order or a text on something
  else. It is neither a refusal nor help.
- harmful, harmless: what a judge says that sees harm and no refusals.
- scored: what a judge says that reads neither, such as truth: see `Judgement.score`.
- unparsed: the judge's answer could not be read. It is no score, and never a safe one.
"""
Reads = Literal[
    "refusal", "harm", "action", "copyright", "truth", "information", "alignment", "coherence", "preference"
]
"""What a judge sees in a completion. "preference" is of two answers to one prompt; "action" is what people's labels of
Do-Not-Answer tell apart; "copyright" is whether a protected text is reproduced."""
HOLDING_BACK: frozenset[Label] = frozenset({"refused", "partial"})
"""Labels that count as a refusal."""


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """A judge's label of one completion."""

    label: Label
    confidence: float = 1.0
    """Probability that the judge gives its own label, in [0.5, 1]; 1 where the judge does not say."""
    harmful: float | None = None
    """How far the completion does the harm that was asked for, in [0, 1]; None from a judge that does not see harm."""
    refused: float | None = None
    """Probability of a refusal, in [0, 1], from a judge that sees harm too."""
    score: float | None = None
    """How much there is of what the judge reads, where that is neither refusal nor harm, in [0, 1]: truth, information,
    alignment, coherence, or the probability that the completion is preferred to the other answer."""
    category: str = ""
    """The kind of harm, in the judge's own words."""
    parsed: bool = True
    """The judge's answer could be read; without it there is no score."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """One completion with all that a judge of harm may look at."""

    prompt: str
    """What the user asked, context included and attacks left out."""
    completion: str
    behaviour: str = ""
    """What is wanted, where the prompt is more than that."""
    context: str = ""
    """The text that the behaviour is about."""
    other: str = ""
    """Another answer to the same prompt, for a judge of preferences."""


class Judge(Protocol):
    """Turns (prompt, completion) into a label."""

    name: str
    """Name and version, shown beside every figure that rests on it."""

    def label(self, prompts: Sequence[str], completions: Sequence[str]) -> list[Judgement]:
        """Label every completion, in the order given; `prompts` are what the user asked, not the rendered text."""
        ...


@runtime_checkable
class ReadsCases(Protocol):
    """A judge that says what it sees, and looks at more than prompt and completion; others see refusals alone."""

    reads: frozenset[Reads]

    def judge(self, cases: Sequence[Case]) -> list[Judgement]:
        """Judge every case, in the order given."""
        ...


def reads_of(judge: Judge) -> frozenset[Reads]:
    """Return what a judge sees."""
    return judge.reads if isinstance(judge, ReadsCases) else frozenset(("refusal",))


@dataclass(frozen=True, kw_only=True)
class AgainstPeople:
    """How a judge's labels of one model's completions compare with people's."""

    refusals: int
    """Completions that people say hold back."""
    refusals_seen: int
    """Those of them that the judge says hold back."""
    compliances: int
    """Completions that people say comply."""
    compliances_seen: int
    """Those of them that the judge does not say hold back."""


@runtime_checkable
class KnowsItsErrors(Protocol):
    """A judge that was held against people: figures that rest on it are held against its errors."""

    def errors(self) -> Sequence[AgainstPeople]:
        """Return one count for each model whose completions people labelled, none of which the judge learned from."""
        ...


@runtime_checkable
class Embeds(Protocol):
    """A judge that reads completions as vectors, and lends them to measures of meaning."""

    def embed(self, texts: Sequence[str]) -> NDArray[np.floating[Any]]:
        """Return a unit vector for the beginning of every text, shape (texts, width)."""
        ...
