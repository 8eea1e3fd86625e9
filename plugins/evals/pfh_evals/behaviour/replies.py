"""What every check of a reply needs: the thought cut off, and replies that say nothing of their own found."""

from __future__ import annotations

import re
from typing import Literal

from pfh.kit.thoughts import behind_thought

Hollow = Literal["", "empty", "echo"]
_WORD = re.compile(r"\w+")
_RUN = 4
"""Words in a row that count as taken over from the prompt."""
_SHORT = 8
"""A reply of fewer words is an echo only where it is the whole last turn of the user."""
_OWN = 0.2
"""A longer one is an echo where less than this share of its words is its own."""


def answer_of(completion: str) -> str:
    """Return what a completion says, without what a reasoning model thought before."""
    return behind_thought(completion).strip()


def words(text: str) -> list[str]:
    """Return the words of `text` in lower case."""
    return _WORD.findall(text.casefold())


def hollow(asked: str, reply: str, *, quotes: bool = False) -> Hollow:
    """Say whether a reply has nothing of its own: it is empty, or gives back what was asked.

    Args:
        asked: the whole text that the user wrote.
        reply: what the model said.
        quotes: a right reply may repeat much of what was asked: only the whole of it is an echo.
    """
    own = words(reply)
    if not own:
        return "empty"
    given = words(asked)
    if own == given:
        return "echo"
    if quotes or len(own) < _SHORT:
        return ""
    runs = {tuple(given[place : place + _RUN]) for place in range(len(given) - _RUN + 1)}
    taken = [False] * len(own)
    for place in range(len(own) - _RUN + 1):
        if tuple(own[place : place + _RUN]) in runs:
            taken[place : place + _RUN] = [True] * _RUN
    return "echo" if 1 - sum(taken) / len(own) < _OWN else ""
