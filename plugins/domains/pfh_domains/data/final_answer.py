"""The one answer of a completion whose form nobody prescribed: a box, <answer>, ####, a last sentence, or one line."""

from __future__ import annotations

import re

from pfh_domains.math.extraction import extract_answer as boxed_answer
from pfh_domains.qa.extraction import extract_answer as tagged_answer

_MARK = re.compile(r"^[ \t]*####[ \t]*(\S[^\n]*)$", re.MULTILINE)
_SENTENCE = re.compile(
    r"(?:\bthe\s+|\bmy\s+)?(?:\bfinal\s+)?\banswer(?:\s+is|\s*:)\**[ \t]*:?\**[ \t]*(\S[^\n]*?)\**\.?\**$",
    re.IGNORECASE,
)
_SEARCHED = 20_000
"""Characters at the end of a completion that are read."""


def marked_answer(completion: str) -> str | None:
    """Return the answer that a completion marks as its last word; None where it marks none, or several.

    All boxes, elements or marks of one kind must hold the same. A sentence "The answer is ..." counts as the last line.
    """
    text = completion[-_SEARCHED:].strip()
    if "\\boxed" in text or "\\fbox" in text:
        return boxed_answer(text, "boxed")
    if "<answer>" in text or "</answer>" in text:
        return tagged_answer(text, "tagged")
    marks = {found[1].strip() for found in _MARK.finditer(text)}
    if marks:
        return marks.pop() if len(marks) == 1 else None
    sentence = _SENTENCE.search(text.rpartition("\n")[2])
    return sentence[1].strip() if sentence else None


def final_answer(completion: str) -> str | None:
    """Return the marked answer of a completion, or all of it where it is one line; None where it is neither."""
    marked = marked_answer(completion)
    if marked is not None:
        return marked
    lines = [line.strip() for line in completion.splitlines() if line.strip()]
    return lines[0] if len(lines) == 1 else None
