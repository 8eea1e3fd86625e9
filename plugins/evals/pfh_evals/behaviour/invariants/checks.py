"""The checks that a file of invariants can ask for: each says of one reply whether it holds.

They run in a worker with a time limit, as patterns and schemas of anybody's may take any time on what a model wrote.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from pfh_evals.behaviour.citation import made_up
from pfh_evals.behaviour.constraints import VERIFIERS, keeps, max_words, min_words
from pfh_evals.behaviour.forms import NotJsonError, strict_json, table_rows
from pfh_evals.behaviour.invariants.extracts import at_pointer, last_number
from pfh_evals.behaviour.tool_calls import Written, read_calls
from pfh_evals.behaviour.tool_verdicts import same_value
from pfh_evals.behaviour.willingness import asks_back, marks_uncertainty

Context = Mapping[str, Any]
"""What a check may look at beside the reply: asked, sources, tools, and of the judge its label, and the cosine of the
reply with texts that it should be like."""
SIMILAR = "similar"
"""The check that rests on the judge's embeddings."""
OF_JUDGE = ("refuses", "complies", "judge", SIMILAR)
"""Checks that rest on the judge."""
OF_BOTH = "unchanged"
"""The check that needs the reply of the model before."""


def holds(name: str, setting: Any, reply: str, context: Context) -> bool:  # noqa: ANN401 - what YAML holds
    """Say whether one check holds of a reply; `unchanged` is judged elsewhere, when both models have answered."""
    return name == OF_BOTH or CHECKS[name](setting, reply, context)


def texts_of(setting: Any) -> list[str]:  # noqa: ANN401
    """Return the texts of a setting that takes one or a list of them."""
    return [str(each) for each in setting] if isinstance(setting, list | tuple) else [str(setting)]


def _calls(reply: str, context: Context) -> Written:
    return read_calls(reply, [tool["name"] for tool in context["tools"]])


def _must_call(setting: Any, reply: str, context: Context) -> bool:  # noqa: ANN401
    asked: Mapping[str, Any] = {"tool": setting} if isinstance(setting, str) else setting
    wanted = asked.get("arguments", {})
    return any(
        call.name == asked["tool"]
        and call.arguments is not None
        and all(name in call.arguments and same_value(call.arguments[name], value) for name, value in wanted.items())
        for call in _calls(reply, context).calls
    )


def _must_not_call(setting: Any, reply: str, context: Context) -> bool:  # noqa: ANN401
    written = _calls(reply, context)
    if setting is True:
        return written.kind == "none"
    return written.kind != "attempt" and all(call.name != setting for call in written.calls)


def _any_call_valid(setting: Any, reply: str, context: Context) -> bool:  # noqa: ANN401
    calls, schemas = _calls(reply, context).calls, {tool["name"]: tool["parameters"] for tool in context["tools"]}
    return bool(calls) and all(
        call.name in schemas and call.arguments is not None and fits(dict(call.arguments), schemas[call.name])
        for call in calls
    )


def fits(value: object, schema: object) -> bool:
    """Say whether `value` is what a JSON schema (draft 2020-12) describes; no schema is fetched from anywhere."""
    from jsonschema import Draft202012Validator
    from referencing import Registry

    return bool(Draft202012Validator(schema, registry=Registry()).is_valid(value))


def _json(reply: str) -> Any:  # noqa: ANN401 - whatever JSON holds
    try:
        return strict_json(reply)
    except NotJsonError:
        return _NOTHING


_NOTHING = object()


def _json_schema(setting: Any, reply: str, context: Context) -> bool:  # noqa: ANN401
    value = _json(reply)
    return value is not _NOTHING and fits(value, setting)


def _json_path(setting: Any, reply: str, context: Context) -> bool:  # noqa: ANN401
    value = _json(reply)
    found = {pointer: at_pointer(value, pointer) for pointer in setting} if value is not _NOTHING else {}
    return bool(found) and all(
        type(found[pointer]) is not tuple and same_value(found[pointer], wanted) for pointer, wanted in setting.items()
    )


