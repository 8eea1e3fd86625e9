"""How questions are put to a model, and how an answer is written down."""

from __future__ import annotations

from collections.abc import Sequence

from pfh.hooks.backends import Message

from pfh_domains.qa.extraction import AnswerFormat

Example = tuple[str, str]

QUESTIONS: tuple[Example, ...] = (
    ("Which gas do plants take in from the air to make sugar?", "Carbon dioxide"),
    ("On which continent does the river Zambezi flow?", "Africa"),
    ("How many strings does a standard violin have?", "4"),
    ("Who painted the ceiling of the Sistine Chapel?", "Michelangelo"),
)
CHOICES: tuple[Example, ...] = (
    ("Which of these is a prime number?\nA. 9\nB. 15\nC. 11\nD. 21", "C"),
    ("Which of these animals lays eggs?\nA. Hen\nB. Horse\nC. Whale\nD. Bat", "A"),
    ("What does a thermometer measure?\nA. Weight\nB. Temperature\nC. Speed\nD. Volume", "B"),
    ("Which planet is nearest to the Sun?\nA. Mars\nB. Venus\nC. Saturn\nD. Mercury", "D"),
)
"""Questions and answers; written for pfh."""


def chat(question: str, answer_format: AnswerFormat, examples: Sequence[Example], what: str) -> tuple[Message, ...]:
    """Return worked examples as earlier turns, then the question; `what` names the kind of answer asked for."""
    messages: list[Message] = []
    for asked, answer in examples:
        messages += [
            {"role": "user", "content": _asked(asked, answer_format, what)},
            {"role": "assistant", "content": written(answer, answer_format)},
        ]
    return (*messages, {"role": "user", "content": _asked(question, answer_format, what)})


def written(answer: str, answer_format: AnswerFormat) -> str:
    """Return a completion that gives `answer`."""
    return answer if answer_format == "line" else f"<answer>{answer}</answer>"


def with_options(question: str, options: Sequence[str]) -> str:
    """Return a multiple-choice question with lettered options, a line each."""
    lines = [f"{letter}. {option}" for letter, option in zip("ABCDEFGHIJ", options, strict=False)]
    return "\n".join([question.strip(), *lines])


def _asked(question: str, answer_format: AnswerFormat, what: str) -> str:
    if answer_format == "line":
        return f"{question.strip()}\nReply with {what} only."
    return f"{question.strip()}\nThink it over, then give {what} inside <answer> and </answer>."
