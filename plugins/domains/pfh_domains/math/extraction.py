"""Find the one final answer of a completion."""

from __future__ import annotations

import re
from typing import Literal

AnswerFormat = Literal["line", "boxed"]

LONGEST_ANSWER = 300
"""Characters. The longest reference answer among GEM's sets and the held-out sets of the mirror has 204."""

_BRACES = re.compile(r"\\[{}\\]|\\(?:boxed|fbox)\s*\{|[{}]")
_QUOTED = re.compile(r"\\\((.*)\\\)|\\\[(.*)\\\]|\$\$(.*)\$\$|\$(.*)\$")
_SEARCHED = 20_000
"""Characters at the end of a completion in which evaluation looks for another answer."""
_LABEL = re.compile(
    r"(?:answer|solution|result)\**\s*(?:is|are|:|=)\**[ \t]*:?\**[ \t]*(?=\S)([^\n]+?)(?:\.(?=\s|$)|\n|$)"
    r"|####[ \t]*([^\n]+)",
    re.IGNORECASE,
)
_WORD = re.compile(r"[A-Za-z]{3,}")
_SEVERAL = re.compile(
    r"(?<![A-Za-z\\])(?:or|either|neither|nor|not|maybe|perhaps|possibly|between|if|than|vs)(?![A-Za-z])|\?",
    re.IGNORECASE,
)
_NUMBERS = re.compile(r"(?<![\w.,])-?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?%?(?![\w])")


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


def other_answers(completion: str) -> list[str]:
    r"""Return what evaluation reads as the answer where the form that was asked for was not kept, the best first.

    The last box counts, as in lm-eval's Minerva task and in math-verify, or all boxes of the last paragraph together;
    without any, what stands behind "the answer is" or ####, as in the graders of GSM8K; then the last line, and the
    last number of it.
    """
    text = completion[-_SEARCHED:]
    if boxes := _box_contents(text):
        together = _box_contents(text.strip().rpartition("\n\n")[2])
        found = [boxes[-1], ", ".join(dict.fromkeys(together))]
    else:
        lines = [line for line in text.splitlines() if line.strip()]
        found = [label[1] or label[2] for label in list(_LABEL.finditer(text))[-1:]]
        found += lines[-1:]
        if lines and _WORD.search(lines[-1]) and not _SEVERAL.search(lines[-1]):
            found += _NUMBERS.findall(lines[-1])[-1:]
    tidied = (_tidy(answer.strip().strip("*").strip().removeprefix(":").strip()) for answer in found)
    return list(dict.fromkeys(answer for answer in tidied if answer))


def _box_contents(text: str) -> list[str]:
    r"""Return the contents of the boxes that are closed and not empty, in their order; `\boxed 5` is one too."""
    found: list[tuple[int, str]] = []
    opened: list[int] = []
    for token in _BRACES.finditer(text):
        if token[0] in ("\\{", "\\}", "\\\\"):
            continue
        if token[0] != "}":
            opened.append(-1 if token[0] == "{" else token.end())
        elif opened and (start := opened.pop()) >= 0 and 0 < token.start() - start <= LONGEST_ANSWER:
            found.append((start, text[start : token.start()]))
    found += [(bare.end(), bare[1]) for bare in re.finditer(r"\\boxed\s+([^\s${}]+)", text)]
    return [content.strip() for _, content in sorted(found) if content.strip()]
