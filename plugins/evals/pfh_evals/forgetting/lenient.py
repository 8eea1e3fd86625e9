"""The answer of a completion that does not keep a task's form, found as published graders do and scored by the task.

lm-eval's strict filters score "The answer is 5." as wrong where they want "#### 5". Beside its score, which stays as it
is, stands what the task's own scorer says of the answer that is found so: a document lost by the first and not by the
second has lost its form, and not its answer.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from pfh.kit.thoughts import behind_thought

METRICS = frozenset({"exact_match", "em"})
"""Metrics that compare an answer with a target; others have no answer that could be found elsewhere."""
SEARCHED = 20_000
"""Characters at the end of a completion that are read."""
LONGEST = 300
"""Characters of an answer."""

_LABEL = re.compile(
    r"(?:\banswers?\b|\bantwort\b|\bréponse\b|\brespuesta\b|\bsolution\b|\bresult\b)\**\s*(?:is|are|ist|est|es|:|=)?\s*:?"
    r"\**\s*(?=\S)([^\n]+)|####\s*([^\n]+)",
    re.IGNORECASE,
)
_NUMBER = re.compile(r"-?\$?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?")
_LETTER = re.compile(r"^[\s*\"']{0,4}\(?([A-Z])\)?(?=[\s*\"']{0,4}(?:[).:,;]|$|because\b))|\(([A-Z])\)")
_WRAPPED = re.compile(r"^\\(?:text|mathrm|mathbf|textbf)\s*\{(.*)\}$", re.DOTALL)


def other_readings(completion: str, target: str) -> list[str]:
    """Return the writings of the one answer that is found in `completion`; none where there is none.

    The last box counts; without one what stands behind "the answer is" or ####; else, for a number as the target,
    the last number, and for others the first line.
    """
    text = behind_thought(completion)[-SEARCHED:].strip()
    wanted = target.rpartition("#### ")[2].strip()
    numeric = _NUMBER.fullmatch(wanted) is not None
    lettered = re.fullmatch(r"\(?[A-Z]\)?", wanted) is not None
    found = _boxed(text)
    if found is None:
        labels = list(_LABEL.finditer(text))
        found = (labels[-1][1] or labels[-1][2]) if labels else None
    if found is None:
        found = text if numeric else text.partition("\n")[0]
    found = found.strip()
    if not found or (len(found) > LONGEST and not numeric):
        return []
    return list(dict.fromkeys(reading for reading in _writings(found, numeric, lettered, wanted) if reading))


def _writings(found: str, numeric: bool, lettered: bool, wanted: str) -> Iterator[str]:
    """Yield what is found as it stands and without its dress; of a number and of an option only these."""
    bare = found.strip("*").strip().rstrip(".").strip()
    if bare.startswith("$") and bare.endswith("$") and len(bare) > 2:
        bare = bare.strip("$").strip()
    wrapped = _WRAPPED.match(bare)
    bare = wrapped[1].strip() if wrapped else bare
    if numeric:
        numbers = _NUMBER.findall(bare)
        if numbers:
            yield numbers[-1].replace(",", "").replace("$", "")
            yield numbers[-1]
        return
    if lettered:
        letter = _LETTER.search(bare)
        if letter:
            name = letter[1] or letter[2]
            yield f"({name})" if wanted.startswith("(") else name
        return
    yield bare
    yield bare.strip("\"'")
    yield re.sub(r"\$([^$]*)\$", r"\1", bare)


def _boxed(text: str) -> str | None:
    """Return the content of the last box that is closed and not empty."""
    end = len(text)
    while (start := text.rfind("\\boxed{", 0, end)) >= 0:
        depth = 1
        for place in range(start + 7, min(len(text), start + 7 + LONGEST)):
            depth += {"{": 1, "}": -1}.get(text[place], 0)
            if depth == 0:
                if content := text[start + 7 : place].strip():
                    return content
                break
        end = start
    bare = re.findall(r"\\boxed\s+([^\s$]+)", text)
    return bare[-1] if bare else None
