"""Logged chat requests: read line by line, masked, and turned into what is put to both models."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pfh.errors import UserError, did_you_mean
from pfh.hooks.backends import Message
from pfh.hooks.samples import sample_id
from pfh.kit.workers import Workers
from pfh.text import storable

from pfh_evals.behaviour.tools import offered
from pfh_evals.traffic.masking import Rules, masked

LONGEST = 1 << 20
"""Bytes of a line: longer than any request that a model reads."""
_ROLES = {"system": "system", "developer": "system", "user": "user", "assistant": "assistant"}
_OF_TOOLS = ("tool", "function")
_SECONDS = 2.0


@dataclass(frozen=True, kw_only=True)
class Logged:
    """One request as it is put to a model."""

    id: str
    line: int
    messages: tuple[Message, ...]
    reply: str
    """What was answered then; empty where the log does not say."""
    tools: tuple[Mapping[str, Any], ...] = ()

    @property
    def asked(self) -> str:
        """What the user wrote last."""
        return self.messages[-1]["content"]


@dataclass(frozen=True, kw_only=True)
class Log:
    """A file of requests."""

    requests: tuple[Logged, ...]
    left_out: Mapping[str, int] = field(default_factory=dict)
    """Why, and how many."""
    masks: Mapping[str, int] = field(default_factory=dict)
    """What was masked, and how often."""


def read_requests(file: str, rules: Rules = ()) -> Log:
    """Read a file of requests, an object a line, and mask them.

    A line has "messages" (or a "request" that has them), may have "tools", and may end with what was answered: an
    assistant's turn, or a "response". Requests that hold images or results of tools are left out, and counted.

    Raises:
        UserError: the file cannot be read, or a line is no such request; the message says which and why.
    """
    path = Path(file).expanduser()
    found: dict[str, Logged] = {}
    left_out: Counter[str] = Counter()
    masks: Counter[str] = Counter()
    workers = Workers("pfh_evals.traffic.masking:masked", cpu_seconds=_SECONDS) if rules else None
    for number, row in _rows(path):
        where = f"{file}, line {number}"
        turns, why = _turns(row, where)
        if why:
            left_out[why] += 1
            continue
        reply = _reply(row)
        if turns[-1][0] == "assistant":
            said = turns.pop()[1]
            reply = reply or said
        if not turns or turns[-1][0] != "user":
            raise UserError(f"{where}: the request does not end with a turn of the user, so that nothing is asked.")
        texts = [*(text for _, text in turns), reply]
        clean = workers.call(texts, rules) if workers else masked(texts)
        if clean is None:
            left_out["a mask of yours did not end"] += 1
            continue
        masks.update(clean[1])
        logged = _logged(number, [role for role, _ in turns], clean[0], _tools(row, where))
        if logged.id in found:
            left_out["asked twice"] += 1
        found.setdefault(logged.id, logged)
    if not found:
        said = ", ".join(f"{count} {why}" for why, count in left_out.items())
        raise UserError(f"{file} holds no request that can be put to a model{f' ({said})' if said else ''}.")
    return Log(requests=tuple(found.values()), left_out=dict(left_out), masks=dict(masks))


def _rows(path: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    if not path.is_file():
        raise UserError(f"There is no file {path}: name a JSONL file of logged chat requests, one a line.")
    with path.open("rb") as stream:
        number = 0
        while line := stream.readline(LONGEST + 1):
            number += 1
            if len(line) > LONGEST:
                raise UserError(
                    f"{path}, line {number} is longer than {LONGEST >> 20} MiB, which no request is: is it one a line?"
                )
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise UserError(f"{path}, line {number} is no JSON ({str(error)[:100]}).") from error
            if not isinstance(row, dict):
                raise UserError(f"{path}, line {number} is no JSON object, which a request is.")
            yield number, row


def _turns(row: Mapping[str, Any], where: str) -> tuple[list[tuple[str, str]], str]:
    """Return (role, text) of the turns; or why the request is left out."""
    inner = row.get("request", row)
    messages = inner.get("messages") if isinstance(inner, dict) else None
    if not isinstance(messages, list) or not messages:
        raise UserError(f'{where} has no messages: a request is {{"messages": [{{"role": ..., "content": ...}}]}}.')
    turns = []
    for message in messages:
        role = message.get("role") if isinstance(message, dict) else None
        role = role if isinstance(role, str) else None
        calls = _calls(message) if isinstance(message, dict) else ""
        if role in _OF_TOOLS or (calls and message is not messages[-1]):
            return [], "with calls or results of tools"
        if role not in _ROLES:
            known = ", ".join((*_ROLES, *_OF_TOOLS))
            raise UserError(f"{where}: there is no role {role!r}.{did_you_mean(str(role), _ROLES)} Roles are {known}.")
        text = calls or _text(message.get("content"))
        if text is None:
            return [], "with images or other parts"
        turns.append((_ROLES[role], storable(text)))
    return turns, ""


def _calls(message: Mapping[str, Any]) -> str:
    """Return the calls of tools of an answer as JSON; empty where it makes none."""
    calls = message.get("tool_calls") or (
        [{"function": message["function_call"]}] if message.get("function_call") else []
    )
    return json.dumps({"tool_calls": calls}) if isinstance(calls, list) and calls else ""


def _text(content: object) -> str | None:
    """Return the text of a turn: a string, or parts of type text; None where it is something else."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return None
    parts = [part.get("text") if isinstance(part, dict) and part.get("type") == "text" else None for part in content]
    return None if any(not isinstance(part, str) for part in parts) else "\n".join(map(str, parts))


def _reply(row: Mapping[str, Any]) -> str:
    """Return what was answered, in the forms that logs have it."""
    found: Any = next((row[key] for key in ("response", "completion", "output", "answer") if key in row), "")
    if isinstance(found, dict) and isinstance(found.get("choices"), list) and found["choices"]:
        first = found["choices"][0]
        found = first.get("message", {}) if isinstance(first, dict) else ""
    if isinstance(found, dict):
        found = _calls(found) or found.get("content", "")
    return storable(found) if isinstance(found, str) else ""


def _tools(row: Mapping[str, Any], where: str) -> tuple[Mapping[str, Any], ...]:
    from jsonschema import Draft202012Validator
    from jsonschema.exceptions import SchemaError

    inner = row.get("request", row)
    listed = inner.get("tools") or row.get("tools") or []
    found = []
    for each in listed if isinstance(listed, list) else [listed]:
        tool = each.get("function", each) if isinstance(each, dict) else None
        if not isinstance(tool, dict) or not isinstance(tool.get("name"), str):
            raise UserError(f"{where}: a tool has no name.")
        try:
            Draft202012Validator.check_schema(tool.get("parameters", {}))
        except (SchemaError, RecursionError) as error:
            said = str(error).splitlines()[0][:80]
            raise UserError(f"{where}: the parameters of {tool['name']} are no JSON schema ({said}).") from None
        found.append({"description": "", "parameters": {"type": "object"}, **tool})
    return tuple(found)


def _logged(line: int, roles: Sequence[str], texts: Sequence[str], tools: tuple[Mapping[str, Any], ...]) -> Logged:
    content = list(texts[:-1])
    if tools:
        content[-1] = offered(tools, content[-1])
    messages: tuple[Message, ...] = tuple(
        {"role": role, "content": text}  # type: ignore[typeddict-item]  # one of three
        for role, text in zip(roles, content, strict=True)
    )
    key = sample_id("traffic", "1", {"messages": messages})
    return Logged(id=key, line=line, messages=messages, reply=texts[-1], tools=tools)
