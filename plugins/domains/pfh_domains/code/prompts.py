"""How problems are put to a model."""

from __future__ import annotations

from pfh.hooks.backends import Message


def chat(asked: str) -> tuple[Message, ...]:
    """Return the chat of one user turn."""
    return ({"role": "user", "content": asked},)


def contest_prompt(statement: str) -> str:
    """Return the prompt of a contest problem, whose program reads standard input."""
    return (
        f"{statement.strip()}\n\nWrite a Python program that reads the input from standard input and prints the answer "
        "to standard output. Reply with the program in one Python code block."
    )


def fenced(code: str) -> str:
    """Return `code` as a Markdown block."""
    return f"```python\n{code.rstrip()}\n```"
