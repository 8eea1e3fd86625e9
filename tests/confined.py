"""Commands run in a fork of this process, within limits: for input that may hang, eat memory or kill."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

SECONDS = 30.0
MEMORY = 2 << 30


class Ended(NamedTuple):
    """How a fork ended."""

    code: int
    """Its exit code; minus the signal that ended it, as SIGKILL where it ran out of time."""
    stdout: str
    stderr: str
    seconds: float
    grown: int
    """Bytes of memory that it held at its fullest, beyond what it began with."""


def never() -> bool:
    """Say no."""
    return False


def command(
    *arguments: str,
    seconds: float = SECONDS,
    memory: int = MEMORY,
    privileged: bool = True,
    until: Callable[[], bool] = never,
) -> Ended:
    """Run the command line `pfh` with `arguments`."""
    from pfh_cli.main import main

    def called() -> int:
        if not privileged:
            drop_privileges()
        sys.argv = ["pfh", *arguments]
        return main()

    return forked(called, seconds=seconds, memory=memory, until=until)


def forked(
    function: Callable[[], int], seconds: float = SECONDS, memory: int = MEMORY, until: Callable[[], bool] = never
) -> Ended:
    """Call `function` in a fork; its return value is the exit code.

    It is killed when its seconds are over, or as soon as `until` says so.
    """
    with tempfile.TemporaryDirectory() as folder:
        out, err = Path(folder, "out"), Path(folder, "err")
        began, before = time.monotonic(), _resident()
        child = os.fork()
        if child == 0:
            _inside(function, out, err, memory)
        code, usage = _awaited(child, began + seconds, until)
        return Ended(
            code,
            *(file.read_bytes().decode("utf-8", "surrogateescape") if file.exists() else "" for file in (out, err)),
            time.monotonic() - began,
            max(0, usage.ru_maxrss * 1024 - before),
        )


def drop_privileges() -> None:
    """Give up every capability, so that modes of files hold for root as for anybody."""
    import ctypes

    if os.geteuid() == 0:
        header, nothing = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
        assert ctypes.CDLL(None).capset(header, nothing) == 0


def _inside(function: Callable[[], int], out: Path, err: Path, memory: int) -> None:
    code = 99
    try:
        os.setsid()
        for file, number in ((out, 1), (err, 2)):
            os.dup2(os.open(file, os.O_WRONLY | os.O_CREAT), number)
        sys.stdout, sys.stderr = (os.fdopen(number, "w", encoding="utf-8") for number in (1, 2))
        limit = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize() + memory
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        try:
            code = function()
        except SystemExit as ending:
            code = ending.code if isinstance(ending.code, int) else 1
        except BaseException:  # noqa: BLE001 - told to the parent, whatever it is
            traceback.print_exc()
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(code)


def _awaited(child: int, deadline: float, until: Callable[[], bool]) -> tuple[int, resource.struct_rusage]:
    while True:
        done, status, usage = os.wait4(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status), usage
        if time.monotonic() > deadline or until():
            for kill in (os.killpg, os.kill):  # its group, if it has one of its own by now
                with contextlib.suppress(ProcessLookupError):
                    kill(child, signal.SIGKILL)
            _, status, usage = os.wait4(child, 0)
            return os.waitstatus_to_exitcode(status), usage
        time.sleep(0.002)


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
