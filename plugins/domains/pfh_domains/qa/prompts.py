"""How questions are put to a model, and how an answer is written down."""

from __future__ import annotations

from collections.abc import Sequence

from pfh.hooks.backends import Message

from pfh_domains import search
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
SEARCHES: dict[str, tuple[str, search.Passage]] = {
    "Carbon dioxide": (
        "gas that plants take in to make sugar",
        search.Passage("Leaves", "In daylight leaves take in carbon dioxide from the air and make sugar of it."),
    ),
    "Africa": (
        "river Zambezi",
        search.Passage("Zambezi", "The Zambezi is a river of southern Africa; it flows into the Indian Ocean."),
    ),
    "4": ("strings of a violin", search.Passage("Violin", "A violin is tuned in fifths and has four strings.")),
    "Michelangelo": (
        "ceiling of the Sistine Chapel painter",
        search.Passage("Sistine Chapel", "Michelangelo painted the ceiling of the chapel from 1508 to 1512."),
    ),
    "C": ("prime number 11", search.Passage("Prime number", "The first primes are 2, 3, 5, 7, 11 and 13.")),
    "A": ("animals that lay eggs", search.Passage("Egg", "Birds lay eggs; a hen lays one on most days.")),
    "B": ("thermometer", search.Passage("Thermometer", "A thermometer measures temperature.")),
    "D": ("planet nearest to the Sun", search.Passage("Mercury", "Mercury is the planet nearest to the Sun.")),
}
"""For each example's answer a search, and a passage that it finds."""


def chat(
    question: str, answer_format: AnswerFormat, examples: Sequence[Example], what: str, *, tool: bool = False
) -> tuple[Message, ...]:
    """Return worked examples as earlier turns, with a `tool` each with a search, then the question.

    `what` names the kind of answer asked for.
    """
    messages: list[Message] = []
    for asked, answer in examples:
        messages.append({"role": "user", "content": _asked(asked, answer_format, what, tool)})
        if tool:
            query, passage = SEARCHES[answer]
            messages += [
                {"role": "assistant", "content": f"<search>{query}</search>"},
                {"role": "user", "content": search.reply([passage], len(passage.text))},
            ]
        messages.append({"role": "assistant", "content": written(answer, answer_format)})
    return (*messages, {"role": "user", "content": _asked(question, answer_format, what, tool)})


def written(answer: str, answer_format: AnswerFormat) -> str:
    """Return a completion that gives `answer`."""
    return answer if answer_format == "line" else f"<answer>{answer}</answer>"


def with_options(question: str, options: Sequence[str]) -> str:
    """Return a multiple-choice question with lettered options, a line each."""
    lines = [f"{letter}. {option}" for letter, option in zip("ABCDEFGHIJ", options, strict=False)]
    return "\n".join([question.strip(), *lines])


def _asked(question: str, answer_format: AnswerFormat, what: str, tool: bool) -> str:
    if answer_format == "line":
        return f"{question.strip()}\nReply with {what} only."
    asked = f"{question.strip()}\nThink it over, then give {what} inside <answer> and </answer>."
    return f"{asked} {search.INVITATION}" if tool else asked
