"""What a domain offers to every method: problems, a verifier, and rollouts with rewards."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

from pfh.hooks.backends import Message, Sampling

if TYPE_CHECKING:
    from pfh.hooks.backends import Engine
    from pfh.hooks.datasets import DataSource


FORMS = (("", ""), ("\\boxed{", "}"), ("<answer>", "</answer>"), ("The answer is ", "."), ("```python\n", "\n```"))
"""What stands before and after an answer where domains ask for a form; probes are tried in each."""


@dataclass(frozen=True, kw_only=True)
class DomainSpec:
    """What a domain is opened with."""

    options: Any
    """An instance of the domain's options model."""
    data: DataSource


@dataclass(frozen=True, kw_only=True)
class GenerationSpec:
    """Rollouts to draw from one model on a domain's problems."""

    domain: Domain
    engine: Engine
    problems: Sequence[Problem]
    samples: int
    """Rollouts a problem."""
    sampling: Sampling


@dataclass(frozen=True, kw_only=True)
class Generation:
    """Rollouts, grouped by problem in the order given."""

    rollouts: tuple[Rollout, ...]


Split = Literal["train", "test"]


@dataclass(frozen=True, kw_only=True)
class Problem:
    """One prompt of a domain, with what its verifier needs."""

    id: str
    """Stable: depends on the environment, its settings and the problem's content."""
    environment: str
    """The GEM environment or task that the problem comes from, such as "rg:gcd"."""
    messages: tuple[Message, ...]
    """The chat that is put to the model, ending in a user turn."""
    answer: str
    """The ground-truth answer in the form that the verifier accepts."""
    solution: str | None = None
    """A worked solution, where the domain has one."""


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What the verifier says of one completion."""

    reward: float
    """In [0, 1]; 1 is correct."""
    extracted: str | None
    """The answer found in the completion; None is a format failure."""
    f1: float | None = None
    """Token F1 with the reference answers, in a domain that measures it beside the reward."""


@dataclass(frozen=True, kw_only=True)
class Rollout:
    """One completion of one problem, with its reward; or one conversation, whose last completion is rewarded."""

    problem: Problem
    index: int
    """Which of the problem's samples this is, from 0."""
    completion: str
    tokens: int
    """How many the model wrote, over all turns."""
    truncated: bool
    """The completion was cut off at the length limit."""
    verdict: Verdict
    messages: tuple[Message, ...] = ()
    """All that was said after the problem's messages, the completion last; empty where the domain answers nothing."""


@dataclass(frozen=True, kw_only=True)
class Reply:
    """What a domain answers a completion with, so that the conversation goes on."""

    heard: str
    """The completion as it stays in the conversation: what stands behind a call of a tool is left out."""
    content: str
    """The user turn that follows."""


class Domain(Protocol):
    """The ground that every method trains on: the same problems, judged by the same verifier."""

    @property
    def name(self) -> str:
        """The domain's name, as problems and errors show it."""
        ...

    @property
    def version(self) -> str:
        """Changes whenever a problem or a reward may."""
        ...

    @property
    def sampling(self) -> Sampling:
        """How rollouts are drawn where a method asks for nothing else."""
        ...

    @property
    def holdouts(self) -> tuple[str, ...]:
        """Names of the held-out sets that measure the target task; none of their prompts may be trained on."""
        ...

    def problems(self, split: Split, count: int, seed: int) -> tuple[Problem, ...]:
        """Return `count` problems; the two splits share none, and a longer list begins with the shorter."""
        ...

    def holdout(self, name: str) -> tuple[Problem, ...]:
        """Return the problems of one held-out set, in a fixed order.

        Raises:
            DataUnavailableError: the set cannot be had here; `target` turns it into NOT_RUN with the reason.
        """
        ...

    def verify(self, problem: Problem, completion: str) -> Verdict:
        """Judge `completion`; never raises for anything that a model may write."""
        ...


@runtime_checkable
class HasGold(Protocol):
    """A domain whose `Problem.answer` is not what a completion says: unit tests, or a limit to be kept."""

    def gold(self, problem: Problem) -> str | None:
        """Return a completion that must earn 1, for the verifier's self-test; None where none is known."""
        ...


@runtime_checkable
class VerifiesMany(Protocol):
    """A domain that judges many completions faster together, over the cores, than one by one."""

    def verify_many(self, problems: Sequence[Problem], completions: Sequence[str]) -> Sequence[Verdict]:
        """Return what `verify` says of each problem's completion, in their order."""
        ...


@runtime_checkable
class AsksToReason(Protocol):
    """A domain that says whether its prompts ask for reasoning before the answer."""

    @property
    def asks_to_reason(self) -> bool:
        """A bare answer would be another form than what the prompts ask for."""
        ...


@runtime_checkable
class Converses(Protocol):
    """A domain that answers what the model writes, so that a problem is a conversation (`pfh.kit.conversations`)."""

    @property
    def turns(self) -> int:
        """Most replies in one conversation."""
        ...

    def replies(self, problems: Sequence[Problem], completions: Sequence[str], left: int) -> Sequence[Reply | None]:
        """Answer the completions of many conversations together; None ends one.

        Never raises for anything that a model may write.

        Args:
            problems: what each conversation is about.
            completions: the latest of each.
            left: replies that a conversation may still get after this one.
        """
        ...


def verify_each(domain: Domain, problems: Sequence[Problem], completions: Sequence[str]) -> list[Verdict]:
    """Let the domain judge the completion of each problem, all together where it can."""
    if isinstance(domain, VerifiesMany):
        return list(domain.verify_many(problems, completions))
    return [domain.verify(problem, completion) for problem, completion in zip(problems, completions, strict=True)]
