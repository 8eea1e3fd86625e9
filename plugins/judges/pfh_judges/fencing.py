"""Texts of others, put into a judge's template: they fill their place and can pass for no part of it."""

from __future__ import annotations

import re
from collections.abc import Mapping

CONTROL = re.compile(
    r"<\|[^|>\n]{1,40}\|>|<｜[^｜>\n]{1,40}｜>|<(?:start|end)_of_turn>|<[be]os>|<</?SYS>>|\[/?INST\]|</?s>"
)
"""Marks that chat templates of common models are made of."""
PLACE = re.compile(r"\{\{?\s*(\w+)\s*\}?\}")


def filled(template: str, texts: Mapping[str, str]) -> str:
    """Return the template with every named place filled, in one pass: braces in a text stand for nothing."""
    marks = line_marks(template)
    safe = {name: fenced(text, marks) for name, text in texts.items()}
    return PLACE.sub(lambda place: safe.get(place[1], place[0]), template)


def line_marks(template: str) -> frozenset[str]:
    """Return what the template's lines begin with, up to a colon or as a whole, in lower case."""
    bare = CONTROL.sub("", PLACE.sub("", template))
    marks = set()
    for line in bare.splitlines():
        told = line.strip().lower()
        head, colon, _ = told.partition(":")
        if colon and len(head) <= 30:
            marks.add(head.strip() + ":")
        elif 3 <= len(told) <= 40:
            marks.add(told)
    return frozenset(marks)


def fenced(text: str, marks: frozenset[str]) -> str:
    """Return the text with control marks broken up, and lines quoted that begin as a line of the template does."""
    return "".join(
        f"> {line}" if any(line.strip().lower().startswith(mark) for mark in marks) else line
        for line in broken_up(text).splitlines(keepends=True)
    )


def broken_up(text: str) -> str:
    """Return the text without control marks: a space stands behind the first sign of each."""
    return CONTROL.sub(lambda mark: f"{mark[0][0]} {mark[0][1:]}", text)
