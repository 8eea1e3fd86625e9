"""Inequalities written as intervals, so that `0 < x < 5` and `(0, 5)` can be compared."""

from __future__ import annotations

import re

from pfh_domains.math.plain import number

_COMPARED = re.compile(r"(<|>|\\le(?![A-Za-z])|\\ge(?![A-Za-z]))\s*")
_OPEN = {"<": "(", ">": "(", "\\le": "[", "\\ge": "["}

_Interval = tuple[str, str, str, str]


def as_intervals(text: str) -> str | None:
    """Return the set of numbers that inequalities allow, as intervals; None where `text` is not made of them."""
    inner = re.fullmatch(r"\\\{\s*[A-Za-z]\s*(?:\\in\s*\\?[A-Za-z{}]+\s*)?(?:\\mid|:|\||\\vert)\s*(.*)\\\}", text)
    parts = split(inner[1] if inner else text, ",")
    found = [_interval(part) for part in parts]
    known = [each for each in found if each is not None]
    if not known or len(known) != len(parts) or len(known) > 2:
        return None
    if len(known) == 1:
        return _shown(known[0])
    first, second = sorted(known, key=lambda each: each[1] != "-\\infty")
    low, high = number(second[1]), number(first[2])
    if first[1] == "-\\infty" and second[2] == "\\infty" and low is not None and high is not None and low < high:
        return _shown((second[0], second[1], first[2], first[3]))
    return f"{_shown(first)}\\cup{_shown(second)}"


def _interval(text: str) -> _Interval | None:
    """Return (bracket, low, high, bracket) of one inequality over one variable."""
    pieces = [piece.strip() for piece in _COMPARED.split(text)]
    variable = re.compile(r"\\?[A-Za-z]+(?:\([a-z]\))?")
    if len(pieces) == 3:
        left, sign, right = pieces
        if variable.fullmatch(right) and not variable.fullmatch(left):
            left, right, sign = right, left, {"<": ">", ">": "<", "\\le": "\\ge", "\\ge": "\\le"}[sign]
        if not variable.fullmatch(left) or not right:
            return None
        closing = ")" if _OPEN[sign] == "(" else "]"
        below = sign in ("<", "\\le")
        return ("(", "-\\infty", right, closing) if below else (_OPEN[sign], right, "\\infty", ")")
    if len(pieces) == 5 and variable.fullmatch(pieces[2]):
        low, first, _, second, high = pieces
        rising = {first, second} <= {"<", "\\le"}
        if not rising and not {first, second} <= {">", "\\ge"}:
            return None
        if not rising:
            low, high, first, second = high, low, second, first
        return (_OPEN[first], low, high, ")" if _OPEN[second] == "(" else "]")
    return None


def _shown(interval: _Interval) -> str:
    opening, low, high, closing = interval
    return f"{opening}{low},{high}{closing}"


def split(text: str, mark: str) -> list[str]:
    """Split `text` at `mark` outside of brackets; the comma of 1,000 divides nothing."""
    parts, depth, start = [], 0, 0
    for place, character in enumerate(text):
        depth += (character in "({[") - (character in ")}]")
        thousands = mark == "," and re.match(r",\d{3}(?!\d)", text[place:]) and text[:place][-1:].isdigit()
        if character == mark and depth == 0 and not thousands:
            parts.append(text[start:place])
            start = place + 1
    return [*parts, text[start:]]
