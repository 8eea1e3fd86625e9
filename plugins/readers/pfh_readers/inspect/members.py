"""The files inside an .eval archive, also where its table of contents was never written or is cut off.

A zip ends with that table, so a log whose process was killed has none. Every file of it still has a header of its own
right before it (APPNOTE.TXT of PKWARE, 4.3.7), by which those are found that were written whole.
"""

from __future__ import annotations

import struct
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from pfh_readers.lines import LONGEST_LINE

_HEADER, _DESCRIPTOR = b"PK\x03\x04", b"PK\x07\x08"
_STORED, _DEFLATED, _ZSTD = 0, 8, 93
_ENCRYPTED, _SIZES_BEHIND, _UTF_8 = 0x1, 0x8, 0x800
_ZIP64 = 0x0001
_UNKNOWN = 0xFFFFFFFF


class TooLargeError(ValueError):
    """A member unpacks to more than any sample has."""


@dataclass(frozen=True, kw_only=True)
class Member:
    """One file of an archive."""

    name: str
    start: int
    """Of its packed bytes, from the beginning of the archive."""
    size: int
    """Of its packed bytes."""
    method: int
    encrypted: bool
    checksum: int


def listed_members(archive: zipfile.ZipFile, stream: IO[bytes]) -> tuple[Member, ...]:
    """Return the members that the table of contents names."""
    found = []
    for info in archive.infolist():
        stream.seek(info.header_offset)
        header = stream.read(30)
        if len(header) < 30:
            continue
        name, extra = struct.unpack("<HH", header[26:])
        found.append(
            Member(
                name=info.filename,
                start=info.header_offset + 30 + name + extra,
                size=info.compress_size,
                method=info.compress_type,
                encrypted=bool(info.flag_bits & _ENCRYPTED),
                checksum=info.CRC,
            )
        )
    return tuple(found)


def found_members(stream: IO[bytes], length: int) -> Iterator[Member]:
    """Yield the members that were written whole into an archive of `length` bytes, without its table of contents."""
    place = 0
    while True:
        stream.seek(place)
        header = stream.read(30)
        if len(header) < 30 or not header.startswith(_HEADER):
            return
        _, flags, method, _, _, checksum, packed, _, name_size, extra_size = struct.unpack("<5H3I2H", header[4:])
        name, extra = stream.read(name_size), stream.read(extra_size)
        start, end = place + 30 + name_size + extra_size, None
        if flags & _SIZES_BEHIND and not packed:
            behind = _descriptor(stream, start, length)
            if behind is None:
                return
            checksum, packed, end = behind
        elif packed == _UNKNOWN:
            packed = _long_size(extra)
        end = start + packed if end is None else end
        if end > length:
            return
        text = name.decode("utf-8" if flags & _UTF_8 else "cp437", "replace")
        yield Member(
            name=text, start=start, size=packed, method=method, encrypted=bool(flags & _ENCRYPTED), checksum=checksum
        )
        place = end


def _long_size(extra: bytes) -> int:
    """Return the packed size in the extra field of a file that may be larger than 4 GiB."""
    place = 0
    while place + 4 <= len(extra):
        kind, size = struct.unpack("<HH", extra[place : place + 4])
        if kind == _ZIP64 and size >= 16 and place + 20 <= len(extra):
            return int(struct.unpack("<QQ", extra[place + 4 : place + 20])[1])
        place += 4 + size
    return _UNKNOWN


def _descriptor(stream: IO[bytes], start: int, length: int) -> tuple[int, int, int] | None:
    """Return checksum, packed size and end of a member whose sizes stand behind it."""
    stream.seek(start)
    window = stream.read(min(length - start, LONGEST_LINE))
    place = window.find(_DESCRIPTOR)
    while place >= 0 and place + 16 <= len(window):
        checksum, packed = struct.unpack("<II", window[place + 4 : place + 12])
        if packed == place:
            return checksum, packed, start + place + 16
        place = window.find(_DESCRIPTOR, place + 1)
    return None


def unpacked(stream: IO[bytes], member: Member) -> bytes:
    """Return what a member holds.

    Raises:
        TooLargeError: it unpacks to more than any sample has.
        ValueError: it is encrypted, packed in another way, or damaged.
    """
    if member.encrypted:
        raise ValueError("is encrypted")
    stream.seek(member.start)
    packed = stream.read(min(member.size, LONGEST_LINE + 1))
    if member.method == _STORED:
        content = packed
    elif member.method == _DEFLATED:
        content = zlib.decompressobj(-zlib.MAX_WBITS).decompress(packed, LONGEST_LINE + 1)
    elif member.method == _ZSTD:
        content = _unpacked_zstd(packed)
    else:
        raise ValueError("is packed in a way that Inspect does not use")
    if len(content) > LONGEST_LINE:
        raise TooLargeError(f"unpacks to more than {LONGEST_LINE >> 20} MiB")
    if zlib.crc32(content) != member.checksum:
        raise ValueError("is damaged")
    return content


def _unpacked_zstd(packed: bytes) -> bytes:
    import pyarrow as pa

    content: bytes = pa.input_stream(pa.py_buffer(packed), compression="zstd").read(LONGEST_LINE + 1)
    return content


def open_members(file: Path, stream: IO[bytes]) -> tuple[tuple[Member, ...], bool]:
    """Return the members of an archive, and whether its table of contents names them.

    Raises:
        zipfile.BadZipFile: nothing in the file is a member of a zip.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            return listed_members(archive, stream), True
    except (ValueError, OSError, EOFError, zipfile.BadZipFile, struct.error, NotImplementedError, RecursionError):
        found = tuple(found_members(stream, file.stat().st_size))
        if not found:
            raise
        return found, False
