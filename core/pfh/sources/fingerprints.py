"""Content fingerprints of model files. A large file is hashed once, then remembered by path, size, times and inode."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Iterable
from pathlib import Path

REMEMBERED_BYTES = 1 << 20
"""Smaller files are hashed afresh every time."""


def fingerprint(files: Iterable[Path], cache_dir: Path, *, also: Iterable[str] = ()) -> str:
    """Return a SHA-256 over the names and contents of `files`, whatever their folder, and over the texts `also`.

    What a JSON configuration says about where it was loaded from is left out: a copied model is the same model.
    """
    digest = hashlib.sha256()
    for text in also:
        digest.update(text.encode() + b"\0")
    for file in sorted(files, key=lambda path: path.name):
        digest.update(f"{file.name}\0{_content_hash(file, cache_dir)}\0".encode())
    return digest.hexdigest()


def _content_hash(file: Path, cache_dir: Path) -> str:
    if file.name in ("config.json", "adapter_config.json"):
        return _configuration_hash(file)
    return file_hash(file, cache_dir)


def _configuration_hash(file: Path) -> str:
    configuration = json.loads(file.read_text(encoding="utf-8"))
    for key in ("_name_or_path", "base_model_name_or_path"):
        configuration.pop(key, None)
    if isinstance(configuration.get("target_modules"), list):  # peft writes a set, in no stable order
        configuration["target_modules"].sort()
    return hashlib.sha256(json.dumps(configuration, sort_keys=True).encode()).hexdigest()


def file_hash(file: Path, cache_dir: Path) -> str:
    """Return the SHA-256 of `file`, from `cache_dir` if it was hashed there before and has not changed since."""
    stat = file.stat()
    if stat.st_size < REMEMBERED_BYTES:
        return _read_hash(file)
    # A copy can be given any time of modification, and none can set the time of the change itself.
    key = f"{file.resolve()}\0{stat.st_size}\0{stat.st_mtime_ns}\0{stat.st_ctime_ns}\0{stat.st_ino}"
    remembered = cache_dir / "hashes" / hashlib.sha256(key.encode()).hexdigest()
    if remembered.exists():
        return remembered.read_text()
    digest = _read_hash(file)
    with contextlib.suppress(OSError):  # a store that cannot be written is hashed for every time
        remembered.parent.mkdir(parents=True, exist_ok=True)
        partial = remembered.with_suffix(f".{os.getpid()}")
        partial.write_text(digest)
        partial.replace(remembered)
    return digest


def _read_hash(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
