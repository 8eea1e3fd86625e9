"""How problems are put to a model, and how an answer is written down."""

from __future__ import annotations

from pfh.hooks.backends import Message

from pfh_domains import python_tool
from pfh_domains.math.extraction import AnswerFormat

EXAMPLES = (
    (
        "Solve for $x$: $5x - 10 = 0$.",
        "Adding $10$ to both sides gives $5x = 10$, and dividing by $5$ gives $x = 2$.",
        "2",
    ),
    (
        "A bag holds $6$ red marbles and $2$ blue ones. What fraction of the marbles is blue?",
        "There are $6 + 2 = 8$ marbles, of which $2$ are blue, and $\\frac{2}{8} = \\frac{1}{4}$.",
        "\\frac{1}{4}",
    ),
    ("Compute $2^3 - 5$.", "As $2^3 = 8$, the difference is $8 - 5 = 3$.", "3"),
    (
        "Tom buys $3$ pens for $4$ dollars each and pays with $20$ dollars. How many dollars does he get back?",
        "The pens cost $3 \\cdot 4 = 12$ dollars, so he gets $20 - 12 = 8$ dollars back.",
        "8",
    ),
)
"""Problem, reasoning and answer; written for pfh."""
PROGRAMS = (
    ("print(10 / 5)", "2.0"),
    ("from fractions import Fraction\nprint(Fraction(2, 6 + 2))", "1/4"),
    ("print(2**3 - 5)", "3"),
    ("print(20 - 3 * 4)", "8"),
)
"""For each example a program and what it prints."""


def chat(problem: str, answer_format: AnswerFormat, shots: int, *, tool: bool = False) -> tuple[Message, ...]:
    """Return `shots` worked examples as earlier turns, with a `tool` each with a program, then the problem."""
    messages: list[Message] = []
    for (asked, reasoning, answer), (program, printed) in list(zip(EXAMPLES, PROGRAMS, strict=True))[:shots]:
        messages.append({"role": "user", "content": _asked(asked, answer_format, tool)})
        if tool:
            messages += [
                {"role": "assistant", "content": f"```python\n{program}\n```"},
                {"role": "user", "content": python_tool.reply(printed)},
            ]
        messages.append({"role": "assistant", "content": written(answer, answer_format, reasoning)})
    return (*messages, {"role": "user", "content": _asked(problem, answer_format, tool)})


def written(answer: str, answer_format: AnswerFormat, reasoning: str | None = None) -> str:
    r"""Return a completion that gives `answer`; where the format is boxed, `reasoning` stands before it."""
    if answer_format == "line":
        return f"${answer}$"
    return f"{reasoning.strip()}\n\\boxed{{{answer}}}" if reasoning else f"\\boxed{{{answer}}}"


def _asked(problem: str, answer_format: AnswerFormat, tool: bool) -> str:
    if answer_format == "line":
        return f"{problem.strip()}\nReply with the final answer only."
    asked = f"{problem.strip()}\nThink step by step, and put the final answer in \\boxed{{}}."
    return f"{asked} {python_tool.INVITATION}" if tool else asked
