"""One run of a job's program: started within its limits, read, timed, and ended with all that it started."""

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

from pfh.sandbox.inside import namespaces, usage
from pfh.sandbox.inside.program import run_program
from pfh.sandbox.inside.seccomp import filter_system_calls

TICK = 0.05
"""Seconds between two looks at what a run uses."""
PATIENCE = 3
"""A run that others keep waiting for a processor may take so many times its wall-clock limit."""
STDERR_KEPT = 4096
"""Bytes of stderr that are reported, from its end."""
CHUNK = 2**16
BEGUN = 1000
"""Where a program's process keeps the pipe that tells of its beginning; it is closed before the code runs."""
MEGABYTE = 2**20


@dataclass(frozen=True)
class Setting:
    """Where all runs of a job happen."""

    job: dict[str, Any]
    """As the harness described it."""
    confined: bool
    user: int | None
    """The user to become; None to stay the same."""
    folder: str
    calls: socket.socket | None
    """To the other job of a pair."""


@dataclass
class Started:
    """A program that runs."""

    process: int
    out: int
    err: int
    since: float
    stdout: bytearray
    stderr: bytearray
    """Its end."""
    exit_status: int | None = None
    ready: bool = False
    """Its code was begun: from here on, whatever happens is its own doing."""


def run_once(setting: Setting, stdin: str, channel: socket.socket) -> dict[str, Any] | None:
    """Run the program once and say what became of it; None when the harness hung up meanwhile."""
    limits = setting.job["limits"]
    run = _start(setting, stdin)
    status = _follow(run, limits, setting.confined, channel)
    seconds = time.monotonic() - run.since
    _kill_all(run.process, setting.confined)
    most = limits["output_kb"] * 1024
    _drain(run, most)
    if status == "gone":
        return None
    if not run.ready:
        return {"failed": run.stderr.decode("utf-8", "replace") or "the program's process could not be started"}
    if len(run.stdout) > most:
        status = "output"
    stderr = run.stderr[-STDERR_KEPT:].decode("utf-8", "replace")
    if status == "error" and stderr.rstrip().rpartition("\n")[2].startswith("MemoryError"):
        status = "memory"
    return {
        "status": status,
        "stdout": run.stdout[:most].decode("utf-8", "replace"),
        "stderr": stderr,
        "exit_code": None if run.exit_status is None else os.waitstatus_to_exitcode(run.exit_status),
        "seconds": seconds,
    }


def _start(setting: Setting, stdin: str) -> Started:
    source = _readable(stdin.encode("utf-8", "surrogateescape"))
    out, out_end = os.pipe()
    err, err_end = os.pipe()
    begun, begun_end = os.pipe()
    for descriptor in (source, out_end, err_end):
        os.fchmod(descriptor, 0o666)  # a program may open /dev/stdin by name
    since = time.monotonic()
    process = os.fork()
    if process == 0:
        _become_program(setting, source, out_end, err_end, begun_end)
    for descriptor in (source, out_end, err_end, begun_end):
        os.close(descriptor)
    if setting.calls is not None:
        setting.calls.close()  # the other side must see it when the program is gone
    run = Started(process=process, out=out, err=err, since=since, stdout=bytearray(), stderr=bytearray())
    run.ready = os.read(begun, 1) == b"r"
    os.close(begun)
    for descriptor in (out, err):
        os.set_blocking(descriptor, False)  # the program may have taken its output back, and read() would wait for it
    return run


def _follow(run: Started, limits: dict[str, Any], confined: bool, channel: socket.socket) -> str:
    """Read what the program writes until it ends, hits a limit, or the harness hangs up ("gone")."""
    reading = {run.out: run.stdout, run.err: run.stderr}
    poller = select.poll()
    poller.register(channel, 0)
    for descriptor in reading:
        poller.register(descriptor, select.POLLIN)
    next_look = run.since + TICK
    processor = usage.ProcessorTime(first=run.process)
    while True:
        for descriptor, event in poller.poll(1000 * TICK if reading else 1):
            if descriptor == channel.fileno():
                if event & select.POLLHUP:
                    return "gone"
                continue
            try:
                part = os.read(descriptor, CHUNK)
            except BlockingIOError:
                continue
            reading[descriptor] += part
            if not part:
                poller.unregister(descriptor)
                del reading[descriptor]
        del run.stderr[:-STDERR_KEPT]
        ended, exit_status, used = os.wait4(run.process, os.WNOHANG)
        if ended:
            run.exit_status = exit_status
            return _ended(exit_status, used.ru_utime + used.ru_stime, limits)
        if len(run.stdout) > limits["output_kb"] * 1024:
            return "output"
        if time.monotonic() < next_look:
            continue
        next_look = time.monotonic() + TICK
        if not confined:
            if time.monotonic() - run.since > limits["seconds"]:
                return "timeout"
            continue
        processor.look()
        if processor.seconds > limits["cpu_seconds"] + TICK:
            return "timeout"
        taken = time.monotonic() - run.since
        if taken - processor.waited > limits["seconds"] or taken > PATIENCE * limits["seconds"]:
            return "timeout"
        if usage.memory() > limits["memory_mb"] * MEGABYTE:
            return "memory"


def _drain(run: Started, most: int) -> None:
    """Read what was written between the last look and the end."""
    for descriptor, kept in ((run.out, run.stdout), (run.err, run.stderr)):
        with contextlib.suppress(BlockingIOError):
            while len(kept) <= most and (part := os.read(descriptor, CHUNK)):
                kept += part
        os.close(descriptor)


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


def _become_program(setting: Setting, stdin: int, stdout: int, stderr: int, begun: int) -> NoReturn:
    """Turn this process into the program: no other open files, no privileges, its limits set."""
    code = 1
    try:
        os.setsid()
        for target, descriptor in enumerate((stdin, stdout, stderr)):
            os.dup2(descriptor, target)
        calls = None if setting.calls is None else setting.calls.detach()
        begun = os.dup2(begun, BEGUN)
        if calls is not None:
            os.dup2(calls, 3)
        os.closerange(3 if calls is None else 4, BEGUN)
        os.closerange(BEGUN + 1, 4096)
        _limit(setting.job["limits"], setting.confined, setting.user)
        os.chdir(setting.folder)
        if setting.confined:
            namespaces.drop_privileges(setting.user)
            filter_system_calls()
        os.write(begun, b"r")
        os.close(begun)
        code = run_program(setting.job, None if calls is None else socket.socket(fileno=3))
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
