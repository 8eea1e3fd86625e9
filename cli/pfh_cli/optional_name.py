"""`--allow-mismatch [NAME]`: an option whose value may be left out."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

EVERY = "*"
"""Stands for the name where none is given."""

OPTION = "--allow-mismatch"

AllowMismatch = Annotated[
    list[str] | None,
    typer.Option(
        OPTION,
        metavar="[NAME]",
        help="Compare what was measured differently, on common documents: in spite of any difference, or only of NAME.",
        show_default="none",
    ),
]


class CompareCommand(TyperCommand):
    """Takes the word behind `--allow-mismatch` for its value only where that can be no model."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:  # noqa: ANN401 - Typer's own kind of context
        """Join the option and its value before the words are shared out."""
        words: list[str] = []
        for word in args:
            if words and words[-1] == OPTION:
                if names_a_difference(word):
                    words[-1] = f"{OPTION}={word}"
                    continue
                words[-1] = f"{OPTION}={EVERY}"
            words.append(word)
        if words and words[-1] == OPTION:
            words[-1] = f"{OPTION}={EVERY}"
        return super().parse_args(ctx, words)


def names_a_difference(word: str) -> bool:
    """Say whether a word may be the name of a difference, such as few-shot-examples, and not a model."""
    plain = re.fullmatch(r"[a-z]+(?:[ -][a-z]+)*", word) is not None
    return plain and word not in ("safe", "base") and not Path(word).exists()


def allowed(given: list[str] | None) -> bool | tuple[str, ...]:
    """Return whether all differences are allowed, or the names of those that are."""
    return True if EVERY in (given or ()) else tuple(given or ())
