"""The rules that score a completion. They read it as text and as JSON, and never run it."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Literal

Form = Literal["words", "list", "free"]

_WORD = re.compile(r"\w+(?:['’.-]\w+)*")
_FENCE = re.compile(r"```(?:json)?\s*\n(.*?)\n?```", re.DOTALL)
_LONGEST_LIST = 10_000
"""Characters beyond which a completion is no list: keeps the parser from deep or endless input."""


@dataclass(frozen=True, kw_only=True)
class Found:
    """What a checker found in one completion."""

    counted: int | None
    """Words, or items of the list; None where there is no list."""
    extracted: str | None
    """The answer in the form asked for; None where the completion has none."""
    score: float
    """1 or 0 where a form was asked for, the number of words where it was not."""


def check(form: Form, asked: int | None, completion: str, *, fenced: bool = True) -> Found:
    """Score one completion: exactly `asked` words, or a JSON list of exactly `asked` strings."""
    if form == "list":
        items = json_list(completion, fenced=fenced)
        if items is None:
            return Found(counted=None, extracted=None, score=0.0)
        return Found(counted=len(items), extracted=json.dumps(items), score=float(len(items) == asked))
    counted = count_words(completion)
    text = completion.strip() or None
    if form == "free":
        return Found(counted=counted, extracted=text, score=float(counted))
    return Found(counted=counted, extracted=text, score=float(counted == asked))


def count_words(text: str) -> int:
    """Count words: runs of letters and digits; "don't", "well-known" and "3.14" are one word each."""
    return len(_WORD.findall(text))


def json_list(text: str, *, fenced: bool) -> list[str] | None:
    """Return the completion as a list of strings, or None when it is anything else or says anything beside it."""
    body = text.strip()
    fence = _FENCE.fullmatch(body)
    if fence and fenced:
        body = fence.group(1)
    if len(body) > _LONGEST_LIST:
        return None
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        return None
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return value
    return None
