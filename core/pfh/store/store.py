"""The store: artifacts in folders named by a hash of what made them, whole or not there at all."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import shutil
import stat
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pfh.errors import StepFailedError, UserError, content_of, reading
from pfh.progress import Progress, Silent

if TYPE_CHECKING:
    from filelock import FileLock

MANIFEST = "manifest.json"
_CHUNK = 1 << 22
_LARGEST_MANIFEST = 1 << 28
ROOM = 1 << 24
"""Bytes that must be free before anything is made: with less a step would only fail later."""
_KEY = re.compile("[0-9a-f]{20}")


@dataclass(frozen=True, kw_only=True)
class Artifact:
    """A folder of the store whose content matches its manifest."""

    kind: str
    key: str
    path: Path
    reused: bool
    """It was there already: nothing was computed."""


def default_root() -> Path:
    """Return the store's folder: the environment variable PFH_STORE, else ~/.cache/pfh."""
    return Path(os.environ.get("PFH_STORE") or Path.home() / ".cache" / "pfh").expanduser()


def artifact_key(kind: str, inputs: Mapping[str, Any]) -> str:
    """Return the key of the artifact that `inputs` make: 20 hexadecimal digits of a SHA-256."""
    text = json.dumps({"kind": kind, "inputs": inputs}, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:20]


