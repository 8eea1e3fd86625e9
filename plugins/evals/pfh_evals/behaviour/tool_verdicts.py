"""One verdict a reply to a request that tools can, or cannot, serve."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from pfh_evals.behaviour.replies import hollow, words
from pfh_evals.behaviour.tool_calls import NO_CALL, Call, Written, read_calls

Verdict = Literal[
    "correct",
    "wrong value",
    "missing argument",
    "invented argument",
    "invalid arguments",
    "wrong tool",
    "unknown tool",
    "too many calls",
    "too few calls",
    "no call",
    "unreadable call",
    "abstained",
    "called without need",
    "says nothing",
]
CHOSEN: tuple[Verdict, ...] = ("correct", "wrong value", "missing argument", "invented argument", "invalid arguments")
"""Verdicts of exactly one call, of the right tool."""
_SENTENCE = 3
"""Words that a reply without a call needs to be one to the request."""


def verdict(
    reply: str, asked: str, expected: Sequence[Mapping[str, Any]], tools: Sequence[Mapping[str, Any]]
) -> Verdict:
    """Return what a reply does.

    Args:
        reply: what the model said.
        asked: the user's request.
        expected: the right calls in any order, each with "name" and "arguments": name to the allowed values, None among
            them where it may be absent; none where no tool should be called.
        tools: the tools on offer, as JSON schemas.
    """
    known = {str(tool["name"]): tool for tool in tools}
    written = read_calls(reply, known)
    if written.kind == "attempt":
        return "unreadable call"
    if written.kind == "none":
        return _without_call(reply, asked, expected)
    if not expected:
        return "called without need"
    return _of_calls(written, expected, known)


def _without_call(reply: str, asked: str, expected: Sequence[object]) -> Verdict:
    if reply.strip().strip("\"'`.").upper() == NO_CALL:
        return "no call" if expected else "abstained"
    if hollow(asked, reply) or len(set(words(reply))) < _SENTENCE:
        return "no call" if expected else "says nothing"
    return "no call" if expected else "abstained"


def _of_calls(written: Written, expected: Sequence[Mapping[str, Any]], known: Mapping[str, Any]) -> Verdict:
    calls = list(written.calls)
    if any(call.name not in known for call in calls):
        return "unknown tool"
    if len(calls) > len(expected):
        return "too many calls"
    if len(calls) < len(expected):
        return "too few calls"
    if sorted(call.name for call in calls) != sorted(each["name"] for each in expected):
        return "wrong tool"
    unmet, worst = list(expected), list[Verdict]()
    for call in calls:
        verdicts = [(_of_call(call, each, known[call.name]), place) for place, each in enumerate(unmet)]
        best, place = min(verdicts, key=lambda pair: (pair[0] != "correct", pair[0] == "wrong tool"))
        unmet.pop(place)
        worst += [best] if best != "correct" else []
    return worst[0] if worst else "correct"


def _of_call(call: Call, expected: Mapping[str, Any], tool: Mapping[str, Any]) -> Verdict:
    if call.name != expected["name"]:
        return "wrong tool"
    if call.arguments is None:
        return "invalid arguments"
    schema = tool["parameters"]
    if set(call.arguments) - set(schema.get("properties", {})):
        return "invented argument"
    if set(schema.get("required", ())) - set(call.arguments):
        return "missing argument"
    if not fits_schema(call.arguments, schema):
        return "invalid arguments"
    for name, allowed in expected["arguments"].items():
        if name not in call.arguments:
            if None not in allowed:
                return "missing argument"
        elif not any(value is not None and same_value(call.arguments[name], value) for value in allowed):
            return "wrong value"
    unasked = set(call.arguments) - set(expected["arguments"])
    return "wrong value" if unasked else "correct"


def fits_schema(arguments: Mapping[str, Any], schema: Mapping[str, Any]) -> bool:
    """Say whether the arguments of a call are what the tool's schema describes."""
    from jsonschema import Draft202012Validator

    return bool(Draft202012Validator(schema).is_valid(json.loads(json.dumps(arguments, default=list, skipkeys=True))))


def same_value(given: object, allowed: object) -> bool:
    """Say whether two values mean the same: texts by their words, true and 1 apart, 2 and 2.0 not."""
    if isinstance(given, str) and isinstance(allowed, str):
        return words(given) == words(allowed) and (bool(words(given)) or given.strip() == allowed.strip())
    if isinstance(given, bool) or isinstance(allowed, bool):
        return given is allowed
    if isinstance(given, list | tuple) and isinstance(allowed, list | tuple):
        return len(given) == len(allowed) and all(same_value(x, y) for x, y in zip(given, allowed, strict=True))
    if isinstance(given, dict) and isinstance(allowed, dict):
        return given.keys() == allowed.keys() and all(same_value(given[key], allowed[key]) for key in given)
    return given == allowed


def invented(
    reply: str, conversation: str, expected: Sequence[Mapping[str, Any]], tools: Sequence[Mapping[str, Any]]
) -> list[str]:
    """Return the arguments that a reply made up: not in the schema, or a text that nobody said.

    A text is said if all its words stand in the conversation, or if it is among the allowed values or the enum.
    """
    known = {str(tool["name"]): tool["parameters"] for tool in tools}
    told = set(words(conversation))
    found = []
    for call in read_calls(reply, known).calls:
        properties = known.get(call.name, {}).get("properties", {})
        allowed = [value for each in expected for values in each["arguments"].values() for value in values]
        for name, value in (call.arguments or {}).items():
            if (call.name in known and name not in properties) or (
                isinstance(value, str)
                and not (
                    value in properties.get(name, {}).get("enum", ())
                    or any(same_value(value, each) for each in allowed)
                    or set(words(value)) <= told
                )
            ):
                found.append(name)
    return found
