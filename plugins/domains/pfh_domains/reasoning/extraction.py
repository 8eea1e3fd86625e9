"""Find the answer of a completion."""

from __future__ import annotations

import re

LONGEST_ANSWER = 200
"""Characters; no task that is checked in this process has a longer answer, and its scorer need not read more."""
_SEARCHED = 20_000
"""Characters at the end of a completion in which evaluation looks for another answer."""
_SPOKEN = re.compile(r"\banswer\**\s*(?:is|:)\**[ \t]*:?\**[ \t]*(\S[^\n]*)", re.IGNORECASE)
_ALTERNATIVES = re.compile(r"\b(?:or|either|maybe|not)\b", re.IGNORECASE)


def extract_answer(
    completion: str, answer_format: str = "line", choices: tuple[str, ...] = (), longest: int = LONGEST_ANSWER
) -> str | None:
    r"""Return the answer that a completion gives, or None.

    The last `\boxed{}` counts; without one, the last <answer> element; without one, and where the answer is a line,
    the first line that is not empty. One full stop at its end is no part of it. A completion that names two of the
    `choices` answers nothing.
    """
    if sum(re.search(rf"\b{choice}\b", completion, re.IGNORECASE) is not None for choice in choices) > 1:
        return None
    answer = _last_boxed(completion)
    if answer is None:
        answer = _last_element(completion)
    if answer is None and answer_format == "line":
        answer = completion.strip().partition("\n")[0]
    answer = (answer or "").strip().removesuffix(".").strip()
    return answer if 0 < len(answer) <= longest else None


def spoken_answer(completion: str) -> str | None:
    """Return what evaluation reads as the answer in another form: the last "the answer is ...", or the only line."""
    spoken = _SPOKEN.findall(completion[-_SEARCHED:])
    answer = spoken[-1].strip().strip("*$").strip().removesuffix(".").strip() if spoken else ""
    if not spoken and "\n" not in completion.strip() and "\\boxed" not in completion and "<answer" not in completion:
        answer = completion[: 2 * LONGEST_ANSWER].strip().removesuffix(".").strip()
    if _ALTERNATIVES.search(answer):
        return None
    return answer if 0 < len(answer) <= LONGEST_ANSWER else None


def same_text(answer: str, wanted: str) -> bool:
    """Whether `answer` is `wanted`, but for white space at the ends of its lines and a full stop."""
    return _trimmed(answer) == _trimmed(wanted)


def _trimmed(text: str) -> str:
    return "\n".join(line.rstrip() for line in text.strip().removesuffix(".").strip().splitlines())


def _last_boxed(text: str) -> str | None:
    start = text.rfind("\\boxed{")
    if start < 0:
        return None
    start += len("\\boxed{")
    depth = 1
    for end in range(start, len(text)):
        depth += {"{": 1, "}": -1}.get(text[end], 0)
        if depth == 0:
            return text[start:end]
    return None


def _last_element(text: str) -> str | None:
    end = text.rfind("</answer>")
    start = text.rfind("<answer>", 0, max(end, 0))
    return None if start < 0 else text[start + len("<answer>") : end]
