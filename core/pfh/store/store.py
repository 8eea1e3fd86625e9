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
from typing import Any

from pfh.errors import StepFailedError, StoreUnwritableError, UserError, content_of, reading
from pfh.progress import Progress, Silent
from pfh.store.lease import EXPIRY, Holder, Lease, LeaseLostError
from pfh.store.mirror import Mirror
from pfh.store.places import default_root as default_root  # where everybody looks for it
from pfh.store.places import mirrored_at

MANIFEST = "manifest.json"
_CHUNK = 1 << 22
_LARGEST_MANIFEST = 1 << 28
ROOM = 1 << 24
"""Bytes that must be free before anything is made: with less a step would only fail later."""
_KEY = re.compile("[0-9a-f]{20}")
_FORBIDDEN = {errno.EACCES, errno.EPERM, errno.EROFS}


@dataclass(frozen=True, kw_only=True)
class Artifact:
    """A folder of the store whose content matches its manifest."""

    kind: str
    key: str
    path: Path
    reused: bool
    """It was there already: nothing was computed."""


def artifact_key(kind: str, inputs: Mapping[str, Any]) -> str:
    """Return the key of the artifact that `inputs` make: 20 hexadecimal digits of a SHA-256."""
    text = json.dumps({"kind": kind, "inputs": inputs}, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:20]


