"""Which of two replies to a request for a tool is likelier: the right one, or one that differs in one thing?

It has a signal where a model generates no call at all. Replies of another length than the right one (NONE, an argument
more or less) are compared by the mean over their tokens, the others by the sum.
"""

from __future__ import annotations

import json
import random
from typing import TYPE_CHECKING, Any

from pfh.hooks.backends import ScoringRequest
from pfh.hooks.samples import Sample, sample_id

from pfh_evals.behaviour.asks import Ask, limited
from pfh_evals.behaviour.tool_calls import NO_CALL
from pfh_evals.behaviour.tools import FITS, catalogue, requests

if TYPE_CHECKING:
    from pfh.hooks.evals import EvaluationSpec

    from pfh_evals.behaviour.asks import Spec

NAME, VERSION = "tool-choice-ll", "1"
_CITIES = ("Bergen", "Quito", "Nairobi", "Perth")
_BY_TOKEN = ("NONE", "missing argument", "invented argument", "call without need")


def asks(spec: Spec) -> list[Ask]:
    """Return the family's own cases, at most as many as the limit."""
    from dataclasses import replace

    own = replace(spec, options=spec.options.model_copy(update={"tools": "prompt", "tool_cases": "built-in"}))
    return limited(requests(own)[0], spec.limit)


def contrasts(item: Ask) -> tuple[str, dict[str, str]]:
    """Return the right reply, and wrong ones by what is wrong with them."""
    draw = random.Random(item.id)  # noqa: S311 - fixed by the item
    tools = {tool["name"]: tool for tool in item.case["tools"]}
    if item.category != FITS:
        tool = item.case["tools"][0]
        return NO_CALL, {"call without need": _call(tool["name"], _filled(tool, draw))}
    expected = item.case["expected"][0]
    right = {name: values[0] for name, values in expected["arguments"].items() if None not in values}
    partner = {a: b for pair in catalogue()["pairs"] for a, b in (pair, pair[::-1])}[expected["name"]]
    changed = draw.choice(sorted(right))
    another = _other(right[changed], changed, tools, expected, draw)
    wrong = {
        "other tool": _call(partner, right),
        "other value": _call(expected["name"], {**right, changed: another}),
        "invented argument": _call(expected["name"], {**right, "note": "soon"}),
        "NONE": NO_CALL,
    }
    if len(right) > 1:
        wrong["missing argument"] = _call(expected["name"], {k: v for k, v in right.items() if k != changed})
    return _call(expected["name"], right), wrong


def measure(spec: EvaluationSpec) -> tuple[Sample, ...]:
    """Return one sample a request and kind of wrong reply; samples of one request are a cluster.

    Raises:
        UserError: the backend has no log-likelihoods.
    """
    found = [(item, *contrasts(item)) for item in asks(spec)]
    scored: list[ScoringRequest] = []
    for item, right, wrong in found:
        context = spec.engine.render(item.messages)
        for place, text in enumerate((right, *wrong.values())):
            scored.append(ScoringRequest(id=f"{item.id}-{place}", context=context, continuation=text))
    scores = iter(spec.engine.loglikelihood(scored))
    samples = []
    for item, right, wrong in found:
        best = next(scores)
        for kind, text in wrong.items():
            other = next(scores)
            summed = best.logprob - other.logprob
            by_token = best.logprob / max(best.tokens, 1) - other.logprob / max(other.tokens, 1)
            margin = by_token if kind in _BY_TOKEN else summed
            samples.append(
                Sample(
                    id=sample_id(NAME, VERSION, {"item": item.id, "kind": kind}),
                    benchmark=NAME,
                    category=kind,
                    prompt=item.case["asked"],
                    completion=right if margin > 0 else text,
                    target=right,
                    score=float(margin > 0),
                    cluster=item.id,
                    extra={"user_prompt": item.case["asked"], "wrong": text, "sum": summed, "token": by_token},
                )
            )
    return tuple(samples)


def _call(name: str, arguments: dict[str, Any]) -> str:
    return json.dumps({"name": name, "arguments": arguments})


def _filled(tool: dict[str, Any], draw: random.Random) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for name in tool["parameters"]["required"]:
        kind = tool["parameters"]["properties"][name]
        values[name] = draw.choice(kind["enum"]) if "enum" in kind else 5 if kind["type"] != "string" else _CITIES[0]
    return values


def _other(value: object, name: str, tools: dict[str, Any], expected: dict[str, Any], draw: random.Random) -> object:
    """Return another value of the same kind, about as long."""
    if isinstance(value, int | float):
        return value + 3
    enum = tools[expected["name"]]["parameters"]["properties"][name].get("enum", ())
    others = [each for each in enum if each != value]
    if others:
        return draw.choice(others)
    text = str(value)
    if ":" in text and text.replace(":", "").isdigit():
        return f"{(int(text[:2]) + 3) % 24:02d}{text[2:]}"
    if text.isupper():
        return draw.choice([code for code in ("NOK", "CAD", "INR", "BRL") if code != text])
    return draw.choice([city for city in _CITIES if city != text])
