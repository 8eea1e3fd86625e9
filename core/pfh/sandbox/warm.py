"""The warm interpreter in the sandbox: started once, kept for the life of this process, it forks one for every job."""

from __future__ import annotations

import atexit
import os
import shutil
import socket
import subprocess
import tempfile
import threading
from pathlib import Path
from typing import Any

from pfh.errors import UserError
from pfh.sandbox import confinement
from pfh.sandbox.inside import frames

UNSAFE_VARIABLE = "PFH_UNSAFE_LOCAL_CODE"
"""Set to 1 by --unsafe-local-code: programs run unconfined."""
START_SECONDS = 60.0


_EMPTY_JOB: dict[str, Any] = {
    "role": "program",
    "code": "",
    "prelude": "",
    "files": {},
    "limits": {"seconds": 20, "cpu_seconds": 10, "memory_mb": 1024, "processes": 4, "file_mb": 1, "output_kb": 4},
}


class Zygote:
    """One warm interpreter. Its jobs share its code and nothing else."""

    def __init__(self, *, confined: bool, packages: tuple[str, ...]) -> None:
        """Start it.

        Raises:
            UserError: it cannot be started here; the message says why and what to do.
        """
        self.owner = os.getpid()
        self._lock = threading.Lock()
        self._control, theirs = socket.socketpair()
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - the interpreter writes to it all its life
        self._copy = None if confined else _copy_of_inside()
        self._process: subprocess.Popen[bytes] | None = None
        # The kernel ends the sandbox with the thread that started it: this one stays as long as the sandbox.
        command = _command(confined, packages, self._copy)
        threading.Thread(target=self._run, args=(command, theirs), daemon=True, name="sandbox").start()
        self._control.settimeout(START_SECONDS)
        try:
            ready = self._control.recv(1)
        except TimeoutError:
            ready = b""
        self._control.settimeout(None)
        problem = self._trial() if ready else self._said()
        if problem:
            self.close()
            raise UserError(refusal(problem))

    def _run(self, command: list[str], theirs: socket.socket) -> None:
        with theirs:
            self._process = subprocess.Popen(
                command,
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                stderr=self._errors,
                env={"PATH": os.environ.get("PATH", os.defpath)} | confinement.environment(),
                cwd="/",
                start_new_session=True,
            )
        self._process.wait()

    def works(self) -> bool:
        """Say whether it still runs an empty program."""
        try:
            return not self._trial()
        except ConnectionError:
            return False

    def _trial(self) -> str:
        """Run an empty program, and say what went wrong: here, so that no program earns 0 for it later."""
        with self.open_job() as job:
            frames.send(job, _EMPTY_JOB)
            frames.send(job, {"stdin": ""})
            try:
                reply = frames.receive(job, START_SECONDS) or {}
            except TimeoutError:
                reply = {}
        if reply.get("status") == "ok":
            return ""
        return str(reply.get("refused") or reply.get("stderr") or "an empty program could not be run")

    def _said(self) -> str:
        self._errors.seek(0)
        return self._errors.read().decode("utf-8", "replace") or "it ended without a word"

    def open_job(self, link: socket.socket | None = None) -> socket.socket:
        """Start a job and return the socket to it; `link` becomes the job's own, to talk to another job with.

        Raises:
            ConnectionError: the interpreter is gone.
        """
        ours, theirs = socket.socketpair()
        descriptors = [theirs.fileno()] if link is None else [theirs.fileno(), link.fileno()]
        with theirs, self._lock:
            try:
                socket.send_fds(self._control, [b"j"], descriptors)
            except OSError as error:
                ours.close()
                raise ConnectionError("the sandbox has ended") from error
        return ours

    def close(self) -> None:
        """End the interpreter with all its jobs."""
        self._control.close()
        if self._process is not None:
            self._process.kill()
        if self._copy is not None:
            shutil.rmtree(self._copy, ignore_errors=True)


_zygotes: dict[tuple[bool, tuple[str, ...]], Zygote] = {}
_zygotes_lock = threading.Lock()


def open_job(
    *, unsafe_local: bool | None, packages: tuple[str, ...], link: socket.socket | None = None, again: bool = False
) -> socket.socket:
    """Start a job in the warm interpreter, which is started where it is not there yet (or no longer).

    With `again` the interpreter lost the job before: it is tried with an empty program first.

    Raises:
        UserError: programs cannot be confined here, and the user did not say to go on without.
    """
    confined = os.environ.get(UNSAFE_VARIABLE) != "1" if unsafe_local is None else not unsafe_local
    zygote = _zygote(confined, packages)
    if again and not zygote.works():
        zygote = _zygote(confined, packages, instead_of=zygote)
    try:
        return zygote.open_job(link)
    except ConnectionError:
        return _zygote(confined, packages, instead_of=zygote).open_job(link)


def _zygote(confined: bool, packages: tuple[str, ...], instead_of: Zygote | None = None) -> Zygote:
    with _zygotes_lock:
        zygote = _zygotes.get((confined, packages))
        if (
            zygote is None or zygote is instead_of or zygote.owner != os.getpid()
        ):  # a forked process must not share its parent's
            if confined and (reason := confinement.unavailable()):
                raise UserError(f"{reason}. {confinement.HOW_TO_INSTALL}; {confinement.HOW_TO_GO_ON}.")
            zygote = _zygotes[confined, packages] = Zygote(confined=confined, packages=packages)
        return zygote


@atexit.register
def _close_all() -> None:
    for zygote in _zygotes.values():
        if zygote.owner == os.getpid():
            zygote.close()


def _command(confined: bool, packages: tuple[str, ...], copy: Path | None) -> list[str]:
    paths = [confinement.CODE, confinement.PACKAGES]
    if copy is not None:
        paths = [str(copy), *sorted({str(folder.parent) for folder in confinement.package_folders(packages)})]
    start = (
        f"import sys; sys.path += {paths!r}; from pfh.sandbox.inside import zygote; "
        f"zygote.main(confined={confined!r}, first_user={confinement.first_user() if confined else None!r})"
    )
    python = [confinement.interpreter(), "-S", "-s", "-P", "-B", "-c", start]
    return [*confinement.bubblewrap_command(packages), *python] if confined else python


def _copy_of_inside() -> Path:
    """Copy the inside to where no other module of pfh is beside it."""
    folder = Path(tempfile.mkdtemp(prefix="pfh-sandbox-"))
    shutil.copytree(confinement.INSIDE, folder / "pfh" / "sandbox" / "inside")
    return folder


def refusal(said: str) -> str:
    """Say that programs cannot be confined here, because of the last line of `said`, and what to do."""
    last = said.strip().rpartition("\n")[2]
    return f"programs cannot be run confined here: {last}. {confinement.HOW_TO_ALLOW}; {confinement.HOW_TO_GO_ON}."