class Store:
    """Artifacts by kind and key under one root folder.

    Raises:
        UserError: the root cannot be written.
    """

    def __init__(self, root: Path, progress: Progress | None = None, expiry: float = EXPIRY) -> None:
        """Open a store.

        Args:
            root: its folder, which many machines may share.
            progress: shows what is waited for.
            expiry: seconds after which a process of another machine that gives no sign of life counts as dead.
        """
        self.root = root
        self._progress = progress or Silent()
        self._expiry = expiry
        self._verified: set[Path] = set()
        try:
            for name in ("artifacts", "partial", "locks", "cache", "logs"):
                (root / name).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise self._unwritable(error.strerror) from error
        url = mirrored_at(root)
        self._mirror = Mirror(url) if url else None

    @property
    def cache(self) -> Path:
        """A folder for files that can be fetched or made again."""
        return self.root / "cache"

    def has(self, kind: str, key: str) -> bool:
        """Say whether an artifact is there, for all who share the store; its content is looked at when it is used."""
        if self._mirror is not None:
            return key in self._mirror.keys(kind)
        return (self.root / "artifacts" / kind / key).is_dir()

    def keys(self, kind: str) -> set[str]:
        """Return the keys of all artifacts of a kind."""
        if self._mirror is not None:
            return self._mirror.keys(kind)
        folder = self.root / "artifacts" / kind
        return {path.name for path in folder.iterdir()} if folder.is_dir() else set()

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
            if not path.is_dir() and not self._fetch(kind, key, path):
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

        One process makes it, of all that share the store; one that was given up for dead and is not finds that it may
        publish no more, and takes what the other made.

        Args:
            kind: such as "evaluation" or "training".
            inputs: everything that decides the content, as JSON; its hash is the key.
            build: called with a work folder that outlives a killed process (journals, checkpoints) and an empty
                folder to fill, which becomes the artifact once it returns.

        Raises:
            UserError: the artifact is not there, and the store cannot be written or has no room.
            StepFailedError: the disk became full.
        """
        key = artifact_key(kind, inputs)
        if there := self.get(kind, key):
            self._put(there)
            return there
        while True:
            lease = Lease(self.root / "locks" / f"{kind}-{key}", self._expiry)
            try:
                lease.acquire(waiting=lambda holder: self._say_who(kind, key, holder))
            except OSError as error:
                raise self._unwritable(error.strerror) from error
            try:
                made = self.get(kind, key) or self._build(kind, key, inputs, build, lease)
                self._put(made)
                return made
            except LeaseLostError:
                self._progress.say(f"{kind} {key} was taken over by another process, as this one had stood still")
            except OSError as error:
                if error.errno in _FORBIDDEN and Path(str(error.filename)).is_relative_to(self.root):
                    raise self._unwritable(error.strerror) from error
                if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                    raise
                raise StepFailedError(
                    f"The disk of the store {self.root} is full; free space or name another store with --store, "
                    "and run the same command again: it goes on where it stopped."
                ) from error
            finally:
                lease.release()

    def _fetch(self, kind: str, key: str, path: Path) -> bool:
        """Copy an artifact from the mirror, if it is there."""
        if self._mirror is None:
            return False
        fresh = self.root / "partial" / f"{kind}-{key}-fetched-{os.getpid()}-{time.time_ns()}"
        try:
            if not self._mirror.fetch(kind, key, fresh):
                return False
            if damage := _damage(fresh, kind, key):
                self._progress.say(f"{kind} {key} in {self._mirror.url} is damaged ({damage}) and is not used")
                self._mirror.forget(kind, key)
                return False
            path.parent.mkdir(parents=True, exist_ok=True)
            fresh.rename(path)
        except OSError:
            if not path.is_dir():  # another process has fetched it
                raise
        finally:
            shutil.rmtree(fresh, ignore_errors=True)
        return True

    def _put(self, artifact: Artifact) -> None:
        if self._mirror is not None:
            self._mirror.put(artifact.kind, artifact.key, artifact.path)

    def _say_who(self, kind: str, key: str, holder: Holder) -> None:
        who = f"process {holder.pid} on {holder.host}"
        self._progress.say(f"another process is making {kind} {key} ({who}); waiting for it")

    def _unwritable(self, why: str | None) -> StoreUnwritableError:
        return StoreUnwritableError(
            f"The store {self.root} cannot be written ({why}); name another with --store or PFH_STORE."
        )

    def discard(self, artifact: Artifact) -> None:
        """Remove an artifact, so that `make` builds it anew."""
        shutil.rmtree(artifact.path)
        self._verified.discard(artifact.path)

    def scratch(self, kind: str, inputs: Mapping[str, Any]) -> Path:
        """Return the work folder that `make` would hand to `build`; it goes when the artifact is next built."""
        work = _work_folder(self.root / "partial" / f"{kind}-{artifact_key(kind, inputs)}")
        work.mkdir(parents=True, exist_ok=True)
        return work

    def _set_aside(self, path: Path, kind: str, key: str) -> None:
        aside = self.root / "set-aside" / f"{kind}-{key}-{time.time_ns()}"
        aside.parent.mkdir(exist_ok=True)
        path.rename(aside)
        self._progress.say(f"the damaged {kind} {key} was made again; it is kept as {aside}")

    def _build(
        self, kind: str, key: str, inputs: Mapping[str, Any], build: Callable[[Path, Path], None], lease: Lease
    ) -> Artifact:
        if (free := shutil.disk_usage(self.root).free) < ROOM:
            raise self._unwritable(f"its disk has {free >> 20} MB left")
        partial = self.root / "partial" / f"{kind}-{key}"
        work, fresh = _taken_over(partial, lease), partial / f"artifact-{lease.generation}"
        for left in partial.glob("artifact*"):
            shutil.rmtree(left, ignore_errors=True)
        work.mkdir(parents=True, exist_ok=True)
        fresh.mkdir()
        try:
            build(work, fresh)
            self._complete(kind, key, inputs, fresh)
        except Exception as error:
            if lease.lost:  # its files were moved away under it
                raise LeaseLostError(str(error)) from error
            raise
        path = self._publish(kind, key, fresh, lease)
        shutil.rmtree(partial, ignore_errors=True)
        self._verified.add(path)
        return Artifact(kind=kind, key=key, path=path, reused=False)

    def _complete(self, kind: str, key: str, inputs: Mapping[str, Any], folder: Path) -> None:
        """Write the manifest of what was built."""
        files = {str(path.relative_to(folder)): _digest(path) for path in sorted(folder.rglob("*")) if path.is_file()}
        manifest = {
            "kind": kind,
            "key": key,
            "inputs": inputs,
            "made": time.strftime("%FT%TZ", time.gmtime()),
            "files": files,
        }
        _write_durably(folder / MANIFEST, _sealed(manifest))
        mode = stat.S_IMODE((folder / MANIFEST).stat().st_mode)  # some writers let nobody else read, whatever the umask
        for name in files:
            (folder / name).chmod(mode)

    def _publish(self, kind: str, key: str, fresh: Path, lease: Lease) -> Path:
        """Give an artifact its place, which nobody else's has; return the place.

        Raises:
            LeaseLostError: another process is making the artifact, or has made it.
        """
        lease.seal()
        path = self.root / "artifacts" / kind / key
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists() and _damage(path, kind, key):
            self._set_aside(path, kind, key)
        try:
            fresh.rename(path)
        except OSError as error:
            if error.errno in (errno.ENOTEMPTY, errno.EEXIST) or not fresh.exists():
                raise LeaseLostError(f"{path} was made by another process.") from error
            raise
        return path


def _work_folder(partial: Path) -> Path:
    """Return the folder of unfinished work that counts: of the highest generation among those that were moved."""
    found = {int(folder.name.partition("-")[2] or 0): folder for folder in partial.glob("work*")}
    return found[max(found)] if found else partial / "work"


def _taken_over(partial: Path, lease: Lease) -> Path:
    """Return the folder of unfinished work: moved, where its last holder may be alive, who then finds it gone."""
    work = _work_folder(partial)
    if not lease.stolen or not work.exists():
        return work
    return work.rename(partial / f"work-{lease.generation}")


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
