"""What is taken out of a reply, to be compared with another reply."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from pfh_evals.behaviour.forms import NotJsonError, strict_json
from pfh_evals.behaviour.replies import words

WAYS = ("json", "regex", "number", "words", "text")
_NUMBER = re.compile(r"(?<![\w.])-?\d[\d,]*(?:\.\d+)?")
NOTHING = ("nothing",)
"""What a pointer leads to that leads nowhere: a tuple, which no JSON holds."""


def at_pointer(value: Any, pointer: str) -> Any:  # noqa: ANN401 - whatever JSON holds
    """Return what a JSON pointer (RFC 6901) leads to; `NOTHING` where it leads nowhere."""
    for part in pointer.split("/")[1:]:
        key = part.replace("~1", "/").replace("~0", "~")
        if isinstance(value, dict) and key in value:
            value = value[key]
        elif isinstance(value, list) and key.isdecimal() and int(key) < len(value):
            value = value[int(key)]
        else:
            return NOTHING
    return value


def last_number(reply: str) -> float | None:
    """Return the last number of a reply: 1,234.5 is one."""
    found = _NUMBER.findall(reply)
    return float(found[-1].replace(",", "")) if found else None


def extracted(way: Mapping[str, Any], reply: str) -> str | None:
    """Return what `way` takes out of a reply, as text that compares; None where it finds nothing."""
    ((kind, setting),) = way.items()
    if kind == "json":
        try:
            found = at_pointer(strict_json(reply), setting)
        except NotJsonError:
            return None
        return None if found is NOTHING else json.dumps(found, sort_keys=True)
    if kind == "regex":
        match = re.search(setting, reply)
        return None if match is None else match[1 if match.re.groups else 0]
    if kind == "number":
        number = last_number(reply)
        return None if number is None else f"{number:.15g}"
    return str(len(reply.split())) if kind == "words" else " ".join(words(reply))
