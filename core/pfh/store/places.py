"""Where a store lies: in a folder, or in a folder of this machine that is mirrored at a URL."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

from pfh.errors import UserError, reading
from pfh.text import write_whole

MIRROR = "mirror.json"
"""In a store's folder: tells the URL that it is mirrored at."""


def default_root() -> Path:
    """Return the store's folder: of the environment variable PFH_STORE, else ~/.cache/pfh."""
    return store_folder(os.environ.get("PFH_STORE") or str(_own()))


def store_folder(place: str) -> Path:
    """Return the folder of a store; for a URL such as s3://bucket/folder one of this machine, which tells the URL.

    Raises:
        UserError: that folder cannot be written.
    """
    if "://" not in place:
        return Path(place).expanduser()
    folder = _own() / "mirrored" / hashlib.sha256(place.encode()).hexdigest()[:16]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if mirrored_at(folder) != place:
            write_whole(folder / MIRROR, json.dumps({"url": place}))
    except OSError as error:
        raise UserError(f"{folder}, for what is fetched of {place}, cannot be written ({error.strerror}).") from error
    return folder


def mirrored_at(folder: Path) -> str:
    """Return the URL that a store's folder is mirrored at; empty where it is not.

    Raises:
        UserError: that cannot be read.
    """
    file = folder / MIRROR
    if not file.exists():
        return ""
    with reading(str(file), "remove it, and name the store by its URL"):
        return str(json.loads(file.read_text(encoding="utf-8"))["url"])


def _own() -> Path:
    return Path.home() / ".cache" / "pfh"
