"""Text that nobody vouches for, made safe to show: what models, datasets and plugins wrote."""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Mapping

_INVISIBLE = re.compile(
    "["
    "\x00-\x08\x0b-\x1f\x7f-\x9f"  # C0 and C1 controls, ESC among them; tab and newline are treated apart
    "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"  # bidirectional marks, embeddings, overrides and isolates
    "\u200b\u2060-\u2065\u206a-\u206f\ufeff\ufff9-\ufffb"  # zero-width and interlinear characters
    "\u2028\u2029"  # line and paragraph separators
    "\ud800-\udfff"  # lone surrogates, which no UTF-8 output can hold
    "\U000e0000-\U000e007f"  # tags, which hide ASCII text from the reader
    "]"
)


_BREAKS = re.compile("[\t\n]")
_SECRET_VARIABLES = ("OPENAI_API_KEY", "HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "WANDB_API_KEY", "ANTHROPIC_API_KEY")
_SHORTEST_SECRET = 6
_LOGIN_IN_URL = re.compile(r"(\w://)[^\s/@]+@")
_KEY_IN_URL = re.compile(
    r"([?&][\w.-]*(?:key|token|secret|password|passwd|auth|sig|signature|credential)[\w.-]*=)[^&\s]+", re.IGNORECASE
)


_MARKUP = str.maketrans({"<": "\\u003c", ">": "\\u003e", "&": "\\u0026"})


def printable(text: str, *, lines: bool = True) -> str:
    r"""Return `text` with every character that a terminal or a browser would act on shown as its escape.

    An ESC becomes the four characters `\x1b`, a right-to-left override `\u202e`, a lone surrogate `\ud800`. Newlines
    and tabs are kept, or escaped likewise where `lines` is False. Markup is left alone: pass the result to
    `rich.text.Text` or to an autoescaping template, never to a markup parser.
    """
    shown = _INVISIBLE.sub(_escape, text)
    return shown if lines else _BREAKS.sub(_escape, shown)


def json_ready(value: object) -> object:
    """Return `value` as JSON can hold it: lone surrogates become visible escapes, NaN and infinities become null."""
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {json_ready(str(key)): json_ready(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [json_ready(item) for item in value]
    return value


def json_text(value: object, *, indent: int | None = None) -> str:
    """Return `value` as strict JSON: UTF-8 can hold every string of it, no number is NaN or infinite.

    Characters that a terminal or a reader's eye would act on stand as their escapes, which mean the same in JSON.
    """
    text = json.dumps(json_ready(value), ensure_ascii=False, allow_nan=False, indent=indent)
    return _INVISIBLE.sub(lambda match: json.dumps(match[0])[1:-1], text)


def redacted(text: str) -> str:
    """Return `text` without secrets: logins and keys in URLs, and the values of the variables that hold keys."""
    for name in _SECRET_VARIABLES:
        if len(value := os.environ.get(name, "")) >= _SHORTEST_SECRET:
            text = text.replace(value, "***")
    return _KEY_IN_URL.sub(r"\1***", _LOGIN_IN_URL.sub(r"\1***@", text))


def script_json(value: object) -> str:
    """Return `value` as JSON that may stand in an HTML `<script>`: no character of it can end or open an element."""
    return json.dumps(json_ready(value), ensure_ascii=True, separators=(",", ":")).translate(_MARKUP)


def _escape(match: re.Match[str]) -> str:
    return match.group().encode("unicode_escape").decode("ascii")


def storable(text: str) -> str:
    """Replace lone surrogates, which are no UTF-8 and which a remote engine may send."""
    return text.encode("utf-8", "replace").decode()
