"""A mirror of finished artifacts behind an fsspec URL, for machines that share no disk.

An artifact's files lie under a name of their own, and a small file that points at them is written last: who reads sees
all of an artifact or nothing, and of two that write the same the first one counts.
"""

from __future__ import annotations

import json
import time
import uuid
from pathlib import Path
from typing import Any

from pfh.errors import StepFailedError, UserError, boundary
from pfh.text import redacted

LISTED_FOR = 5.0
"""Seconds for which a listing is believed."""


class Mirror:
    """Artifacts by kind and key below a URL such as s3://bucket/folder.

    Raises:
        UserError: fsspec knows no such place, or it cannot be reached.
    """

    def __init__(self, url: str) -> None:
        import fsspec

        self.url = redacted(url)
        with boundary(lambda error: f"The store {self.url} cannot be opened ({_cause(error)})."):
            self._files, base = fsspec.core.url_to_fs(url)
            self._base = str(base).rstrip("/")
            self._files.makedirs(self._base, exist_ok=True)
        self._damaged: set[tuple[str, str]] = set()
        self._listed: dict[str, tuple[float, set[str]]] = {}

    def keys(self, kind: str) -> set[str]:
        """Return the keys of the artifacts of a kind that are whole."""
        when, keys = self._listed.get(kind, (float("-inf"), set()))
        if time.monotonic() - when > LISTED_FOR:
            self._files.invalidate_cache()
            with boundary(self._lost):
                found = self._files.ls(f"{self._base}/artifacts/{kind}", detail=False) if self._holds(kind) else []
            keys = {str(name).rpartition("/")[2].removesuffix(".json") for name in found}
            self._listed[kind] = time.monotonic(), keys
        return keys

    def fetch(self, kind: str, key: str, folder: Path) -> bool:
        """Copy an artifact into `folder`; say whether it is there."""
        pointer = f"{self._base}/artifacts/{kind}/{key}.json"
        with boundary(self._lost):
            if key not in self.keys(kind) and not self._files.exists(pointer):
                return False
            told = json.loads(self._files.cat_file(pointer))
            for name in told["files"]:
                target = folder / name
                if not target.resolve().is_relative_to(folder.resolve()):
                    raise UserError(f"{kind} {key} in {self.url} names a file outside of itself: {name}")
                target.parent.mkdir(parents=True, exist_ok=True)
                self._files.get_file(f"{self._place(kind, key, told['folder'])}/{name}", str(target))
        return True

    def forget(self, kind: str, key: str) -> None:
        """Let an artifact that is not whole be written anew."""
        self._damaged.add((kind, key))

    def put(self, kind: str, key: str, folder: Path) -> None:
        """Copy the artifact in `folder` there, unless it is there already.

        Raises:
            StepFailedError: it cannot be written; the artifact itself stays where it is.
        """
        damaged = (kind, key) in self._damaged
        if key in self.keys(kind) and not damaged:
            return
        pointer, own = f"{self._base}/artifacts/{kind}/{key}.json", uuid.uuid4().hex
        files = sorted(str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file())
        try:
            for name in files:
                target = f"{self._place(kind, key, own)}/{name}"
                self._files.makedirs(target.rpartition("/")[0], exist_ok=True)
                self._files.put_file(str(folder / name), target)
            if damaged or not self._files.exists(pointer):
                self._files.makedirs(pointer.rpartition("/")[0], exist_ok=True)
                self._files.pipe_file(pointer, json.dumps({"folder": own, "files": files}).encode())
        except Exception as error:
            raise StepFailedError(
                f"The store {self.url} cannot be written ({_cause(error)}); what was made is kept here, and the same "
                "command goes on."
            ) from error
        self._damaged.discard((kind, key))
        self._listed.pop(kind, None)

    def _holds(self, kind: str) -> bool:
        return bool(self._files.exists(f"{self._base}/artifacts/{kind}"))

    def _place(self, kind: str, key: str, own: str) -> str:
        return f"{self._base}/objects/{kind}/{key}/{own}"

    def _lost(self, error: Exception) -> str:
        return f"The store {self.url} cannot be read ({_cause(error)})."


def _cause(error: Any) -> str:  # noqa: ANN401 - whatever was raised
    lines = redacted(str(error)).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:200]}" if lines else type(error).__name__
