"""Find the one answer of a completion."""

from __future__ import annotations

import re
from typing import Literal

AnswerFormat = Literal["line", "tagged"]

LONGEST_ANSWER = 2000
"""Characters. An answer is a name, a number or a phrase, but for the grids of the ARC tasks: at most 30 x 30."""

_TAG = re.compile(r"<(/?)answer>")
_SEARCHED = 20_000
"""Characters at the end of a completion in which evaluation looks for another answer."""
_MARKED = re.compile(r"<answer>([^<]*)</answer>|\\boxed\{([^{}]*)\}")
_LABEL = re.compile(r"\banswer\**\s*(?:\bis\b|was\b|:)\**[ \t]*:?\**[ \t]*(?=\S)([^\n]+)", re.IGNORECASE)
_OPENING = re.compile(r"^\W*(?:it|that|this|he|she)(?:'s| is| was| would be)\s+", re.IGNORECASE)


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


def other_answers(completion: str) -> list[str]:
    """Return what evaluation reads as the answer where the form that was asked for was not kept, the best first.

    The last <answer> element or box; without one, what stands behind "the answer is", and the first line.
    """
    text = completion[-_SEARCHED:]
    marked = [found[1] or found[2] or "" for found in _MARKED.finditer(text)]
    lines = [line for line in text.splitlines() if line.strip()]
    labelled = [found[1] for found in _LABEL.finditer(text)]
    found = marked[-1:] if marked else [*labelled[-1:], *lines[:1]]
    found += [_OPENING.sub("", each) for each in found]
    tidied = (_tidy(each.strip().strip("*").strip()) for each in found)
    return list(dict.fromkeys(each.removesuffix(".").strip() for each in tidied if each))
