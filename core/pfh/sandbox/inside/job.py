"""One job: a watcher outside, a supervisor as the first process of the job's own namespaces, and the programs it runs.

The watcher cannot be seen from inside the job, and ends all of it when the harness hangs up. The supervisor limits,
times and reads each run, and leaves no process behind.
"""

from __future__ import annotations

import contextlib
import os
import resource
import select
import signal
import socket
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from pfh.sandbox.inside import frames, namespaces
from pfh.sandbox.inside.program import run_program
from pfh.sandbox.inside.seccomp import filter_system_calls

TICK = 0.05
"""Seconds between two looks at a run's memory."""
STDERR_KEPT = 4096
"""Bytes of stderr that are reported, from its end."""
PAGE = resource.getpagesize()
MEGABYTE = 2**20


@dataclass(frozen=True)
class Run:
    """One run of a program under its job's limits."""

    job: dict[str, Any]
    confined: bool
    user: int | None
    folder: str
    calls: socket.socket | None


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
    run = Run(job=job, confined=confined, user=user, folder=folder, calls=calls)
    try:
        while (request := frames.receive(channel)) is not None:
            outcome = _run(run, request["stdin"], channel)
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


def _run(run: Run, stdin: str, channel: socket.socket) -> dict[str, Any] | None:
    """Run the program once; None when the harness hung up meanwhile."""
    limits = run.job["limits"]
    source = _readable(stdin.encode("utf-8", "surrogateescape"))
    out, out_end = os.pipe()
    err, err_end = os.pipe()
    for descriptor in (source, out_end, err_end):
        os.fchmod(descriptor, 0o666)  # a program may open /dev/stdin by name
    started = time.monotonic()
    process = os.fork()
    if process == 0:
        _become_program(run, source, out_end, err_end)
    os.close(source)
    os.close(out_end)
    os.close(err_end)
    if run.calls is not None:
        run.calls.close()
    stdout, stderr, status = bytearray(), bytearray(), ""
    poller = select.poll()
    poller.register(channel, 0)
    for descriptor in (out, err):
        poller.register(descriptor, select.POLLIN)
    reading = {out: stdout, err: stderr}
    used = None
    while not status:
        for descriptor, event in poller.poll(1000 * TICK if reading else 1):
            if descriptor == channel.fileno():
                if event & select.POLLHUP:
                    status = "gone"
            elif part := os.read(descriptor, 2**16):
                reading[descriptor] += part
            else:
                poller.unregister(descriptor)
                del reading[descriptor]
        del stderr[:-STDERR_KEPT]
        ended, exit_status, used = os.wait4(process, os.WNOHANG)
        if ended:
            status = _ended(exit_status, used.ru_utime + used.ru_stime, limits)
        elif len(stdout) > limits["output_kb"] * 1024:
            status = "output"
        elif time.monotonic() - started > limits["seconds"]:
            status = "timeout"
        elif run.confined and _resident() > limits["memory_mb"] * MEGABYTE:
            status = "memory"
    seconds = time.monotonic() - started
    _kill_all(process, run.confined)
    if status == "gone":
        return None
    for descriptor, kept in reading.items():  # what was written between the last look and the end
        os.set_blocking(descriptor, False)
        with contextlib.suppress(BlockingIOError):
            while len(kept) <= limits["output_kb"] * 1024 and (part := os.read(descriptor, 2**16)):
                kept += part
    os.close(out)
    os.close(err)
    if len(stdout) > limits["output_kb"] * 1024:
        status = "output"
    tail = bytes(stderr[-STDERR_KEPT:]).decode("utf-8", "replace")
    if status == "error" and tail.rstrip().rpartition("\n")[2].startswith("MemoryError"):
        status = "memory"
    return {
        "status": status,
        "stdout": bytes(stdout[: limits["output_kb"] * 1024]).decode("utf-8", "replace"),
        "stderr": tail,
        "exit_code": os.waitstatus_to_exitcode(exit_status) if ended else None,
        "seconds": seconds,
    }


