"""Answer formats: which one a completion has, and whether it has the one that was asked for."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pfh_evals.policy.prompts import Prompt

FORMATS = ("json", "boxed", "tags", "code fence", "list", "plain", "empty")
"""The first that fits is a completion's format."""
_FENCE = re.compile(r"```[^\n]*\n(.*?)```", re.DOTALL)
_TAGS = re.compile(r"<(\w+)>.*?</\1>", re.DOTALL)
_ITEM = re.compile(r"^\s*([-*+]|\d+[.)])\s+\S", re.MULTILINE)
_TYPES: dict[str, Any] = {"str": str, "int": int, "bool": bool, "list[str]": list[str]}


def format_of(text: str) -> str:
    """Return which of `FORMATS` `text` has; a list has at least two items."""
    if not text.strip():
        return "empty"
    if isinstance(_object(text), dict | list):
        return "json"
    if "\\boxed{" in text:
        return "boxed"
    if _TAGS.search(text):
        return "tags"
    if _FENCE.search(text):
        return "code fence"
    return "list" if len(_ITEM.findall(text)) > 1 else "plain"


def adheres(prompt: Prompt, text: str) -> bool:
    """Say whether `text` has the format that `prompt` asks for; of JSON, that it parses and is an object."""
    if prompt.form == "json":
        return isinstance(_object(text), dict)
    if prompt.form == "tags":
        return re.search(r"<answer>\s*\S.*?</answer>", text, re.DOTALL) is not None
    if prompt.form == "boxed":
        return re.search(r"\\boxed\{\s*[^{}\s]", text) is not None
    return _FENCE.search(text) is not None


def fits_schema(fields: Mapping[str, str], text: str) -> bool:
    """Say whether `text` is one JSON object with exactly `fields`, each of its type; a code fence around it may be."""
    from pydantic import ConfigDict, ValidationError, create_model

    columns: dict[str, Any] = {name: (_TYPES[kind], ...) for name, kind in fields.items()}
    schema = create_model("Asked", __config__=ConfigDict(strict=True, extra="forbid"), **columns)
    try:
        schema.model_validate_json(_unfenced(text).encode("utf-8", "replace"))
    except ValidationError:
        return False
    return True


def entropy(formats: Sequence[str]) -> float:
    """Return the entropy of the distribution over formats, in bits: 0 where all have the same one."""
    shares = [count / len(formats) for count in Counter(formats).values()]
    return max(0.0, -sum(share * math.log2(share) for share in shares))


def _object(text: str) -> object:
    """Return what `text`, or the one code block that it is, says in JSON; None where it is none."""
    try:
        return json.loads(_unfenced(text))
    except (ValueError, RecursionError):
        return None


def _unfenced(text: str) -> str:
    whole = _FENCE.fullmatch(text.strip())
    return (whole[1] if whole else text).strip()
