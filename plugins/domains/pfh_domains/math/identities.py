"""Answers whose text decides, as computing would take different ones for equal: words, bases, ratios, labels."""

from __future__ import annotations

import re

_BASED = re.compile(r"(-?[0-9A-Fa-f.]+|[A-Za-z])_\{?(\w+)\}?")
_LETTERS = re.compile(r"[A-Za-z]{3,}|[A-Z]{2}|no|on|up|or|so")
_FRACTION = re.compile(r"^(?:\\frac\{(\d+)\}\{(\d+)\})$")
_TERM = r"-?(?:\d[\d.]*[A-Za-z]?|[A-Za-z]|\\(?:frac|sqrt)\{[^{}]*\}(?:\{[^{}]*\})?)"
_RATIO = re.compile(rf"{_TERM}(?::{_TERM})+")
BASES = {
    "two": "2", "three": "3", "four": "4", "five": "5", "six": "6", "seven": "7", "eight": "8", "nine": "9",
    "ten": "10", "eleven": "11", "twelve": "12", "sixteen": "16",
}  # fmt: skip


def same_text(gold: str, answer: str) -> bool | None:
    """Whether two simplified answers are the same where computing must not decide; None where it may.

    A checker that computes reads `110_2` as 110 whatever its base, `BAC` as the product A B C, and `6:4` as 3:2.
    """
    gold, answer = _opened(gold), _opened(answer)
    if _BASED.fullmatch(gold):
        return answer == gold
    if _LETTERS.fullmatch(gold):
        return answer.lower() == gold.lower() if len(gold) > 2 else answer == gold
    if _RATIO.fullmatch(gold) or _RATIO.fullmatch(answer):
        return _FRACTION.sub(r"\1:\2", answer) == _FRACTION.sub(r"\1:\2", gold)
    return None


def _opened(answer: str) -> str:
    r"""Return an answer without \text{}, white space and brackets around subscripts, bases as digits."""
    answer = re.sub(r"\\text\s*\{([^{}]*)\}", r"\1", answer)
    answer = re.sub(r"\s+", "", answer)
    return re.sub(r"_\{?\(?([A-Za-z]+|\d+)\)?\}?$", lambda found: "_" + BASES.get(found[1].lower(), found[1]), answer)