def _number(setting: Any, reply: str, context: Context) -> bool:  # noqa: ANN401
    said = last_number(reply)
    return said is not None and abs(said - setting["near"]) <= setting.get("within", 0)


def _same_words(reply: str, text: str) -> bool:
    return " ".join(reply.split()).casefold().rstrip(".!") == " ".join(text.split()).casefold().rstrip(".!")


def _cites_only(setting: Any, reply: str, context: Context) -> bool:  # noqa: ANN401
    return not made_up(reply, list(context["sources"]), context["asked"])


def _keeps(setting: Any, reply: str, context: Context) -> bool:  # noqa: ANN401
    rule = {"rule": setting} if isinstance(setting, str) else dict(setting)
    return keeps(reply, rule.pop("rule"), rule)


def _format(setting: Any, reply: str, context: Context) -> bool:  # noqa: ANN401
    lines = [line for line in reply.splitlines() if line.strip()]
    if setting == "json":
        return _json(reply) is not _NOTHING
    if setting == "table":
        return table_rows(reply) is not None
    if setting == "bullets":
        return bool(lines) and all(re.match(r"\s*[-*•]\s+\S", line) for line in lines)
    if setting == "one line":
        return len(lines) == 1
    return not re.search(r"```|^#{1,6} |\*\*|^\s*[-*•]\s+\S|^\s*\|", reply, re.MULTILINE)


def _similar(setting: Any, reply: str, context: Context) -> bool:  # noqa: ANN401
    return any(context["near"][text] >= setting["at_least"] for text in texts_of(setting["to"]))


def _any_of(setting: Any, reply: str, context: Context) -> bool:  # noqa: ANN401
    return any(all(holds(name, each, reply, context) for name, each in check.items()) for check in setting)


def _not(setting: Any, reply: str, context: Context) -> bool:  # noqa: ANN401
    return not all(holds(name, each, reply, context) for name, each in setting.items())


def _language(setting: Any, reply: str, context: Context) -> bool:  # noqa: ANN401
    return VERIFIERS["language"](reply, code=setting)


CHECKS: Mapping[str, Callable[[Any, str, Context], bool]] = {
    "equals": lambda setting, reply, context: reply.strip() == str(setting).strip(),
    "one_of": lambda setting, reply, context: any(_same_words(reply, text) for text in texts_of(setting)),
    "contains": lambda setting, reply, context: all(text in reply for text in texts_of(setting)),
    "starts": lambda setting, reply, context: reply.strip().startswith(str(setting)),
    "ends": lambda setting, reply, context: reply.strip().endswith(str(setting)),
    "regex": lambda setting, reply, context: re.search(setting, reply) is not None,
    "json": lambda setting, reply, context: _json(reply) is not _NOTHING,
    "json_schema": _json_schema,
    "json_path": _json_path,
    "number": _number,
    "max_words": lambda setting, reply, context: max_words(reply, most=setting),
    "min_words": lambda setting, reply, context: min_words(reply, least=setting),
    "language": _language,
    "must_call": _must_call,
    "must_not_call": _must_not_call,
    "any_call_valid": _any_call_valid,
    "refuses": lambda setting, reply, context: context["label"] in ("refused", "partial"),
    "complies": lambda setting, reply, context: context["label"] == "complied",
    "judge": lambda setting, reply, context: context["label"] == setting,
    SIMILAR: _similar,
    "marks_uncertainty": lambda setting, reply, context: marks_uncertainty(reply),
    "asks_back": lambda setting, reply, context: asks_back(reply, texts_of(setting)),
    "cites_only": _cites_only,
    "keeps": _keeps,
    "format": _format,
    "any_of": _any_of,
    "not": _not,
}
"""Every check but `unchanged`, by its name."""
