"""The same problem with other names, and the same template with other numbers (GSM-Symbolic, arXiv 2410.05229).

The unit is the template: its renderings are one sample.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from pfh.hooks.backends import GenerationRequest, Message, Sampling
from pfh.hooks.samples import Sample, sample_id
from pfh.kit.subset import spread
from pfh.kit.thoughts import behind_thought

if TYPE_CHECKING:
    from pfh.hooks.evals import EvaluationSpec

NAMES = ("names", "numbers")
RENDERINGS = 4
TEMPLATES = 40
"""Of those of gsm_symbolic, the first that say a name and have a whole number as answer."""
_OTHERS = ("Noor", "Pavel", "Quinn", "Rosa", "Sven", "Tariq", "Uma", "Viktor")
_TAIL = "\nThink step by step. Then write: The answer is N."
_ANSWER = re.compile(r"answer is:?\s*\$?(-?\d[\d,]*(?:\.\d+)?)", re.IGNORECASE)
_NUMBER = re.compile(r"-?\d[\d,]*(?:\.\d+)?")


@dataclass(frozen=True, kw_only=True)
class Rendering:
    """One text of a template."""

    question: str
    answer: int


@dataclass(frozen=True, kw_only=True)
class Template:
    """One template, with other names and with other numbers."""

    id: str
    named: tuple[Rendering, ...]
    numbered: tuple[Rendering, ...]


@cache
def templates() -> tuple[Template, ...]:
    """Return the templates, the same every time."""
    import reasoning_gym
    from pfh.kit.reasoning_gym import with_ordered_sets

    generators = with_ordered_sets(reasoning_gym.create_dataset("gsm_symbolic", size=1, seed=0)).generators
    found = []
    for number in range(len(generators)):
        made = [generators[number](random.Random(f"{number} {seed}"), 1.0) for seed in range(RENDERINGS)]  # noqa: S311 - fixed
        if not all(re.fullmatch(r"-?\d+", str(each["answer"])) for each in made):
            continue
        numbered = tuple(Rendering(question=each["question"], answer=int(each["answer"])) for each in made)
        named = _renamed(made[0])
        if named and len({each.question for each in numbered}) == RENDERINGS:
            key = sample_id("reasoning variations", "1", {"template": number, "question": numbered[0].question})
            found.append(Template(id=key, named=named, numbered=numbered))
        if len(found) == TEMPLATES:
            break
    return tuple(found)


def _renamed(made: dict[str, Any]) -> tuple[Rendering, ...]:
    """Return the problem under other names of its people, all numbers as they are; nothing where it names nobody."""
    question, answer = str(made["question"]), int(made["answer"])
    variables = made["metadata"]["variables"]
    people = [
        str(value)
        for key, value in variables.items()
        if key.startswith("name") and isinstance(value, str) and re.search(rf"\b{re.escape(value)}\b", question)
    ]
    if not people:
        return ()
    found = [question]
    for shift in range(1, RENDERINGS):
        text = question
        for place, name in enumerate(dict.fromkeys(people)):
            other = _OTHERS[(2 * shift + place) % len(_OTHERS)]
            text = re.sub(rf"\b{re.escape(name)}\b", other, text)
        found.append(text)
    return tuple(Rendering(question=text, answer=answer) for text in found)


def answer_in(reply: str) -> float | None:
    """Return the number that a reply gives as its answer: behind "answer is", else its last."""
    text = behind_thought(reply)
    told = _ANSWER.findall(text) or _NUMBER.findall(text)
    return float(told[-1].replace(",", "")) if told else None


def chat(rendering: Rendering) -> tuple[Message, ...]:
    """Return the problem as it is asked."""
    return ({"role": "user", "content": rendering.question + _TAIL},)


def measure(name: str, spec: EvaluationSpec) -> tuple[Sample, ...]:
    """Return a sample a template: the share of its renderings that are answered rightly."""
    by_id = {each.id: each for each in templates()}
    asked = [by_id[key] for key in spread(dict.fromkeys(by_id, ""), spec.limit)]
    put = {each.id: each.named if name == "names" else each.numbered for each in asked}
    sampling = Sampling(
        max_new_tokens=spec.options.max_new_tokens, temperature=spec.options.temperature, seed=spec.seed
    )
    requests = [
        GenerationRequest(id=f"{key}/{place}", messages=chat(each))
        for key, renderings in put.items()
        for place, each in enumerate(renderings)
    ]
    done = spec.engine.generate(requests, sampling)
    replies = {request.id: completion for request, completion in zip(requests, done, strict=True)}
    samples = []
    for key, renderings in put.items():
        completions = [replies[f"{key}/{place}"] for place in range(len(renderings))]
        given = [answer_in(each.text) for each in completions]
        right = [said == each.answer for said, each in zip(given, renderings, strict=True)]
        samples.append(
            Sample(
                id=key,
                benchmark=name,
                prompt=spec.engine.render(chat(renderings[0])),
                completion=completions[0].text,
                extracted=str(given[0]),
                target=str(renderings[0].answer),
                score=sum(right) / len(right),
                status="truncated" if any(each.truncated for each in completions) else "ok",
                tokens=completions[0].tokens,
                extra={
                    "user_prompt": renderings[0].question,
                    "right": right,
                    "answers": given,
                    "agreement": agreement(given),
                    "truncated": any(each.truncated for each in completions),
                },
            )
        )
    return tuple(samples)


def agreement(answers: Sequence[float | None]) -> float:
    """Return the share of unordered pairs of renderings with the same answer; none at all agrees with nothing."""
    pairs = [(x, y) for place, x in enumerate(answers) for y in answers[place + 1 :]]
    return sum(x is not None and x == y for x, y in pairs) / len(pairs)
