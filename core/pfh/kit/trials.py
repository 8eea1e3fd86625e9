"""Work of unknown length, tried in a fork of this process before anything rests on it.

Templates and regular expressions that came with a model are programs: they may never end or take all memory, where no
exception says so.
"""

from __future__ import annotations

import os
import signal
import time
import warnings
from collections.abc import Callable
from pathlib import Path

SECONDS = 3
"""Of processor time."""
MEMORY = 1 << 30
"""Bytes beyond what this process has."""
PATIENCE = 40.0
"""Seconds on the clock; a trial that has not used its processor time by then says nothing."""
_OUT_OF_MEMORY = 3


def trouble(work: Callable[[], object]) -> str:
    """Do `work` in a fork, within limits; say what it took too much of, or return an empty string.

    What it raises is no trouble: it will be raised where it is done in earnest. Where processes cannot be forked
    nothing is tried.
    """
    if not hasattr(os, "fork"):
        return ""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of forking beside threads: the child computes, and takes none of their locks
        child = os.fork()
    if child == 0:
        _try(work)
    status, seconds = _await(child)
    ended = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
    if ended == signal.SIGXCPU or (ended and seconds >= SECONDS):
        return f"more than {SECONDS} s"
    if ended and ended != signal.SIGKILL:  # that one is our patience, or the system's for want of memory
        return f"the process with it ({signal.Signals(ended).name})"
    if not ended and os.WEXITSTATUS(status) == _OUT_OF_MEMORY:
        return f"more than {MEMORY >> 30} GiB of memory"
    return ""


def _try(work: Callable[[], object]) -> None:
    """Do in the child what is to be tried, and end it."""
    code = 0
    try:
        _limit()
        work()
    except MemoryError:
        code = _OUT_OF_MEMORY
    finally:
        os._exit(code)


def _limit() -> None:
    import resource

    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):
        os.dup2(nowhere, stream)
    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS + 1))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    try:
        held = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0]) * resource.getpagesize()
    except OSError:  # a system that does not tell
        return
    resource.setrlimit(resource.RLIMIT_AS, (held + MEMORY, held + MEMORY))


def _await(child: int) -> tuple[int, float]:
    """Wait for the child, `PATIENCE` at most; return its status and the processor time that it took."""
    deadline, pause = time.monotonic() + PATIENCE, 0.001
    while True:
        done, status, usage = os.wait4(child, os.WNOHANG)
        if not done and time.monotonic() > deadline:
            os.kill(child, signal.SIGKILL)
            done, status, usage = os.wait4(child, 0)
        if done:
            return status, usage.ru_utime + usage.ru_stime
        time.sleep(pause)
        pause = min(2 * pause, 0.05)