class Store:
    """Artifacts by kind and key under one root folder.

    Raises:
        UserError: the root cannot be written.
    """

    def __init__(self, root: Path, progress: Progress | None = None) -> None:
        self.root = root
        self._progress = progress or Silent()
        self._verified: set[Path] = set()
        try:
            for name in ("artifacts", "partial", "locks", "cache", "logs"):
                (root / name).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise self._unwritable(error.strerror) from error

    @property
    def cache(self) -> Path:
        """A folder for files that can be fetched or made again."""
        return self.root / "cache"

    def find(self, kind: str, inputs: Mapping[str, Any]) -> Artifact | None:
        """Return the artifact that `inputs` made, if it is there and whole."""
        return self.get(kind, artifact_key(kind, inputs))

    def get(self, kind: str, key: str) -> Artifact | None:
        """Return the artifact of that key, if it is there and whole; reading moves and writes nothing.

        `key` may come from anybody's results: what is no key names no artifact.

        Raises:
            UserError: it is another user's, who lets nobody read it.
        """
        if not _KEY.fullmatch(key):
            return None
        path = self.root / "artifacts" / kind / key
        try:
            if not path.is_dir():
                return None
            if path not in self._verified:
                if damage := _damage(path, kind, key):
                    self._progress.say(f"{kind} {key} in the store is damaged ({damage}) and is not used")
                    return None
                self._verified.add(path)
        except PermissionError as error:
            raise UserError(
                f"{error.filename} in the store is another user's and cannot be read: have them run chmod -R a+rX "
                f"{self.root}, or name another store with --store or PFH_STORE."
            ) from error
        return Artifact(kind=kind, key=key, path=path, reused=True)

    def make(self, kind: str, inputs: Mapping[str, Any], build: Callable[[Path, Path], None]) -> Artifact:
        """Return the artifact that `inputs` make, building it if it is not there.

        Args:
            kind: such as "evaluation" or "training".
            inputs: everything that decides the content, as JSON; its hash is the key.
            build: called with a work folder that outlives a killed process (journals, checkpoints) and an empty
                folder to fill, which becomes the artifact once it returns.

        Raises:
            UserError: the artifact is not there, and the store cannot be written or has no room.
            StepFailedError: the disk became full.
        """
        if there := self.find(kind, inputs):
            return there
        key = artifact_key(kind, inputs)
        lock = self._locked(kind, key)
        try:
            return self.find(kind, inputs) or self._build(kind, key, inputs, build)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            raise StepFailedError(
                f"The disk of the store {self.root} is full; free space or name another store with --store, "
                "and run the same command again: it goes on where it stopped."
            ) from error
        finally:
            lock.release()

    def _locked(self, kind: str, key: str) -> FileLock:
        """Return the lock of an artifact, held."""
        from filelock import FileLock, Timeout

        lock = FileLock(self.root / "locks" / f"{kind}-{key}.lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            self._progress.say(f"another process is making {kind} {key}; waiting for it")
            lock.acquire()
        except OSError as error:
            raise self._unwritable(error.strerror) from error
        return lock

    def _unwritable(self, why: str | None) -> UserError:
        return UserError(f"The store {self.root} cannot be written ({why}); name another with --store or PFH_STORE.")

    def discard(self, artifact: Artifact) -> None:
        """Remove an artifact, so that `make` builds it anew."""
        shutil.rmtree(artifact.path)
        self._verified.discard(artifact.path)

    def scratch(self, kind: str, inputs: Mapping[str, Any]) -> Path:
        """Return the work folder that `make` would hand to `build`; it goes when the artifact is next built."""
        work = self.root / "partial" / f"{kind}-{artifact_key(kind, inputs)}" / "work"
        work.mkdir(parents=True, exist_ok=True)
        return work

    def _set_aside(self, path: Path, kind: str, key: str) -> None:
        aside = self.root / "set-aside" / f"{kind}-{key}-{time.time_ns()}"
        aside.parent.mkdir(exist_ok=True)
        path.rename(aside)
        self._progress.say(f"the damaged {kind} {key} was made again; it is kept as {aside}")

    def _build(self, kind: str, key: str, inputs: Mapping[str, Any], build: Callable[[Path, Path], None]) -> Artifact:
        if (free := shutil.disk_usage(self.root).free) < ROOM:
            raise self._unwritable(f"its disk has {free >> 20} MB left")
        partial = self.root / "partial" / f"{kind}-{key}"
        work, fresh = partial / "work", partial / "artifact"
        work.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir()
        build(work, fresh)
        files = {str(path.relative_to(fresh)): _digest(path) for path in sorted(fresh.rglob("*")) if path.is_file()}
        manifest = {
            "kind": kind,
            "key": key,
            "inputs": inputs,
            "made": time.strftime("%FT%TZ", time.gmtime()),
            "files": files,
        }
        _write_durably(fresh / MANIFEST, _sealed(manifest))
        mode = stat.S_IMODE((fresh / MANIFEST).stat().st_mode)  # as the umask has it; some writers let nobody else read
        for name in files:
            (fresh / name).chmod(mode)
        path = self.root / "artifacts" / kind / key
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists():
            self._set_aside(path, kind, key)
        fresh.rename(path)
        shutil.rmtree(partial, ignore_errors=True)
        self._verified.add(path)
        return Artifact(kind=kind, key=key, path=path, reused=False)


def _sealed(manifest: Mapping[str, Any]) -> str:
    """Return the text of a manifest, which tells of any change of itself: its seal is a hash of all else."""
    said = json.loads(json.dumps(manifest, default=str))
    seal = hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()
    return json.dumps(said | {"seal": seal}, indent=1, sort_keys=True)


def _damage(path: Path, kind: str, key: str) -> str:
    """Say what is wrong with the artifact in `path`, or return an empty string."""
    try:
        with reading("its manifest", "make it again"):
            text = content_of(path / MANIFEST, _LARGEST_MANIFEST).decode()
            manifest = json.loads(text)
            sealed = _sealed({name: value for name, value in manifest.items() if name != "seal"})
            files = {str(name): str(digest) for name, digest in manifest["files"].items()}
            named = (manifest["kind"], manifest["key"], artifact_key(kind, manifest["inputs"]))
    except UserError as error:
        if isinstance(error.__cause__, PermissionError):
            raise error.__cause__ from None
        return "its manifest cannot be read"
    if text != sealed:
        return "its manifest was changed"
    if named != (kind, key, key):
        return "its manifest is that of another artifact"
    there = {str(file.relative_to(path)) for file in path.rglob("*") if not file.is_dir()} - {MANIFEST}
    if strange := sorted(there - set(files)):
        return f"{strange[0]} does not belong to it"
    for name, digest in files.items():
        file = path / name
        if not file.is_file():
            return f"{name} is missing"
        if _digest(file) != digest:
            return f"the checksum of {name} does not match"
    return ""


def _digest(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def _write_durably(path: Path, text: str) -> None:
    with path.open("w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def folder_code(name: str) -> str:
    """Return a hash of the files of a folder of the core: what a step's key says of its code."""
    digest = hashlib.sha256()
    for file in sorted((Path(__file__).parents[1] / name).iterdir()):
        if file.is_file():
            digest.update(file.name.encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()[:12]
