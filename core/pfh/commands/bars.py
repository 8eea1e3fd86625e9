"""Progress in Python: tqdm's bars, which suit notebooks, terminals and log files."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pfh.progress import Bar
from pfh.text import printable


class Bars:
    """A bar a task, and log lines above them, on stderr."""

    @contextmanager
    def task(self, description: str, total: int, done: int = 0) -> Iterator[Bar]:
        """Open a bar over `total` units."""
        from tqdm.auto import tqdm

        with tqdm(total=total, initial=done, desc=printable(description, lines=False), file=sys.stderr) as bar:
            yield _Bar(bar)

    def say(self, line: str) -> None:
        """Log one line."""
        from tqdm.auto import tqdm

        tqdm.write(printable(line, lines=False), file=sys.stderr)


class _Bar:
    def __init__(self, bar: Any) -> None:  # noqa: ANN401 - tqdm has no types
        self._bar = bar

    def advance(self, amount: int = 1) -> None:
        self._bar.update(amount)

    def note(self, text: str) -> None:
        self._bar.set_postfix_str(printable(text, lines=False))
