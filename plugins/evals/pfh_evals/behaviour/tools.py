"""Tool calls: is one made, the right one, with the right arguments, none without need, and nothing made up?"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

from pfh_evals.behaviour import bfcl, native_tools
from pfh_evals.behaviour.asks import DATA, Ask, Generated, Loaded, Read, ask, chat
from pfh_evals.behaviour.tool_calls import NO_CALL, read_calls
from pfh_evals.behaviour.tool_verdicts import CHOSEN, Verdict, invented, verdict

if TYPE_CHECKING:
    from pfh_evals.behaviour.asks import Spec

FITS, NONE_FITS, LACKS = "fits", "none fits", "lacks a value"
_HEAD = """You can call these tools:
{tools}
If one of them helps and the request says all that it needs, reply with one JSON object and nothing else:
{{"name": ..., "arguments": {{...}}}}. Otherwise reply NONE.

Request: {asked}"""
_WORKED = {"name": "lamp_switch", "arguments": {"room": "kitchen", "on": True}}
_WORKED_TOOL = {
    "name": "lamp_switch",
    "description": "Switch the lamp of a room on or off.",
    "parameters": {
        "type": "object",
        "properties": {"room": {"type": "string"}, "on": {"type": "boolean"}},
        "required": ["room", "on"],
        "additionalProperties": False,
    },
}


@cache
def catalogue() -> dict[str, Any]:
    """Return the family's own tools and cases."""
    found: dict[str, Any] = json.loads((DATA / "tools.json").read_text(encoding="utf-8"))
    return found


def tools_of(names: Sequence[str]) -> list[dict[str, Any]]:
    """Return the family's own tools of these names, in the order given."""
    by_name = {tool["name"]: tool for tool in catalogue()["tools"]}
    return [by_name[name] for name in names]


def conversation(tools: Sequence[Mapping[str, Any]], asked: str) -> tuple[Any, ...]:
    """Return the chat: a worked call and a worked NONE as turns, then the request, each with its tools."""
    example = _HEAD.format(tools=json.dumps(_WORKED_TOOL), asked="Turn on the lamp in the kitchen.")
    return chat(
        example,
        json.dumps(_WORKED),
        _HEAD.format(tools=json.dumps(_WORKED_TOOL), asked="How are you?"),
        NO_CALL,
        offered(tools, asked),
    )


def offered(tools: Sequence[Mapping[str, Any]], asked: str) -> str:
    """Return a request with the tools that it may be answered by."""
    return _HEAD.format(tools="\n".join(json.dumps(tool) for tool in tools), asked=asked)


def requests(spec: Spec) -> Loaded:
    """Return every case of the source that the options name.

    Raises:
        DataUnavailableError: the cases cannot be had.
    """
    if spec.options.tool_cases == "bfcl":
        cases, source = bfcl.cases()
    else:
        cases, source = [_case(row) for row in catalogue()["cases"]], "built in"
    if spec.options.tools == "native":
        return native_tools.asks(cases, getattr(spec, "engine", None)), source
    return [ask("tools", case["kind"], conversation(case["tools"], case["asked"]), case) for case in cases], source


def _case(row: Mapping[str, Any]) -> dict[str, Any]:
    expected = [{"name": row["tool"], "arguments": row["arguments"]}] if row["kind"] == FITS else []
    return {"kind": row["kind"], "asked": row["ask"], "tools": tools_of(row["offered"]), "expected": expected}


def _only(*kinds: str) -> Callable[[Spec], Loaded]:
    def load(spec: Spec) -> Loaded:
        asks, source = requests(spec)
        return [each for each in asks if each.category in kinds], source

    return load


def read_verdict(right: Sequence[Verdict]) -> Callable[[Ask, str], Read]:
    """Return the check that scores 1 for the verdicts of `right`."""

    def read(item: Ask, reply: str) -> Read:
        case = item.case
        found = verdict(reply, case["asked"], case["expected"], case["tools"])
        written = read_calls(reply, [tool["name"] for tool in case["tools"]])
        return Read(
            score=float(found in right),
            label=found,
            target=json.dumps(case["expected"]) if case["expected"] else NO_CALL,
            unreadable=found == "unreadable call",
            extra={"notation": written.notation},
        )

    return read


def read_invented(item: Ask, reply: str) -> Read:
    """Score 1 where an argument was made up; a call that cannot be read has no score."""
    case = item.case
    if read_calls(reply, [tool["name"] for tool in case["tools"]]).kind == "attempt":
        return Read(score=None, label="unreadable call", unreadable=True)
    names = invented(reply, case["asked"], case["expected"], case["tools"])
    return Read(score=float(bool(names)), label=", ".join(names) or "nothing", target="nothing")


TOOLS = (
    Generated(
        name="tool-choice",
        group="tools",
        metric="accuracy",
        higher_is_better=True,
        load=_only(FITS),
        read=read_verdict(CHOSEN),
        version="2",
    ),
    Generated(
        name="tool-call",
        group="tools",
        metric="accuracy",
        higher_is_better=True,
        load=_only(FITS),
        read=read_verdict(("correct",)),
        version="2",
    ),
    Generated(
        name="tool-abstention",
        group="tools",
        metric="abstention_rate",
        higher_is_better=True,
        load=_only(NONE_FITS, LACKS),
        read=read_verdict(("abstained",)),
        version="2",
    ),
    Generated(
        name="tool-invented",
        group="tools",
        metric="invented_argument_rate",
        higher_is_better=False,
        load=_only(FITS, NONE_FITS, LACKS),
        read=read_invented,
        version="2",
        of_silence=None,
    ),
)
