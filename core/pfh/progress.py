"""Progress of long work. The core says what is done; the command line draws it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol


class Bar(Protocol):
    """One running task."""

    def advance(self, amount: int = 1) -> None:
        """Say that `amount` more units are done."""
        ...

    def note(self, text: str) -> None:
        """Show a short figure beside the bar, such as the loss."""
        ...


class Progress(Protocol):
    """Where progress and log lines go."""

    def task(self, description: str, total: int, done: int = 0) -> AbstractContextManager[Bar]:
        """Open a bar over `total` units, of which `done` were there already."""
        ...

    def say(self, line: str) -> None:
        """Log one line."""
        ...


class _NoBar:
    def advance(self, amount: int = 1) -> None:
        pass

    def note(self, text: str) -> None:
        pass


class Silent:
    """Shows nothing."""

    @contextmanager
    def task(self, description: str, total: int, done: int = 0) -> Iterator[Bar]:
        """Open a bar that nobody sees."""
        yield _NoBar()

    def say(self, line: str) -> None:
        """Drop the line."""
