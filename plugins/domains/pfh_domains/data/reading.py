"""Rows of a user's own: a file, or a dataset of the hub. What is no row is kept with its place and the reason."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pfh.errors import DataUnavailableError, UserError, did_you_mean, reading
from pfh.hooks.datasets import DataSource, Row

LONGEST_FIELD = 2**31 - 1
"""Characters of a field of a CSV file; what is too long for a training is said by its own line."""
_HUB_ID = re.compile(r"[A-Za-z0-9_][\w.+-]*(/[A-Za-z0-9_][\w.+-]*)?")
_IN_A_LIST = ("data", "rows", "train", "examples", "items", "records")
"""Keys under which a JSON file keeps its list of rows."""


@dataclass(frozen=True, kw_only=True)
class Rows:
    """What was read."""

    origin: str
    """The file, or the dataset and where it came from."""
    unit: str
    """What a place counts: lines of a file, or rows."""
    rows: tuple[tuple[int, Row], ...]
    """Place, from 1, and columns to values."""
    broken: tuple[tuple[int, str], ...] = ()
    """Place and reason of what is no row."""

    @property
    def fingerprint(self) -> str:
        """Hash of the rows."""
        text = json.dumps([dict(row) for _, row in self.rows], sort_keys=True, default=str)
        return hashlib.sha256(text.encode("utf-8", "backslashreplace")).hexdigest()[:16]


def read(dataset: str, config: str, split: str, data: DataSource) -> Rows:
    """Read the rows of a file or of a dataset of the hub.

    Raises:
        UserError: there is no such file, it is of no known kind, or it holds no rows.
        DataUnavailableError: the dataset cannot be had here.
    """
    file = Path(dataset).expanduser()
    if file.is_dir():
        raise UserError(f"{dataset} is a folder: name a file{did_you_mean(file.name, _files_in(file)) or ' in it'}.")
    if file.is_file():
        return _read_file(file)
    if file.suffix.lower() in _READERS or not _HUB_ID.fullmatch(dataset):
        near = did_you_mean(file.name, _files_in(file.parent))
        raise UserError(f"There is no file {dataset}.{near}")
    try:
        found = data.load(dataset, config, split)
    except DataUnavailableError as error:
        raise DataUnavailableError(
            f"There is no file {dataset}, and the {error} Another configuration or split is chosen with -o data.config "
            "and -o data.split."
        ) from None
    return Rows(origin=found.origin, unit="row", rows=tuple(enumerate(found.rows, start=1)))


def _files_in(folder: Path) -> list[str]:
    try:
        return [file.name for file in folder.iterdir() if file.suffix.lower() in _READERS]
    except OSError:
        return []


def _read_file(file: Path) -> Rows:
    reader = _READERS.get(file.suffix.lower())
    if reader is None:
        raise UserError(f"{file} has no ending that tells what it holds: name it {', '.join(_READERS)}.")
    with reading(str(file), "mend or replace the file"):
        found = reader(file)
    if not found.rows and found.broken:
        place, reason = found.broken[0]
        raise UserError(f"{file} holds no rows: {found.unit} {place} {reason}, and so are all {len(found.broken)}.")
    if not found.rows:
        raise UserError(f"{file} holds no rows.")
    return found


def _json_lines(file: Path) -> Rows:
    content = file.read_bytes()
    if content.lstrip()[:1] == b"[":
        return _whole_json(file, content)
    return _sorted(file, "line", _parsed(enumerate(content.split(b"\n"), start=1)))


def _parsed(lines: Iterable[tuple[int, bytes]]) -> Iterator[tuple[int, Any]]:
    for number, line in lines:
        if not line.strip():
            continue
        try:
            yield number, json.loads(line)
        except UnicodeDecodeError:
            yield number, _Broken("is no text in UTF-8")
        except (ValueError, RecursionError):
            yield number, _Broken("is no JSON")


def _json(file: Path) -> Rows:
    content = file.read_bytes()
    try:
        return _whole_json(file, content)
    except json.JSONDecodeError as error:
        if error.msg != "Extra data" or not content.strip():
            raise UserError(f"{file} is no JSON (line {error.lineno}: {error.msg}).") from None
        return _json_lines(file)


def _whole_json(file: Path, content: bytes) -> Rows:
    if not content.strip():
        return Rows(origin=str(file), unit="row", rows=())
    found = json.loads(content)
    if isinstance(found, dict):
        listed = [found[key] for key in _IN_A_LIST if isinstance(found.get(key), list)]
        columns = {name: values for name, values in found.items() if isinstance(values, list)}
        if listed:
            found = listed[0]
        elif columns and len({len(values) for values in columns.values()}) == 1 == len({len(columns), len(found)}):
            found = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
        else:
            found = [found]
    if not isinstance(found, list):
        raise UserError(f"{file} is JSON, but no list of objects.")
    return _sorted(file, "row", enumerate(found, start=1))


def _separated(delimiter: str | None) -> Callable[[Path], Rows]:
    def read_table(file: Path) -> Rows:
        text = file.read_bytes().decode("utf-8-sig")
        header = text.partition("\n")[0]
        between = delimiter or (";" if header.count(";") > header.count(",") else ",")
        csv.field_size_limit(LONGEST_FIELD)
        lines = csv.reader(io.StringIO(text, newline=""), delimiter=between, strict=True)
        names = [name.strip() for name in next(lines, [])]
        if len(set(names)) < len(names):
            raise UserError(f"{file} names a column twice in its first line: {', '.join(names)}.")
        return _sorted(file, "line", ((lines.line_num, _fields(names, line)) for line in lines if line))

    return read_table


def _fields(names: Sequence[str], line: Sequence[str]) -> Any:  # noqa: ANN401 - a row, or what is wrong with it
    if len(line) != len(names):
        return _Broken(f"has {len(line)} fields, and the first line names {len(names)}")
    return dict(zip(names, line, strict=True))


def _parquet(file: Path) -> Rows:
    import pyarrow.parquet as pq

    return _sorted(file, "row", enumerate(pq.read_table(file).to_pylist(), start=1))


class _Broken(str):
    """The reason why something is no row."""

    __slots__ = ()


def _sorted(file: Path, unit: str, found: Iterable[tuple[int, Any]]) -> Rows:
    rows, broken = [], []
    for place, each in found:
        if isinstance(each, dict):
            rows.append((place, each))
        else:
            broken.append((place, str(each) if isinstance(each, _Broken) else "is no JSON object"))
    return Rows(origin=str(file), unit=unit, rows=tuple(rows), broken=tuple(broken))


_READERS: dict[str, Callable[[Path], Rows]] = {
    ".jsonl": _json_lines,
    ".json": _json,
    ".csv": _separated(None),
    ".tsv": _separated("\t"),
    ".parquet": _parquet,
}
