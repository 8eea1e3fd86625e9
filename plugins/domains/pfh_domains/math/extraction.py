"""Find the one final answer of a completion."""

from __future__ import annotations

import re
from typing import Literal

AnswerFormat = Literal["line", "boxed"]

LONGEST_ANSWER = 300
"""Characters. The longest reference answer among GEM's sets and the held-out sets of the mirror has 204."""

_BRACES = re.compile(r"\\[{}\\]|\\(?:boxed|fbox)\s*\{|[{}]")
_QUOTED = re.compile(r"\\\((.*)\\\)|\\\[(.*)\\\]|\$\$(.*)\$\$|\$(.*)\$")


def extract_answer(completion: str, answer_format: AnswerFormat) -> str | None:
    r"""Return the final answer of `completion`, or None: a format failure.

    Boxes count wherever they stand: all of them must hold the same text, and none another box, so that naming several
    answers is no answer. Without a box, and where the format is a line, the one line that is not empty counts.
    Dollar signs around the answer and one full stop at its end are no part of it.
    """
    boxes = _boxes(completion)
    if boxes is None:
        return None
    if boxes:
        return _tidy(boxes.pop()) if len(boxes) == 1 else None
    if answer_format == "boxed" or len(completion) > 10 * LONGEST_ANSWER:
        return None
    lines = [line for line in completion.splitlines() if line.strip()]
    return _tidy(lines[0]) if len(lines) == 1 else None


def _boxes(text: str) -> set[str] | None:
    """Return the different contents of the boxes; None where one is never closed."""
    contents = set()
    opened: list[int] = []  # where the content of each open brace begins, or -1 for one that is no box
    for token in _BRACES.finditer(text):
        if token[0] in ("\\{", "\\}", "\\\\"):
            continue
        if token[0] != "}":
            opened.append(-1 if token[0] == "{" else token.end())
        elif opened:
            start = opened.pop()
            if start >= 0:
                content = text[start : min(token.start(), start + LONGEST_ANSWER + 1)]
                contents.add(content.strip() if len(content) <= LONGEST_ANSWER else content)
    return None if any(start >= 0 for start in opened) else contents


def _tidy(answer: str) -> str | None:
    if len(answer) > LONGEST_ANSWER:
        return None  # a box's content that was cut, among others
    answer = answer.strip()
    if answer.endswith(".") and not answer.endswith("\\."):
        answer = answer[:-1].strip()
    quoted = _QUOTED.fullmatch(answer)
    if quoted:
        answer = next(part for part in quoted.groups() if part is not None).strip()
    return answer or None
