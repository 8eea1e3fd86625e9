"""Progress on stderr: bars where a person watches, plain lines now and then where a log file does."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TextIO

from pfh.progress import Bar, Progress, Silent
from pfh.text import printable

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress
    from rich.progress import TaskID

SECONDS_BETWEEN_LINES = 15.0
WORTH_A_LINE = 2.0
"""Seconds that a task must have taken for its end to be logged."""


@contextmanager
def open_progress(*, quiet: bool = False) -> Iterator[Progress]:
    """Yield the progress that suits stderr; the bars are gone from the screen when it closes."""
    if quiet:
        yield Silent()
    elif sys.stderr.isatty() and os.environ.get("TERM") != "dumb":
        with _rich_progress() as bars:
            yield Bars(bars)
    else:
        yield Lines(sys.stderr)


class Bars:
    """Rich bars with the time left; log lines scroll by above them."""

    def __init__(self, bars: RichProgress) -> None:
        self._bars = bars

    @contextmanager
    def task(self, description: str, total: int, done: int = 0) -> Iterator[Bar]:
        """Open a bar; it is replaced by a line when the task is done."""
        started = time.monotonic()
        task = self._bars.add_task(printable(description, lines=False), total=total, completed=done, note="")
        bar = _RichBar(self._bars, task, done)
        try:
            yield bar
        finally:
            self._bars.remove_task(task)
        _say_done(self, description, bar.done, total, time.monotonic() - started)

    def say(self, line: str) -> None:
        """Log one line above the bars."""
        from rich.text import Text

        self._bars.console.print(Text(printable(line, lines=False)), soft_wrap=True)


class Lines:
    """A line when a task starts, one now and then while it runs, and one at its end."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    @contextmanager
    def task(self, description: str, total: int, done: int = 0) -> Iterator[Bar]:
        """Say now and then how far the task is."""
        started = time.monotonic()
        bar = _LineBar(self, description, total, done)
        yield bar
        _say_done(self, description, bar.done, total, time.monotonic() - started)

    def say(self, line: str) -> None:
        """Log one line."""
        print(printable(line, lines=False), file=self._stream, flush=True)


class _RichBar:
    def __init__(self, bars: RichProgress, task: TaskID, done: int) -> None:
        self._bars = bars
        self._task = task
        self.done = done

    def advance(self, amount: int = 1) -> None:
        self.done += amount
        self._bars.advance(self._task, amount)

    def note(self, text: str) -> None:
        self._bars.update(self._task, note=printable(text, lines=False))


class _LineBar:
    def __init__(self, lines: Lines, description: str, total: int, done: int) -> None:
        self._lines = lines
        self._description = description
        self._total = total
        self._already = self.done = done
        self._note = ""
        self._started = self._last_line = time.monotonic()

    def advance(self, amount: int = 1) -> None:
        self.done += amount
        now = time.monotonic()
        if now - self._last_line >= SECONDS_BETWEEN_LINES and self.done < self._total:
            self._last_line = now
            self._lines.say(self._line(now - self._started))

    def note(self, text: str) -> None:
        self._note = text

    def _line(self, seconds: float) -> str:
        parts = [f"{self._description}: {self.done}/{self._total} ({self.done / self._total:.0%})"]
        if self.done > self._already:
            left = seconds / (self.done - self._already) * (self._total - self.done)
            parts.append(f"{_duration(left)} left")
        return ", ".join([*parts, self._note] if self._note else parts)


def _say_done(progress: Progress, description: str, done: int, total: int, seconds: float) -> None:
    """Log the end of a task, and how far it went: a training whose budget is spent ends before its last update."""
    if seconds >= WORTH_A_LINE:
        far = f"{total}" if done >= total else f"{done} of {total}"
        progress.say(f"{description}: {far} done in {_duration(seconds)}")


def _duration(seconds: float) -> str:
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02} min"


def _rich_progress() -> RichProgress:
    from rich.console import Console, RenderableType
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as RichProgress
    from rich.text import Text

    class WithNotes(RichProgress):
        """Bars, and below them the notes that are too long to stand beside them."""

        def get_renderables(self) -> Iterable[RenderableType]:
            yield from super().get_renderables()
            for task in self.tasks:
                if task.fields["note"]:
                    yield Text(task.fields["note"], style="dim", no_wrap=True, overflow="ellipsis")

    return WithNotes(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True, highlight=False),
        transient=True,
    )
