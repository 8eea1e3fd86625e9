"""What a domain offers to every method: problems, a verifier, and rollouts with rewards."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
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
    """A worked solution, where the domain has one; of a preference pair the chosen completion."""
    rejected: str | None = None
    """A completion that is worse than `solution`, where the domain holds preference pairs."""
    cluster: str = ""
    """What the problem shares with others, such as the conversation that both are turns of; see `Sample.cluster`."""
    own_turns: bool = False
    """The turns before the last are the problem's own; else they are worked examples."""
    place: str = field(default="", compare=False)
    """Where its user finds it, such as "line 7"; empty: by its id."""

    @property
    def asked(self) -> str:
        """What the problem itself says, without worked examples: its last turn, or all of its conversation."""
        own = self.messages if self.own_turns else self.messages[-1:]
        return "\n\n".join(turn["content"] for turn in own if turn["role"] != "system")


NAMED = 5
"""Problems that a sentence names; further ones are only counted."""


def named_problems(problems: Sequence[Problem]) -> str:
    """Name problems in a sentence, each by its place or its id."""
    names = dict.fromkeys(problem.place or problem.id for problem in problems)
    more = len(names) - NAMED
    return ", ".join(list(names)[:NAMED]) + (f" and {more} more" if more > 0 else "")


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What the verifier says of one completion."""

    reward: float
    """In [0, 1]; 1 is correct."""
    extracted: str | None
    """The answer found in the completion; None where there is none."""
    f1: float | None = None
    """Token F1 with the reference answers, in a domain that measures it beside the reward."""
    score: float | None = None
    """What evaluation counts, 0 or 1, by the rules of the field: rewards are paid strictly, as training finds every
    hole, and a measurement must not take a change of style for a loss. None: the same as the reward."""

    @property
    def counted(self) -> float:
        """The score where the domain gives one, else the reward."""
        return self.reward if self.score is None else self.score

    @property
    def format_failure(self) -> bool:
        """Whether there is no answer, or a right one that is not written as it was asked for."""
        return self.extracted is None or self.counted > self.reward


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
    token_ids: Sequence[int] = field(default=(), compare=False, repr=False)
    """The tokens that all of `completion` was written in, by the tokenizer of the model that wrote it, or empty."""


@dataclass(frozen=True, kw_only=True)
class Reply:
    """What a domain answers a completion with, so that the conversation goes on."""

    heard: str
    """The completion as it stays in the conversation: what stands behind a call of a tool is left out."""
    content: str
    """The user turn that follows."""


class Domain(Protocol):
    """What every method of a run trains on: the same problems, judged by the same verifier."""

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
        """Return a solution, which must earn 1 and which training may see; None where none is known."""
        ...


@dataclass(frozen=True)
class TestAid:
    """A completion that must earn 1 and says nothing of how to solve a problem, such as a table of wanted outputs.

    It is no `str`, so that it cannot get into a chat or a label by mistake: only the verifier's self-test opens it.
    """

    __test__ = False
    completion: str


@runtime_checkable
class HasTestAid(Protocol):
    """A domain that can prove its verifier on problems without a reference solution."""

    def test_aid(self, problem: Problem) -> TestAid | None:
        """Return what only the self-test may see; None where there is a reference solution, or no aid either."""
        ...


@runtime_checkable
class TakesProblems(Protocol):
    """A domain that makes problems of a user's own prompts and answers, for `pfh verify`."""

    def own_problem(self, prompt: str, answers: Sequence[str]) -> Problem:
        """Return the problem that any of `answers` solves.

        Raises:
            ValueError: the answers are nothing that the verifier can compare with; says why.
        """
        ...


@runtime_checkable
class LimitsHoldouts(Protocol):
    """A domain whose held-out sets need other lengths than its rollouts."""

    def holdout_tokens(self, name: str) -> int | None:
        """Return a length limit that the right answers of a held-out set fit into; None: that of the rollouts."""
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
class MayLackVerifier(Protocol):
    """A domain whose completions cannot always be judged, such as texts of a user's own."""

    @property
    def no_verifier(self) -> str:
        """Say in a clause that nothing judges here, and which option changes that; empty where completions are judged.

        Without a verifier `verify` gives every completion 0, and each problem's solution is taken as it is.
        """
        ...


@runtime_checkable
class Describes(Protocol):
    """A domain that says what it read and how, for the plan, the log and the report of a run."""

    @property
    def description(self) -> tuple[str, ...]:
        """Return whole sentences."""
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


def why_unverified(domain: Domain) -> str:
    """Return why the domain judges no completion, in a clause; an empty string where it does."""
    return domain.no_verifier if isinstance(domain, MayLackVerifier) else ""


def description_of(domain: Domain) -> tuple[str, ...]:
    """Return the sentences in which the domain says what it read; none where it says nothing."""
    return domain.description if isinstance(domain, Describes) else ()


def verify_each(domain: Domain, problems: Sequence[Problem], completions: Sequence[str]) -> list[Verdict]:
    """Let the domain judge the completion of each problem, all together where it can."""
    if isinstance(domain, VerifiesMany):
        return list(domain.verify_many(problems, completions))
    return [domain.verify(problem, completion) for problem, completion in zip(problems, completions, strict=True)]
