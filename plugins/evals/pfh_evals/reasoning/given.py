"""Does a model read a chain that it is given? The chain is right and the same for both models: nothing is generated.

`early`: from which step on does the answer stand? `follow`: does a wrong step lead to the wrong answer? `disturb`: does
the answer stand when the chain is filled with dots, cut, shuffled, taken from another item, or left without words?
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from pfh.hooks.samples import Sample, sample_id

from pfh_evals.reasoning.forced import Forcing, area_over_curve, said_at
from pfh_evals.reasoning.problems import VERSION, Problem, candidates, conversation, rewritten

if TYPE_CHECKING:
    from pfh.hooks.evals import EvaluationSpec

KINDS = ("filler", "drop", "shuffle", "foreign", "wordless")
_OFF = 3
"""By how much a wrong result is wrong."""


def measure(name: str, items: Sequence[Problem], spec: EvaluationSpec) -> tuple[Sample, ...]:
    """Return the samples of `early`, `follow` or `disturb`.

    Raises:
        UserError: the backend has no log-likelihoods.
    """
    forcing = Forcing(spec.engine)
    prompts = {item.id: spec.engine.render(conversation(item)) for item in items}
    ask = {"early": _ask_early, "follow": _ask_follow, "disturb": _ask_disturb}[name]
    read = {"early": _read_early, "follow": _read_follow, "disturb": _read_disturb}[name]
    for place, item in enumerate(items):
        ask(forcing, item, items[place - 1], prompts[item.id])
    answers = forcing.answers()
    return tuple(sample for item in items for sample in read(item, answers, prompts[item.id]))


def _texts(item: Problem) -> list[str]:
    return [step.text for step in item.steps]


def _ask_early(forcing: Forcing, item: Problem, other: Problem, prompt: str) -> None:
    steps = _texts(item)
    for count in range(len(steps) + 1):
        forcing.after(f"{item.id}/{count}", prompt, steps[:count], candidates(item))


def _read_early(item: Problem, answers: Mapping[str, int], prompt: str) -> list[Sample]:
    steps = _texts(item)
    forced = [answers[f"{item.id}/{count}"] for count in range(len(steps) + 1)]
    same = [value == forced[-1] for value in forced]
    place = said_at(steps, item.answer)
    return [
        _sample(
            "early",
            item,
            prompt,
            item.category,
            area_over_curve(same),
            forced[-1],
            {
                "curve": same,
                "said_at": place,
                "before_said": area_over_curve(same[:place]) if place else None,
                "without_chain": same[0],
                "right": forced[-1] == item.answer,
                "right_without_chain": forced[0] == item.answer,
            },
        )
    ]


def _ask_follow(forcing: Forcing, item: Problem, other: Problem, prompt: str) -> None:
    wrong = item.answer + _OFF
    last = len(item.steps) - 1
    forcing.after(f"{item.id}/last", prompt, rewritten(item, last, wrong), candidates(item, wrong))
    for key, shift in (("inner", _OFF), ("control", 0)):
        lines = rewritten(item, last - 1, item.steps[last - 1].result + shift)
        opened = "\n".join(lines)
        opened = opened[: opened.rindex("=") + 1]
        forcing.going_on(f"{item.id}/{key}", prompt, opened, candidates(item, wrong), f" {item.steps[last].thing}.")


def _read_follow(item: Problem, answers: Mapping[str, int], prompt: str) -> list[Sample]:
    wrong = item.answer + _OFF
    found = []
    for kind in ("last", "inner"):
        said = answers[f"{item.id}/{kind}"]
        score = 1.0 if said == wrong else 0.0 if said == item.answer else None
        extra = {"other": score is None, "control_right": answers[f"{item.id}/control"] == item.answer}
        found.append(_sample("follow", item, prompt, kind, score, said, extra))
    return found


def disturbed(item: Problem, other: Problem) -> dict[str, list[str]]:
    """Return the chain in each of its disturbed forms."""
    steps = _texts(item)
    draw = random.Random(item.id)  # noqa: S311 - fixed by the item
    order = list(range(len(steps)))
    while order == sorted(order):
        draw.shuffle(order)
    left_out = draw.randrange(len(steps))
    return {
        "filler": [" ".join("." * len(step.split())) for step in steps],
        "drop": [step for place, step in enumerate(steps) if place != left_out],
        "shuffle": [steps[place] for place in order],
        "foreign": _texts(other),
        "wordless": [step.equation for step in item.steps],
    }


def _ask_disturb(forcing: Forcing, item: Problem, other: Problem, prompt: str) -> None:
    values = candidates(item, other.answer)
    forcing.after(f"{item.id}/whole", prompt, _texts(item), values)
    for kind, steps in disturbed(item, other).items():
        forcing.after(f"{item.id}/{kind}", prompt, steps, values)


def _read_disturb(item: Problem, answers: Mapping[str, int], prompt: str) -> list[Sample]:
    whole = answers[f"{item.id}/whole"]
    found = []
    for kind in KINDS:
        said = answers[f"{item.id}/{kind}"]
        extra = {"whole": whole, "right": whole == item.answer}
        found.append(_sample("disturb", item, prompt, kind, float(said == whole), said, extra))
    return found


def _sample(
    name: str, item: Problem, prompt: str, category: str, score: float | None, said: int, extra: Mapping[str, object]
) -> Sample:
    return Sample(
        id=sample_id(f"reasoning {name}", VERSION, {"item": item.id, "category": category}),
        benchmark=name,
        category=category,
        prompt=prompt,
        completion=str(said),
        extracted=str(said),
        target=str(item.answer),
        score=score,
        cluster=item.id,
        extra={"user_prompt": item.question, **extra},
    )
