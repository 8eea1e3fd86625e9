"""Reads a reply as tool calls, whatever the notation; what looks like a call and cannot be read is its own kind."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Literal

Notation = Literal["json", "fenced json", "tagged json", "python", "action", "none"]
_FENCE = re.compile(r"```[\w-]*\s*\n?(.*?)```", re.DOTALL)
_TAG = re.compile(r"<tool_call>(.*?)(?:</tool_call>|\Z)", re.DOTALL)
_FUNCTION = re.compile(r"<function=([\w.-]+)>(.*?)(?:</function>|\Z)", re.DOTALL)
_ACTION = re.compile(r"^Action:[ \t]*([\w.-]+)[ \t]*\nAction Input:[ \t]*(\{.*?\})[ \t]*$", re.MULTILINE | re.DOTALL)
_LOOKS = re.compile(
    r"\"(?:name|arguments|parameters|tool|function)\"\s*:|</?tool_call|</?function|^Action(?: Input)?:"
    r"|\b[A-Za-z_]\w*(?:_\w+|\.\w+)+\s*\(",
    re.MULTILINE,
)
_SCHEMA = {"type", "properties"}
"""Keys of a tool's own schema, which is no argument."""
_NAMES = ("name", "tool", "function", "tool_name")
_ARGUMENTS = ("arguments", "parameters", "args", "input")
_LONGEST = 20_000
"""Characters that are read of a reply."""
NO_CALL = "NONE"


@dataclass(frozen=True)
class Call:
    """One call as it was written."""

    name: str
    arguments: Mapping[str, Any] | None
    """None where they are no mapping of names to values."""


@dataclass(frozen=True, kw_only=True)
class Written:
    """What a reply holds of calls."""

    kind: Literal["calls", "attempt", "none"]
    calls: tuple[Call, ...] = ()
    notation: Notation = "none"


def read_calls(reply: str, tools: Collection[str] = ()) -> Written:
    """Return the calls of a reply.

    Read are JSON objects with a name and arguments (bare, in a list, in a fence, in `<tool_call>`, under "function" or
    "tool_calls", with arguments as JSON in a string, with a tool's name as their only key), `<function=NAME>` and
    "Action:" with such arguments, and calls of Python with literal keyword arguments, dotted names among them. A tool
    that is described again is not called, and a JSON call of NONE is none.

    Args:
        reply: what the model said.
        tools: names that look like a call where a bracket follows.
    """
    body = reply.strip()[:_LONGEST]
    tagged, fenced = _TAG.findall(body), _FENCE.findall(body)
    pieces = tagged or fenced or [body]
    named_first = [*_FUNCTION.findall(body), *_ACTION.findall(body)]
    if named_first:
        written = tuple(Call(name, _mapping(arguments)) for name, arguments in named_first)
        return Written(kind="calls", calls=written, notation="tagged json" if _FUNCTION.search(body) else "action")
    calls = [call for piece in pieces for call in _json_calls(piece, tools)]
    if calls and all(call.name.upper() == NO_CALL and not call.arguments for call in calls):
        return Written(kind="none")
    if calls:
        notation: Notation = "tagged json" if tagged else "fenced json" if fenced else "json"
        return Written(kind="calls", calls=tuple(calls), notation=notation)
    spelled = [call for piece in pieces for call in _python_calls(piece)]
    if spelled:
        return Written(kind="calls", calls=tuple(spelled), notation="python")
    named = any(re.search(rf"{re.escape(tool)}[\"']?\s*[({{:,]", body) for tool in tools)
    return Written(kind="attempt" if named or _LOOKS.search(body) else "none")


def _json_calls(text: str, tools: Collection[str]) -> list[Call]:
    decoder, found, place = json.JSONDecoder(), list[Call](), 0
    while (start := text.find("{", place)) >= 0:
        try:
            value, place = decoder.raw_decode(text, start)
        except (ValueError, RecursionError):
            place = start + 1
            continue
        found += _of_object(value, tools)
    return found


def _of_object(value: Mapping[str, Any], tools: Collection[str]) -> list[Call]:
    inner, several = value.get("function"), value.get("tool_calls")
    if isinstance(several, list):
        return [call for each in several if isinstance(each, dict) for call in _of_object(each, tools)]
    if isinstance(inner, dict):
        return _of_object(inner, tools)
    name = next((value[key] for key in _NAMES if isinstance(value.get(key), str)), None)
    if name is None:
        (only, inside), *more = value.items() or [("", None)]
        return [Call(only, inside)] if only in tools and isinstance(inside, dict) and not more else []
    arguments: Any = next((value[key] for key in _ARGUMENTS if key in value), {} if len(value) == 1 else None)
    if "description" in value or (isinstance(arguments, dict) and set(arguments) >= _SCHEMA):
        return []
    return [Call(name, _mapping(arguments))]


def _mapping(arguments: object) -> Mapping[str, Any] | None:
    """Return arguments, which may be JSON in a string; None where they are no mapping."""
    if isinstance(arguments, str):
        try:
            arguments = json.loads(arguments)
        except (ValueError, RecursionError):
            return None
    return arguments if isinstance(arguments, dict) else None


def _python_calls(text: str) -> list[Call]:
    whole = _of_expression(text.strip().strip("`").strip())
    if whole:
        return whole
    return [call for line in text.splitlines() for call in _of_expression(line.strip().rstrip(";"))]


def _of_expression(text: str) -> list[Call]:
    try:
        value = ast.parse(text, mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return []
    if isinstance(value, ast.Call) and isinstance(value.func, ast.Name) and value.func.id == "print":
        value = value.args[0] if len(value.args) == 1 and not value.keywords else value
    nodes = value.elts if isinstance(value, ast.List | ast.Tuple) else [value]
    calls = []
    for node in nodes:
        if not isinstance(node, ast.Call) or node.args or any(keyword.arg is None for keyword in node.keywords):
            return []
        try:
            arguments = {str(keyword.arg): ast.literal_eval(keyword.value) for keyword in node.keywords}
            name = ast.unparse(node.func)
        except (ValueError, RecursionError, TypeError):
            return []
        if not re.fullmatch(r"[A-Za-z_][\w.]*", name):
            return []
        calls.append(Call(name, arguments))
    return calls
