"""The files of one Inspect log: an .eval archive or a .json, its header and one sample after the other."""

from __future__ import annotations

import struct
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from pfh.errors import UserError

from pfh_readers.lines import LONGEST_LINE, Skipped, parsed, read_json

_ZSTD = 93
_ENCRYPTED = 0x1
_STARTS = ("header.json", "_journal/start.json")
_UNREADABLE = (ValueError, OSError, EOFError, zipfile.BadZipFile, struct.error, zlib.error, NotImplementedError)

Json = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class InspectFile:
    """One log, opened."""

    file: Path
    header: Json
    samples: Iterator[tuple[str, Json]]
    """(Name of the place, sample), read as they are asked for."""
    reductions: tuple[Json, ...] = ()
    """Scores of samples over their epochs: scorer, reducer, samples."""


def open_log_file(file: Path, skipped: Skipped) -> InspectFile | None:
    """Open one log; None for JSON that is no log of Inspect.

    Raises:
        UserError: it is an .eval file that cannot be read, or a .json that is cut off.
    """
    return _open_archive(file, skipped) if file.suffix == ".eval" else _open_json(file)


def _open_archive(file: Path, skipped: Skipped) -> InspectFile:
    try:
        archive = zipfile.ZipFile(file)
        names = set(archive.namelist())
    except (*_UNREADABLE, RecursionError) as error:
        raise UserError(f"{file} is no .eval log, or is cut off: its table of contents is missing.") from error
    start = next((name for name in _STARTS if name in names), None)
    if start is None:
        raise UserError(f"{file} is no log of Inspect: it has neither {' nor '.join(_STARTS)}.")
    stream = file.open("rb")
    try:
        header = _member(archive, stream, archive.getinfo(start))
    except _UNREADABLE as error:
        raise UserError(f"{file}: {start} cannot be read, so what was measured is not known.") from error
    if not isinstance(header, Mapping):
        raise UserError(f"{file}: {start} holds no log of Inspect.")
    reductions: Any = []
    if "reductions.json" in names:
        try:
            reductions = _member(archive, stream, archive.getinfo("reductions.json"))
        except _UNREADABLE:
            skipped.at(file, "reductions.json", "cannot be read, so scores are averaged over epochs")
    return InspectFile(
        file=file,
        header=header,
        samples=_archived_samples(file, archive, stream, skipped),
        reductions=_mappings(reductions),
    )


def _archived_samples(
    file: Path, archive: zipfile.ZipFile, stream: IO[bytes], skipped: Skipped
) -> Iterator[tuple[str, Json]]:
    with archive, stream:
        for info in archive.infolist():
            if not info.filename.startswith("samples/"):
                continue
            try:
                found = _member(archive, stream, info)
            except _TooLargeError as error:
                skipped.at(file, info.filename, str(error))
                continue
            except _UNREADABLE:
                skipped.at(file, info.filename, "cannot be read")
                continue
            if isinstance(found, Mapping):
                yield info.filename, found
            else:
                skipped.at(file, info.filename, "is no JSON object")


class _TooLargeError(ValueError):
    """A member unpacks to more than any sample has."""


def _member(archive: zipfile.ZipFile, stream: IO[bytes], info: zipfile.ZipInfo) -> Any:  # noqa: ANN401 - JSON
    """Read one file of the zip; Inspect packs with Zstandard, which Python's zipfile does not know."""
    if info.flag_bits & _ENCRYPTED:
        raise ValueError("is encrypted")
    if info.compress_type == _ZSTD:
        content = _unpacked(stream, info)
    else:
        with archive.open(info) as member:
            content = member.read(LONGEST_LINE + 1)
    if len(content) > LONGEST_LINE:
        raise _TooLargeError(f"unpacks to more than {LONGEST_LINE >> 20} MiB")
    return parsed(content)


def _unpacked(stream: IO[bytes], info: zipfile.ZipInfo) -> bytes:
    import pyarrow as pa

    stream.seek(info.header_offset)
    name, extra = struct.unpack("<HH", stream.read(30)[26:30])
    stream.seek(name + extra, 1)
    packed = stream.read(info.compress_size)
    content: bytes = pa.input_stream(pa.py_buffer(packed), compression="zstd").read(LONGEST_LINE + 1)
    return content


def _open_json(file: Path) -> InspectFile | None:
    with file.open("rb") as stream:
        if not stream.read(64).lstrip(b"\xef\xbb\xbf \r\n\t").startswith(b"{"):
            return None
    found = read_json(file)
    if not (isinstance(found, Mapping) and isinstance(found.get("eval"), Mapping) and "task" in found["eval"]):
        return None
    samples = found.get("samples")
    rows = samples if isinstance(samples, list) else []
    places = ((f"sample {number}", row) for number, row in enumerate(rows, start=1))
    return InspectFile(file=file, header=found, samples=places, reductions=_mappings(found.get("reductions")))


def _mappings(found: object) -> tuple[Json, ...]:
    return tuple(each for each in found if isinstance(each, Mapping)) if isinstance(found, list) else ()
