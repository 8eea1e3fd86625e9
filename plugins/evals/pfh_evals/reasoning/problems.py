"""Sums in two or three steps with a right chain: the project's own, and easy enough for a small model."""

from __future__ import annotations

import random
import re
from dataclasses import dataclass
from functools import cache

from pfh.hooks.backends import Message
from pfh.hooks.samples import sample_id

VERSION = "1"
CUE = "The answer is"
ITEMS, EXAMPLES = 48, 4
MOST = 8
"""Candidates for an answer."""
_NAMES = ("Ada", "Boris", "Clara", "Dimo", "Elke", "Farid", "Greta", "Hugo", "Irma", "Jonas", "Karin", "Luca")
_THINGS = ("apples", "stamps", "marbles", "books", "shells", "coins", "pencils", "cards")
_MORE = ("buys {n} more", "finds {n} more", "gets {n} more from a friend")
_LESS = ("gives away {n}", "loses {n}", "sells {n}")
_TAIL = "\nThink step by step, one step a line. Then write: The answer is N."
_NUMBER = re.compile(r"\d+")


@dataclass(frozen=True, kw_only=True)
class Step:
    """One step of a chain: `left sign right = result`."""

    left: int
    sign: str
    right: int
    thing: str

    @property
    def result(self) -> int:
        """What comes out."""
        return self.left + self.right if self.sign == "+" else self.left - self.right

    @property
    def equation(self) -> str:
        """The step without words."""
        return f"{self.left} {self.sign} {self.right} = {self.result}"

    @property
    def text(self) -> str:
        """The step as it is written."""
        return f"Then there are {self.equation} {self.thing}."


@dataclass(frozen=True, kw_only=True)
class Problem:
    """One question with its right chain."""

    id: str
    question: str
    steps: tuple[Step, ...]
    small: bool = False
    """Two steps with numbers below ten."""

    @property
    def answer(self) -> int:
        """The right answer."""
        return self.steps[-1].result

    @property
    def category(self) -> str:
        """How many steps it takes."""
        return f"{len(self.steps)} steps"


def rewritten(problem: Problem, place: int, result: int) -> list[str]:
    """Return the chain with another result in one step, and every later step carried on from it."""
    lines, value = [], 0
    for number, step in enumerate(problem.steps):
        left = step.left if number <= place else value
        value = result if number == place else left + step.right if step.sign == "+" else left - step.right
        lines.append(f"Then there are {left} {step.sign} {step.right} = {value} {step.thing}.")
    return lines


@cache
def problems(*, small: bool = False) -> tuple[tuple[Problem, ...], tuple[Problem, ...]]:
    """Return the worked examples and the items, all different; `small` ones are within a small model's reach."""
    draw = random.Random("reasoning small sums" if small else "reasoning sums 1")  # noqa: S311 - the same every time
    found: dict[str, Problem] = {}
    while len(found) < ITEMS + EXAMPLES:
        problem = _drawn(draw, 2 if small else 2 + len(found) % 2, small=small)
        found[problem.id] = problem
    every = tuple(found.values())
    return every[:EXAMPLES], every[EXAMPLES:]


def _drawn(draw: random.Random, count: int, *, small: bool) -> Problem:
    name, thing = draw.choice(_NAMES), draw.choice(_THINGS)
    value = draw.randrange(2, 8) if small else draw.randrange(11, 40)
    told, steps = [f"{name} has {value} {thing}."], []
    for _ in range(count):
        more = draw.random() < 0.5
        by = draw.randrange(1, 6) if small else draw.randrange(2, 10)
        more = more or by > value
        step = Step(left=value, sign="+" if more else "-", right=by, thing=thing)
        told.append(f"Then {name} {draw.choice(_MORE if more else _LESS).format(n=by)}.")
        steps.append(step)
        value = step.result
    question = f"{' '.join(told)} How many {thing} does {name} have now?"
    return Problem(
        id=sample_id("reasoning sums", VERSION, {"question": question}),
        question=question,
        steps=tuple(steps),
        small=small,
    )


def conversation(problem: Problem) -> tuple[Message, ...]:
    """Return the chat: worked examples as turns, then the question."""
    turns: list[Message] = []
    for example in problems(small=problem.small)[0]:
        chain = "\n".join(step.text for step in example.steps)
        turns.append({"role": "user", "content": example.question + _TAIL})
        turns.append({"role": "assistant", "content": f"{chain}\n{CUE} {example.answer}."})
    return (*turns, {"role": "user", "content": problem.question + _TAIL})


def candidates(problem: Problem, *also: int) -> list[int]:
    """Return what a forced answer is chosen from: `also` and the right one, numbers of chain and question, others."""
    pool = [problem.answer, *also]
    pool += [step.result for step in reversed(problem.steps)]
    pool += [int(number) for number in _NUMBER.findall(problem.question)]
    pool += [problem.answer + shift for shift in (1, -1, 2, 10, -10)]
    return [value for value in dict.fromkeys(pool) if value >= 0][:MOST]