def _readable(content: bytes) -> int:
    """Return a descriptor of a file in memory with `content`, at its beginning."""
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("stdin")
    else:
        import tempfile

        with tempfile.TemporaryFile() as file:
            descriptor = os.dup(file.fileno())
    view = memoryview(content)
    while view:
        view = view[os.write(descriptor, view) :]
    os.lseek(descriptor, 0, os.SEEK_SET)
    return descriptor


def _ended(exit_status: int, cpu_seconds: float, limits: dict[str, Any]) -> str:
    code = os.waitstatus_to_exitcode(exit_status)
    if code == -signal.SIGXCPU or (code == -signal.SIGKILL and cpu_seconds >= limits["cpu_seconds"]):
        return "timeout"
    return "ok" if code == 0 else "error"


def _resident() -> int:
    """Return the memory in bytes that the job's processes hold and do not share with files."""
    pages = 0
    for process in Path("/proc").glob("[0-9]*"):
        if process.name != "1":
            with contextlib.suppress(OSError):
                _, resident, shared, *_ = (process / "statm").read_text().split()
                pages += int(resident) - int(shared)
    return pages * PAGE


def _kill_all(process: int, confined: bool) -> None:
    """Kill the program and all that it started, and wait until they are gone."""
    if confined and os.getpid() == 1:  # -1 is "every process that I can see", which is the job's alone only here
        with contextlib.suppress(ProcessLookupError):
            os.kill(-1, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            while True:
                os.waitpid(-1, 0)
        return
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process, signal.SIGKILL)
    with contextlib.suppress(ChildProcessError):
        while True:
            for child in _children():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(child, signal.SIGKILL)
            os.waitpid(-1, 0)


def _children() -> list[int]:
    with contextlib.suppress(OSError):  # no Linux, or no such file in this kernel: the process group has to do
        return [int(child) for child in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()]
    return []


def _become_program(run: Run, stdin: int, stdout: int, stderr: int) -> NoReturn:
    """Turn this process into the program: no other open files, no privileges, its limits set."""
    code = 1
    try:
        os.setsid()
        for target, descriptor in enumerate((stdin, stdout, stderr)):
            os.dup2(descriptor, target)
        calls = None if run.calls is None else run.calls.detach()
        if calls is not None:
            os.dup2(calls, 3)
        os.closerange(3 if calls is None else 4, 4096)
        _limit(run.job["limits"], run.confined, run.user)
        os.chdir(run.folder)
        if run.confined:
            namespaces.drop_privileges(run.user)
            filter_system_calls()
        code = run_program(run.job, None if calls is None else socket.socket(fileno=3))
    except BaseException as error:  # noqa: BLE001 - whatever happens, this process must not return into the supervisor
        os.write(2, f"{type(error).__name__}: the program could not be started or ended\n".encode())
    finally:
        os._exit(code)


def _limit(limits: dict[str, Any], confined: bool, user: int | None) -> None:
    cpu, files = limits["cpu_seconds"], limits["file_mb"] * MEGABYTE
    _set(resource.RLIMIT_CPU, cpu, cpu + 1)
    _set(resource.RLIMIT_AS, limits["memory_mb"] * MEGABYTE)
    _set(resource.RLIMIT_FSIZE, files)
    _set(resource.RLIMIT_CORE, 0)
    _set(resource.RLIMIT_NOFILE, 64)
    _set(resource.RLIMIT_STACK, 64 * MEGABYTE)
    if confined:
        # Counted by user within a user namespace; where that is not the program's alone, the watcher and the
        # supervisor count too. Unconfined it would count every process of the user.
        _set(resource.RLIMIT_NPROC, limits["processes"] + (0 if user is not None else 2))


def _set(kind: int, soft: int, hard: int | None = None) -> None:
    _, most = resource.getrlimit(kind)
    wanted = soft if hard is None else hard
    if most != resource.RLIM_INFINITY:
        soft, wanted = min(soft, most), min(wanted, most)
    with contextlib.suppress(OSError, ValueError):  # systems differ in what may be set
        resource.setrlimit(kind, (soft, wanted))
    if sys.platform == "linux" and resource.getrlimit(kind)[0] not in range(soft + 1):
        raise OSError(f"limit {kind} could not be set")
