"""What judges in a process of its own (`pfh.kit.workers`), as patterns, schemas and functions may take any time."""

from __future__ import annotations

import hashlib
import importlib
import inspect
import json
import re
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

_SAID = 200
"""Characters of an error that are passed on."""


def matches(pattern: str, text: str) -> bool:
    """Say whether all of `text` is what the expression describes."""
    return re.fullmatch(pattern, text, re.DOTALL) is not None


def conforms(schema: str, text: str) -> bool:
    """Say whether `text` is JSON that the schema, JSON too, accepts."""
    try:
        given = json.loads(text, parse_constant=_no_number)
    except ValueError:
        return False
    return bool(_validator(schema).is_valid(given))


def why_no_pattern(pattern: str, _: str) -> str:
    """Return why `pattern` is no regular expression; an empty string where it is one."""
    try:
        re.compile(pattern)
    except re.error as error:
        return f"is no regular expression ({error})"
    return ""


def why_no_schema(schema: str, _: str) -> str:
    """Return why `schema` is no JSON schema; an empty string where it is one."""
    try:
        _validator(schema)
    except ValueError as error:
        return f"is no JSON schema ({str(error)[:_SAID]})"
    return ""


def describe(target: str, folder: str) -> dict[str, str]:
    """Return what a user's function is made of: "code", a hash of its module, or "error"."""
    try:
        function = _function(target, folder)
        file = inspect.getsourcefile(inspect.unwrap(function)) or ""
        code = Path(file).read_bytes() if file else b""
    except Exception as error:  # noqa: BLE001 - an import of anybody's code may raise anything
        return {"error": f"{type(error).__name__}: {str(error)[:_SAID]}"}
    return {"code": hashlib.sha256(code).hexdigest()[:16]}


def call(target: str, folder: str, prompt: str, completion: str, answer: str, row: str) -> dict[str, Any]:
    """Return the "reward" that a user's function gives a completion, or the "error" that it raised.

    It is called with those of prompt, completion, answer (a text, or a list of them) and row that it has as parameters.
    """
    try:
        function = _function(target, folder)
        answers = json.loads(answer)
        given = {
            "prompt": prompt,
            "completion": completion,
            "answer": answers[0] if len(answers) == 1 else answers or None,
            "row": json.loads(row) if row else {},
        }
        wanted = inspect.signature(function).parameters.values()
        takes_all = any(parameter.kind is parameter.VAR_KEYWORD for parameter in wanted)
        names = {parameter.name for parameter in wanted}
        reward = float(function(**{name: value for name, value in given.items() if takes_all or name in names}))
    except Exception as error:  # noqa: BLE001 - anybody's code may raise anything
        return {"error": f"{type(error).__name__}: {str(error)[:_SAID]}"}
    if not 0 <= reward <= 1:
        return {"error": f"it returned {reward}, and a reward is from 0 to 1"}
    return {"reward": reward}


@cache
def _function(target: str, folder: str) -> Callable[..., Any]:
    if folder not in sys.path:
        sys.path.append(folder)  # where the user stands; installed packages come first
    module, _, name = target.partition(":")
    function = getattr(importlib.import_module(module), name)
    if not callable(function):
        raise TypeError(f"{target} cannot be called")
    return function  # type: ignore[no-any-return] # callable() tells mypy no more


@cache
def _validator(schema: str) -> Any:  # noqa: ANN401 - a class chosen by the schema
    import jsonschema

    try:
        given = json.loads(schema)
        if not isinstance(given, dict):
            raise ValueError("it is no object")
        kind = jsonschema.validators.validator_for(given)
        kind.check_schema(given)
    except jsonschema.exceptions.SchemaError as error:
        raise ValueError(error.message) from None
    return kind(given)


def _no_number(name: str) -> None:
    raise ValueError(f"{name} is no JSON")
