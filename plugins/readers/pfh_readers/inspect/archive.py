"""The files of one Inspect log: an .eval archive or a .json, its header and one sample after the other."""

from __future__ import annotations

import struct
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from pfh.errors import UserError

from pfh_readers.inspect.members import Member, TooLargeError, open_members, unpacked
from pfh_readers.lines import Skipped, parsed, read_json

_SAMPLES = "samples/"
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
    stream = file.open("rb")
    try:
        members, whole = open_members(file, stream)
    except (*_UNREADABLE, RecursionError) as error:
        raise UserError(f"{file} is no .eval log, or is cut off before its first sample.") from error
    if not whole:
        count = sum(member.name.startswith(_SAMPLES) for member in members)
        skipped.say(
            f"{file.name}: its table of contents is missing, as where Inspect was killed or the file is cut off; "
            f"{count} samples were found without it"
        )
    named = {member.name: member for member in members}
    start = next((name for name in _STARTS if name in named), None)
    if start is None:
        raise UserError(f"{file} is no log of Inspect: it has neither {' nor '.join(_STARTS)}.")
    try:
        header = parsed(unpacked(stream, named[start]))
    except _UNREADABLE as error:
        raise UserError(f"{file}: {start} cannot be read, so what was measured is not known.") from error
    if not isinstance(header, Mapping):
        raise UserError(f"{file}: {start} holds no log of Inspect.")
    reductions: Any = []
    if "reductions.json" in named:
        try:
            reductions = parsed(unpacked(stream, named["reductions.json"]))
        except _UNREADABLE:
            skipped.at(file, "reductions.json", "cannot be read, so scores are averaged over epochs")
    return InspectFile(
        file=file,
        header=header,
        samples=_archived_samples(file, members, stream, skipped),
        reductions=_mappings(reductions),
    )


def _archived_samples(
    file: Path, members: Sequence[Member], stream: IO[bytes], skipped: Skipped
) -> Iterator[tuple[str, Json]]:
    with stream:
        for member in members:
            name = member.name
            if not name.startswith(_SAMPLES):
                continue
            try:
                found = parsed(unpacked(stream, member))
            except TooLargeError as error:
                skipped.at(file, name, str(error))
                continue
            except _UNREADABLE:
                skipped.at(file, name, "cannot be read")
                continue
            if isinstance(found, Mapping):
                yield name, found
            else:
                skipped.at(file, name, "is no JSON object")


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
