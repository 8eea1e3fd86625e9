"""One job: a watcher outside, a supervisor as the first process of the job's own namespaces, and the programs it runs.

The watcher cannot be seen from inside the job, and ends all of it when the harness hangs up. The supervisor limits,
times and reads each run, and leaves no process behind.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import time
from pathlib import Path
from typing import Any

from pfh.sandbox.inside import frames, namespaces
from pfh.sandbox.inside.run import Setting, run_once

TICK = 0.05
"""Seconds between two looks at whether the supervisor has ended."""


def watch(sockets: list[socket.socket], confined: bool, user: int | None) -> None:
    """Start the supervisor and wait for its end, or end it when the harness hangs up."""
    channel = sockets[0]
    calls = sockets[1] if len(sockets) > 1 else None
    if confined:
        try:
            namespaces.unshare_job(as_root=user is not None)
        except OSError as error:
            frames.send(channel, {"refused": str(error)})
            return
    supervisor = os.fork()
    if supervisor == 0:
        with contextlib.suppress(OSError):  # the harness hung up
            _supervise(channel, calls, confined, user)
        os._exit(0)
    if calls is not None:
        calls.close()  # the other side must see it when the program is gone
    hung_up = select.poll()
    hung_up.register(channel, 0)
    while os.waitpid(supervisor, os.WNOHANG)[0] == 0:
        if hung_up.poll(TICK * 1000):
            if not confined:
                time.sleep(4 * TICK)  # it sees the same, and only it knows the processes of its job
            os.kill(supervisor, signal.SIGKILL)
            os.waitpid(supervisor, 0)
            return


def _supervise(channel: socket.socket, calls: socket.socket | None, confined: bool, user: int | None) -> None:
    job = frames.receive(channel)
    if job is None:
        return
    try:
        folder = _folder(job, confined, user)
    except OSError as error:
        frames.send(channel, {"refused": str(error)})
        return
    setting = Setting(job=job, confined=confined, user=user, folder=folder, calls=calls)
    try:
        while (request := frames.receive(channel)) is not None:
            outcome = run_once(setting, request["stdin"], channel)
            if outcome is None:
                return
            frames.send(channel, outcome)
    finally:
        if not confined:
            import shutil

            shutil.rmtree(folder, ignore_errors=True)


def _folder(job: dict[str, Any], confined: bool, user: int | None) -> str:
    if confined:
        namespaces.private_files(job["limits"]["file_mb"], as_root=user is not None)
        namespaces.forget_capabilities()
        folder = "/tmp/job"  # noqa: S108 - the private /tmp
        Path(folder).mkdir(mode=0o777)
        Path(folder).chmod(0o777)
    else:
        import tempfile

        namespaces.adopt_orphans()
        folder = tempfile.mkdtemp(prefix="pfh-job-")
    for name, text in job["files"].items():
        file = Path(folder, name)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return folder
