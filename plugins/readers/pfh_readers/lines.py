"""JSON lines of unknown origin: what cannot be read is skipped, and said."""

from __future__ import annotations

import codecs
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

SHOWN = 20
"""So many skipped lines of a file are told one by one."""
_UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


class Skipped:
    """What was skipped while a log was read, a line each."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self._counts: dict[Path, int] = {}

    def say(self, line: str) -> None:
        """Add a line about a whole file or folder."""
        self.lines.append(line)

    def at(self, file: Path, number: int, why: str) -> None:
        """Add a line about one line of `file`, counted from 1; from the 21st on only their number is kept."""
        count = self._counts[file] = self._counts.get(file, 0) + 1
        if count <= SHOWN:
            self.lines.append(f"{file.name}, line {number}: {why}; skipped")
            return
        if count > SHOWN + 1:
            self.lines.remove(self._more(file, count - 1))
        self.lines.append(self._more(file, count))

    def count(self, file: Path) -> int:
        """Return how many lines of `file` were skipped."""
        return self._counts.get(file, 0)

    def _more(self, file: Path, count: int) -> str:
        return f"{file.name}: {count - SHOWN} more lines skipped"


def read_lines(file: Path, skipped: Skipped) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield (line number, object) for every line that holds one."""
    with file.open("rb") as stream:
        begin = stream.read(2)
        stream.seek(0)
        lines = _recoded(file) if begin in _UTF_16 else stream
        for number, line in enumerate(lines, start=1):
            text = line.removeprefix(codecs.BOM_UTF8) if number == 1 else line
            if not text.strip():
                continue
            try:
                found = json.loads(text.decode("utf-8"))
            except UnicodeDecodeError as error:
                skipped.at(file, number, f"is not UTF-8 (byte {error.start})")
            except ValueError:
                whole = line.endswith(b"\n")
                skipped.at(file, number, "is no JSON" if whole else "is no JSON: the file is cut off there")
            else:
                if isinstance(found, dict):
                    yield number, found
                else:
                    skipped.at(file, number, "is no JSON object")


def _recoded(file: Path) -> Iterator[bytes]:
    with file.open(encoding="utf-16", errors="surrogateescape", newline="\n") as stream:
        for line in stream:
            yield line.encode("utf-8", "surrogateescape")
