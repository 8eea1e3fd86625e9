"""Find the one answer of a completion."""

from __future__ import annotations

import re
from typing import Literal

AnswerFormat = Literal["line", "tagged"]

LONGEST_ANSWER = 2000
"""Characters. An answer is a name, a number or a phrase, but for the grids of the ARC tasks: at most 30 x 30."""

_TAG = re.compile(r"<(/?)answer>")


def extract_answer(completion: str, answer_format: AnswerFormat) -> str | None:
    """Return the answer that `completion` gives, or None: a format failure.

    <answer> elements count wherever they stand, and all of them must hold the same text. Without one, and where the
    format is a line, the one line that is not empty counts.
    """
    elements = _elements(completion)
    if elements is None:
        return None
    if elements:
        return _tidy(elements.pop()) if len(elements) == 1 else None
    if answer_format == "tagged" or len(completion) > 2 * LONGEST_ANSWER:
        return None
    lines = [line for line in completion.splitlines() if line.strip()]
    return _tidy(lines[0]) if len(lines) == 1 else None


def _elements(text: str) -> set[str] | None:
    """Return the different contents of the <answer> elements; None where one is open, nested or never opened."""
    contents = set()
    start: int | None = None
    for tag in _TAG.finditer(text):
        closes = tag[1] == "/"
        if closes != (start is not None):
            return None
        if start is not None:
            content = text[start : min(tag.start(), start + LONGEST_ANSWER + 1)]
            contents.add(content.strip() if len(content) <= LONGEST_ANSWER else content)
        start = None if closes else tag.end()
    return contents if start is None else None


def _tidy(answer: str) -> str | None:
    return answer.strip() or None if len(answer) <= LONGEST_ANSWER else None
