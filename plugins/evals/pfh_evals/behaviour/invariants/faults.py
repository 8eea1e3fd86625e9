"""What is wrong with a check as it is written, before any model is asked anything."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, get_args

from pfh.errors import did_you_mean
from pfh.hooks.judges import Label

from pfh_evals.behaviour.constraints import VERIFIERS
from pfh_evals.behaviour.invariants.checks import CHECKS, OF_BOTH, SIMILAR
from pfh_evals.behaviour.invariants.extracts import WAYS

FORMATS = ("json", "table", "bullets", "one line", "plain")


def fault_of(check: object, tools: Sequence[str]) -> str:
    """Return what is wrong with one check, a mapping of its name to its setting; empty where nothing is."""
    if not isinstance(check, dict) or len(check) != 1:
        return "a check is one name with its setting, such as `- contains: yes`"
    ((name, setting),) = check.items()
    if name in ("any_of", "not"):
        return _nested(name, setting, tools)
    if name not in _FAULTS:
        return f"there is no check {name!r}.{did_you_mean(str(name), [*CHECKS, OF_BOTH])}"
    said = _FAULTS[name](setting)
    if not said and name in ("must_call", "must_not_call", "any_call_valid"):
        said = _of_tools(setting, tools)
    return f"{name}: {said}" if said else ""


def fault_of_way(way: object) -> str:
    """Return what is wrong with an `extract`; empty where nothing is."""
    if not isinstance(way, dict) or len(way) != 1:
        return f"extract takes one of {', '.join(WAYS)}, such as {{json: /amount}}"
    ((kind, setting),) = way.items()
    if kind not in WAYS:
        return f"extract knows no {kind!r}.{did_you_mean(str(kind), WAYS)}"
    if kind == "json" and not (isinstance(setting, str) and setting.startswith("/")):
        return "extract: json takes a pointer, such as /amount"
    if kind == "regex":
        return _pattern(setting)
    return "" if kind == "json" or setting is True else f"extract: {kind} takes true"


def _nested(name: str, setting: object, tools: Sequence[str]) -> str:
    inside = setting if name == "any_of" else [setting]
    if not isinstance(inside, list) or not inside:
        return f"{name} takes {'a list of checks' if name == 'any_of' else 'one check'}"
    for each in inside:
        if isinstance(each, dict) and OF_BOTH in each:
            return f"{OF_BOTH} cannot stand inside {name}"
        if said := fault_of(each, tools):
            return f"{name}: {said}"
    return ""


def _of_tools(setting: Any, tools: Sequence[str]) -> str:  # noqa: ANN401
    if not tools:
        return "it needs tools: give a file of them as `tools:`"
    named = setting if isinstance(setting, str) else setting.get("tool") if isinstance(setting, dict) else None
    return "" if named is None or named in tools else f"there is no tool {named!r}.{did_you_mean(named, tools)}"


def _text(setting: object) -> str:
    if isinstance(setting, bool):
        return "it takes a text, and YAML reads yes, no, on and off as true and false: put it in quotes"
    return "" if isinstance(setting, str) and setting.strip() else "it takes a text that is not empty"


def _texts(setting: object) -> str:
    listed = setting if isinstance(setting, list) else [setting]
    if not listed:
        return "it takes a text or a list of texts"
    return next(filter(None, map(_text, listed)), "")


def _list(setting: object) -> str:
    return _texts(setting) if isinstance(setting, list) else "it takes a list of texts"


def _true(setting: object) -> str:
    return "" if setting is True else "it takes true; for the opposite write `not:`"


def _whole(setting: object) -> str:
    fine = isinstance(setting, int) and not isinstance(setting, bool) and setting > 0
    return "" if fine else "it takes a whole number above 0"


def _pattern(setting: object) -> str:
    if _text(setting):
        return _text(setting)
    try:
        re.compile(str(setting))
    except (re.error, OverflowError, RecursionError) as error:
        return f"{setting!r} is no regular expression ({error})"
    return ""


def schema_fault(setting: object) -> str:
    """Return why something is no JSON schema; empty where it is one."""
    from jsonschema import Draft202012Validator
    from jsonschema.exceptions import SchemaError

    if not isinstance(setting, dict):
        return "a JSON schema is a mapping"
    try:
        Draft202012Validator.check_schema(setting)
    except SchemaError as error:
        return f"it is no JSON schema ({error.message[:200]})"
    except RecursionError:
        return "it is no JSON schema (it is nested too deep)"
    return ""


def _pointers(setting: object) -> str:
    fine = isinstance(setting, dict) and setting and all(str(key).startswith("/") for key in setting)
    return "" if fine else "it takes pointers with their values, such as {/amount: 12}"


def _near(setting: Any) -> str:  # noqa: ANN401
    numbers = isinstance(setting, dict) and all(
        isinstance(value, int | float) and not isinstance(value, bool) for value in setting.values()
    )
    fine = numbers and "near" in setting and set(setting) <= {"near", "within"} and setting.get("within", 0) >= 0
    return "" if fine else "it takes {near: NUMBER, within: NUMBER}"


def _call(setting: object) -> str:
    if isinstance(setting, str):
        return ""
    fine = (
        isinstance(setting, dict)
        and isinstance(setting.get("tool"), str)
        and set(setting) <= {"tool", "arguments"}
        and isinstance(setting.get("arguments", {}), dict)
    )
    return "" if fine else "it takes the name of a tool, or {tool: NAME, arguments: {...}}"


def _rule(setting: object) -> str:
    rule = {"rule": setting} if isinstance(setting, str) else setting
    if not isinstance(rule, dict) or not isinstance(rule.get("rule"), str):
        return "it takes the name of a rule, or {rule: NAME, ...} with its settings"
    name = rule["rule"]
    if name not in VERIFIERS:
        return f"there is no rule {name!r}.{did_you_mean(name, VERIFIERS)} There is {', '.join(VERIFIERS)}"
    try:
        inspect.signature(VERIFIERS[name]).bind("", **{key: value for key, value in rule.items() if key != "rule"})
    except TypeError as error:
        return f"the rule {name}: {error}"
    return ""


def _one_of(known: Sequence[str]) -> Callable[[object], str]:
    def fault(setting: object) -> str:
        return "" if setting in known else f"it takes one of {', '.join(known)}.{did_you_mean(str(setting), known)}"

    return fault


def _sources(setting: object) -> str:
    return "" if setting == "sources" else "it takes `sources`, which each prompt then has"


def _like(setting: Any) -> str:  # noqa: ANN401
    if not isinstance(setting, dict) or set(setting) != {"to", "at_least"}:
        return "it takes {to: TEXT or a list of texts, at_least: COSINE}"
    least = setting["at_least"]
    if isinstance(least, bool) or not isinstance(least, int | float) or not 0 < least < 1:
        return f"at_least is a cosine between 0 and 1, not {least!r}"
    return _texts(setting["to"])


def _unchanged(setting: object) -> str:
    if setting is True:
        return ""
    if not isinstance(setting, dict) or set(setting) != {"extract"}:
        return "it takes true, or {extract: {json: /amount}}"
    return fault_of_way(setting["extract"])


def _tool_or_true(setting: object) -> str:
    return "" if setting is True or isinstance(setting, str) else "it takes true, or the name of a tool"


_FAULTS: Mapping[str, Callable[[Any], str]] = {
    "equals": _text,
    "one_of": _list,
    "contains": _texts,
    "starts": _text,
    "ends": _text,
    "regex": _pattern,
    "json": _true,
    "json_schema": schema_fault,
    "json_path": _pointers,
    "number": _near,
    "max_words": _whole,
    "min_words": _whole,
    "language": _text,
    "must_call": _call,
    "must_not_call": _tool_or_true,
    "any_call_valid": _true,
    "refuses": _true,
    "complies": _true,
    "judge": _one_of(get_args(Label)),
    SIMILAR: _like,
    "marks_uncertainty": _true,
    "asks_back": _texts,
    "cites_only": _sources,
    "keeps": _rule,
    "format": _one_of(FORMATS),
    OF_BOTH: _unchanged,
}
