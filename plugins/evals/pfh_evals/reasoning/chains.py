"""A chain as a model wrote it: its steps, its answer, and the form that its reasoning takes."""

from __future__ import annotations

import re
from dataclasses import dataclass

from pfh.kit.thoughts import read_thoughts

_VALUE = r"[\s*_$£€=]*(?:\\boxed\{|\\\()?\s*\$?(-?\d[\d,]*(?:\.\d+)?)"
_ANSWER = re.compile(
    rf"(?:[^\n.]*\banswer is\b:?(?:{_VALUE})?|^[^\w\n]*(?:final )?answer[^\w\n]*[:=]{_VALUE}"
    rf"|^####{_VALUE}|^{_VALUE}[\s*_.}}]*\Z)[^\n]*",
    re.IGNORECASE | re.MULTILINE,
)
"""The sentence that answers: "The answer is N", "Answer: N", "#### N", or a last line that is a number alone."""
_PIECES = re.compile(r"\n+|(?<=[\w)\"'][.!?])\s+")
_MARKER = re.compile(r"(?:\d{1,2}|[a-z])[.)]", re.IGNORECASE)
"""The number of a line in a list, which ends no sentence."""
_SHORTEST = 3
"""Words of a step; a shorter piece joins the one before."""
FORMS = ("code", "tags", "latex", "equations", "list", "prose", "none")
_EQUATION = re.compile(r"\d[^=\n]*=\s*[$£€]?-?\d")


@dataclass(frozen=True, kw_only=True)
class Chain:
    """What a reply holds."""

    steps: tuple[str, ...]
    answer: int | None
    """None where no answer is written, or none that is a whole number."""


def read_chain(reply: str) -> Chain:
    """Take a reply apart: the steps before the answer sentence, and the last answer that it gives."""
    found = list(_ANSWER.finditer(reply))
    body = reply[: found[0].start()] if found else reply
    given = [value for match in found for value in match.groups() if value]
    return Chain(steps=tuple(_steps(body)), answer=_whole(given[-1]) if given else None)


def _steps(body: str) -> list[str]:
    steps: list[str] = []
    for piece in _split(body):
        if len(piece.split()) < _SHORTEST and steps:
            steps[-1] = f"{steps[-1]} {piece}"
        elif piece:
            steps.append(piece)
    return [step for step in steps if len(step.split()) >= _SHORTEST]


def _split(body: str) -> list[str]:
    """Split at newlines and ends of sentences, but inside no formula and no code fence."""
    kept: list[str] = []

    def hide(match: re.Match[str]) -> str:
        kept.append(match[0])
        return f"\x00{len(kept) - 1}\x00"

    hidden = re.sub(r"```.*?```|\$[^$\n]+\$|\\\[.*?\\\]", hide, body, flags=re.DOTALL)
    pieces: list[str] = []
    for piece in (piece.strip() for piece in _PIECES.split(hidden)):
        joins = pieces and _MARKER.fullmatch(pieces[-1])
        pieces = [*pieces[:-1], f"{pieces[-1]} {piece}"] if joins else [*pieces, piece]
    return [re.sub(r"\x00(\d+)\x00", lambda match: kept[int(match[1])], piece) for piece in pieces if piece]


def _whole(text: str) -> int | None:
    plain = text.replace(",", "")
    return int(float(plain)) if float(plain).is_integer() and len(plain) < 16 else None


def form_of(reply: str) -> str:
    """Return the form of a reply's reasoning, the first of `FORMS` that fits."""
    body = reply[: found.start()] if (found := _ANSWER.search(reply)) else reply
    lines = [line for line in body.splitlines() if line.strip()]
    if not lines:
        return "none"
    assigned = re.findall(r"^\s*[a-z_]\w* = ", body, re.MULTILINE)
    if "```" in body or re.search(r"^\s*(?:def |print\(|import )", body, re.MULTILINE) or len(assigned) > 1:
        return "code"
    if read_thoughts(reply).said != reply or re.search(r"<think|<reason", body):
        return "tags"
    if re.search(r"\\frac|\\boxed|\\\[|\$[^$\n]+\$", body):
        return "latex"
    if sum(bool(_EQUATION.search(line)) for line in lines) * 2 >= len(lines):
        return "equations"
    if len(re.findall(r"^\s*(?:[-*+]|\d+[.)])\s", body, re.MULTILINE)) > 1:
        return "list"
    return "prose"
