"""JSON of unknown origin, whole or a line at a time: what cannot be read is skipped, and said."""

from __future__ import annotations

import codecs
import gzip
import io
import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from pfh.errors import UserError

SHOWN = 20
"""So many skipped lines of a file are told one by one."""

LONGEST_LINE = 1 << 28
"""Bytes of a line, or of one member of an archive; no log that a tool wrote has longer ones."""

LARGEST_FILE = 1 << 32
"""Bytes of a JSON file that is read whole."""

PIECE = 1 << 24
"""Bytes that are read at a time."""

_UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


class Skipped:
    """What was skipped while a log was read, a line each."""

    def __init__(self) -> None:
        self._lines: list[str] = []
        self._counts: dict[Path, int] = {}

    @property
    def lines(self) -> list[str]:
        """What was said so far; of a file with many lines skipped the first are told, the others counted."""
        more = [(file, count - SHOWN) for file, count in self._counts.items() if count > SHOWN]
        return [*self._lines, *(f"{file.name}: {count} more lines skipped" for file, count in more)]

    def say(self, line: str) -> None:
        """Add a line about a whole file or folder."""
        self._lines.append(line)

    def at(self, file: Path, place: int | str, why: str) -> None:
        """Add a line about one line of `file`, counted from 1, or about one named part of it."""
        count = self._counts[file] = self._counts.get(file, 0) + 1
        if count <= SHOWN:
            where = f"line {place}" if isinstance(place, int) else place
            self._lines.append(f"{file.name}, {where}: {why}; skipped")

    def count(self, file: Path) -> int:
        """Return how many lines of `file` were skipped."""
        return self._counts.get(file, 0)


def opened(file: Path) -> IO[bytes]:
    """Open a file to read, unpacked where its name says that it is packed with gzip.

    Raises:
        UserError: something else stands there, such as a pipe or a device.
    """
    if file.exists() and not file.is_file():
        raise UserError(f"{file} is no file.")
    return gzip.open(file, "rb") if file.suffix == ".gz" else file.open("rb")  # type: ignore[return-value]


def plain_name(file: Path) -> str:
    """Return a file's name as it is unpacked."""
    return file.name.removesuffix(".gz")


def parsed(text: bytes) -> Any:  # noqa: ANN401 - whatever JSON holds
    """Return what a JSON text holds.

    Raises:
        ValueError: why it cannot be read, in words that follow the name of the place.
    """
    try:
        return json.loads(text.removeprefix(codecs.BOM_UTF8).decode("utf-8"))
    except UnicodeDecodeError as error:
        raise ValueError(f"is not UTF-8 (byte {error.start})") from error
    except RecursionError as error:
        raise ValueError("is nested too deeply") from error
    except ValueError as error:
        raise ValueError("is no JSON") from error


def read_json(file: Path) -> Any:  # noqa: ANN401
    """Return what a JSON file holds.

    Raises:
        UserError: it is too large, or no JSON.
    """
    try:
        with opened(file) as stream:
            content = b"".join(_pieces(stream, LARGEST_FILE))
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise UserError(f"{file} cannot be unpacked, or is cut off.") from error
    if len(content) > LARGEST_FILE:
        raise UserError(f"{file} is larger than {LARGEST_FILE >> 30} GiB, too large for one JSON text.")
    try:
        return parsed(content.decode("utf-16").encode() if content.startswith(_UTF_16) else content)
    except ValueError as error:
        raise UserError(f"{file} {error}, or is cut off.") from error


def _pieces(stream: IO[bytes], most: int) -> Iterator[bytes]:
    """Yield what a file holds, up to little more than `most` bytes, without taking room for them at once."""
    while most >= 0 and (piece := stream.read(PIECE)):
        most -= len(piece)
        yield piece


def read_lines(file: Path, skipped: Skipped) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield (line number, object) for every line that holds one, or for every element of one JSON array."""
    try:
        yield from _read_lines(file, skipped)
    except (EOFError, gzip.BadGzipFile, zlib.error):
        skipped.say(f"{file.name}: is cut off, or damaged, where it is packed; what comes before that is read")


def _read_lines(file: Path, skipped: Skipped) -> Iterator[tuple[int, dict[str, Any]]]:
    with opened(file) as stream:
        start = stream.read(64)
        stream.seek(0)
        if start.lstrip(codecs.BOM_UTF8 + b" \r\n\t").startswith(b"["):
            rows = _array(file)
            if rows is not None:
                yield from _objects(rows, file, skipped)
                return
        for number, line in enumerate(_lines(stream, start), start=1):
            if not line.strip():
                continue
            if len(line) > LONGEST_LINE:
                skipped.at(file, number, f"is longer than {LONGEST_LINE >> 20} MiB")
                continue
            try:
                found = parsed(line)
            except ValueError as error:
                cut = "" if line.endswith(b"\n") or "no JSON" not in str(error) else ": the file is cut off there"
                skipped.at(file, number, f"{error}{cut}")
                continue
            if isinstance(found, dict):
                yield number, found
            else:
                skipped.at(file, number, "is no JSON object")


def is_array(file: Path) -> bool:
    """Say whether a file begins as a JSON array does."""
    try:
        with opened(file) as stream:
            return stream.read(64).lstrip(codecs.BOM_UTF8 + b" \r\n\t").startswith(b"[")
    except (EOFError, gzip.BadGzipFile, zlib.error):
        return False


def _array(file: Path) -> list[Any] | None:
    try:
        found = read_json(file)
    except UserError:
        return None
    return found if isinstance(found, list) else None


def _objects(rows: list[Any], file: Path, skipped: Skipped) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, row in enumerate(rows, start=1):
        if isinstance(row, dict):
            yield number, row
        else:
            skipped.at(file, number, "is no JSON object")


def _lines(stream: IO[bytes], start: bytes) -> Iterator[bytes]:
    """Yield the lines of a file; of one that is too long only its beginning, longer than is allowed."""
    if start.startswith(_UTF_16):
        for each in io.TextIOWrapper(stream, encoding="utf-16", errors="surrogateescape", newline="\n"):
            yield each.encode("utf-8", "surrogateescape")
        return
    while line := stream.readline(LONGEST_LINE + 1):
        yield line
        rest = line
        while len(rest) > LONGEST_LINE and not rest.endswith(b"\n"):
            rest = stream.readline(LONGEST_LINE + 1)
