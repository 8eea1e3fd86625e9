"""Logs of other tools: which files make up a log, and which of the installed readers knows it."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pfh.errors import StepFailedError, UserError, did_you_mean, out_of_resources
from pfh.hooks.readers import Log, LogSpec
from pfh.registry.plugins import Plugins
from pfh.sources.fingerprints import file_hash

if TYPE_CHECKING:
    from pydantic import BaseModel

DEEPEST = 5
"""Folders below the one that was named that are looked into."""

MOST_FILES = 20_000

_WEIGHTS = {".safetensors", ".bin", ".gguf", ".pt", ".pth", ".ckpt"}

ReaderOptions = Mapping[str, "BaseModel | None"]
"""Name of a reader to its options."""


def named_reader(text: str, plugins: Plugins) -> str:
    """Return the reader that stands before the colon of `text`, as in "READER:PATH"; empty if there is none.

    Raises:
        UserError: what stands there is nearly the name of a reader, and nothing of that name exists.
    """
    before, colon, after = text.partition(":")
    readers = plugins.catalogue.names("readers")
    if not colon or not after or os.path.lexists(Path(text).expanduser()):
        return ""
    if before in readers:
        return before
    if os.path.lexists(Path(after).expanduser()):
        raise UserError(
            f"{text}: there is no reader {before!r}.{did_you_mean(before, readers)} Installed: {', '.join(readers)}."
        )
    return ""


def log_files(path: Path) -> tuple[Path, ...]:
    """Return the files that a reader may look at: `path` itself, or those in the folder and below.

    Raises:
        UserError: there is no such path, or it is neither a file nor a folder, or it holds too many files.
    """
    if path.is_file():
        return (path,)
    if not path.is_dir():
        raise UserError(f"{path} is no file and no folder." if path.exists() else f"There is no {path}.")
    files = []
    for file in _below(path, DEEPEST):
        files.append(file)
        if len(files) > MOST_FILES:
            raise UserError(f"{path} holds more than {MOST_FILES} files: name the folder of one model's log.")
    return tuple(sorted(files))


def log_fingerprint(path: Path, files: tuple[Path, ...], cache_dir: Path) -> str:
    """Return a SHA-256 over the names and contents of the files of a log."""
    root = path if path.is_dir() else path.parent
    digest = hashlib.sha256(f"{path.resolve().name}\0".encode("utf-8", "surrogateescape"))
    for file in files:
        name = str(file.relative_to(root)).encode("utf-8", "surrogateescape")
        digest.update(name + b"\0" + file_hash(file, cache_dir).encode() + b"\0")
    return digest.hexdigest()


def _below(folder: Path, depth: int) -> Iterator[Path]:
    for entry in sorted(folder.iterdir()):
        if entry.name.startswith("."):
            continue
        if entry.is_dir():
            if depth and not entry.is_symlink():
                yield from _below(entry, depth - 1)
        elif entry.is_file() and entry.suffix not in _WEIGHTS:
            yield entry


def read_log(
    path: Path,
    files: tuple[Path, ...],
    plugins: Plugins,
    *,
    readers: Sequence[str] = (),
    options: ReaderOptions | None = None,
) -> tuple[str, Log] | None:
    """Read a log by the one reader that knows it; return that reader's name and what it read, or None.

    Args:
        path: what was named.
        files: the files of it, by `log_files`.
        plugins: of which `readers` are asked; of all that are installed if none is named.
        readers: names of readers.
        options: of the readers.

    Raises:
        UserError: several readers know it, or the one that does finds nothing that can be read.
    """
    found = {}
    for name in readers or plugins.catalogue.names("readers"):
        chosen = options[name] if options and name in options else plugins.options("readers", name, {})
        try:
            log = plugins.read_log(name, LogSpec(path=path, files=files, options=chosen, named=len(readers) == 1))
        except StepFailedError as error:
            if error.__cause__ is None or out_of_resources(error.__cause__):
                raise
            said = getattr(error.__cause__, "strerror", None) or error
            raise UserError(f"{path} cannot be read: {said}") from error
        if log is not None:
            found[name] = log
    if len(found) > 1:
        ways = " or ".join(f"{name}:{path}" for name in found)
        raise UserError(f"{path} can be read in {len(found)} ways: write {ways}.")
    return next(iter(found.items()), None)


def open_log(text: str, plugins: Plugins | None = None) -> Log:
    """Read the log that `text` names, as "READER:PATH" or as a path that one reader knows.

    Raises:
        UserError: there is none, no reader knows it, or nothing of it can be read.
    """
    plugins = plugins or Plugins()
    reader = named_reader(text, plugins)
    path = log_path(text, reader)
    found = read_log(path, log_files(path), plugins, readers=(reader,) if reader else ())
    if found is None:
        raise UserError(unknown_log(path, plugins, reader))
    return found[1]


def log_path(text: str, reader: str) -> Path:
    """Return the path in `text`, behind the name of a reader if there is one."""
    return Path(text.removeprefix(f"{reader}:") if reader else text).expanduser()


def unknown_log(path: Path, plugins: Plugins, reader: str = "") -> str:
    """Say that no reader knows `path`, which formats are known, and how to say which it is."""
    if path.is_file() and path.stat().st_size == 0:
        return f"{path} is empty: write it again with the tool that it is from."
    if path.is_dir() and not log_files(path):
        return f"{path} holds no file that could be a log."
    if reader:
        known = plugins.catalogue.find("readers", reader).summary.rstrip(".")
        return f"{path} is no log that {reader} can read ({known})."
    formats = ", ".join(plugins.catalogue.names("readers"))
    return f"{path} is no log that a reader knows. Known formats: {formats}; say which it is as in table:{path}."
