"""Single-turn prompts to answer in at most N words; the verifier counts them.

A ground to train on for what the benchmark family `brevity` measures. The two share no subject.
"""

from __future__ import annotations

import random
from typing import Annotated

from pfh import hookimpl
from pfh.errors import UserError
from pfh.hooks.backends import Sampling
from pfh.hooks.domains import Domain, DomainSpec, Problem, Split, Verdict
from pydantic import BaseModel, Field

from pfh_brevity.checkers import count_words

TASKS = ("Explain what {} is for", "Say why people like {}", "Tell a child about {}", "Name one fact about {}")
SUBJECTS: dict[Split, tuple[str, ...]] = {
    "train": (
        "a bridge", "a clock tower", "coffee", "rain", "a passport", "chess", "a lighthouse", "honey",
        "a violin", "snow", "a map", "tea", "a market", "a kite", "a violet", "a harbour",
        "glass", "a telescope", "salt", "a wheel", "a candle", "a festival", "paper", "a farm",
    ),
    "test": ("a ladder", "a river", "chocolate", "a stamp", "a drum", "a window", "a forest", "a ferry"),
}  # fmt: skip


class Options(BaseModel):
    """Options of the domain, as `-o concise.words=5,10` gives them."""

    words: tuple[Annotated[int, Field(ge=1)], ...] = Field(
        (5, 8, 12), min_length=1, description="lengths that an answer may not exceed, in words"
    )


@hookimpl
def options() -> type[Options]:
    """Name the options model."""
    return Options


@hookimpl
def open_domain(spec: DomainSpec) -> Domain:
    """Open the domain."""
    return Concise(spec.options.words)


class Concise:
    """Answers in at most N words earn 1, longer and empty ones 0."""

    name = "concise"
    version = "1"
    sampling = Sampling(max_new_tokens=48, temperature=1.0)
    holdouts: tuple[str, ...] = ("concise",)

    def __init__(self, limits: tuple[int, ...]) -> None:
        self._limits = limits

    def problems(self, split: Split, count: int, seed: int) -> tuple[Problem, ...]:
        """Return `count` problems in an order drawn by `seed`.

        Raises:
            UserError: more were asked for than there are.
        """
        every = self._every(split)
        if count > len(every):
            raise UserError(
                f"domains:concise has {len(every)} {split} problems, {count} were asked for; "
                "lower --problems or name more lengths with -o concise.words=5,8,12,16."
            )
        random.Random(seed).shuffle(every)
        return tuple(every[:count])

    def holdout(self, name: str) -> tuple[Problem, ...]:
        """Return the problems of the test split."""
        return tuple(self._every("test"))

    def verify(self, problem: Problem, completion: str) -> Verdict:
        """Count the words; an echo of the prompt is no answer."""
        counted = count_words(completion)
        if not counted or problem.messages[-1]["content"] in completion:
            return Verdict(reward=0.0, extracted=None)
        return Verdict(reward=float(counted <= int(problem.answer)), extracted=str(counted))

    def gold(self, problem: Problem) -> str:
        """Return an answer that is short enough: `Problem.answer` is a limit, and no answer."""
        return "Usefulness."

    def _every(self, split: Split) -> list[Problem]:
        return [
            Problem(
                id=f"concise-{split}-{task.format(subject)}-{limit}",
                environment="concise",
                messages=({"role": "user", "content": f"{task.format(subject)} in at most {limit} words."},),
                answer=str(limit),
            )
            for subject in SUBJECTS[split]
            for task in TASKS
            for limit in dict.fromkeys(self._limits)
        ]
