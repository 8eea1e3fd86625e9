"""A warm interpreter that forks a process for every job, so that no job pays for starting Python.

It never runs a job's code itself. A job is a socket to the harness and, for tests that call functions, a second one to
the other job of the pair.
"""

from __future__ import annotations

import builtins
import gc
import os
import signal
import socket
import sys

from pfh.sandbox.inside import job

# Imported here once, so that the jobs find them loaded. Not threading, which makes every fork slower.
_PRELOADED = (
    "bisect collections copy datetime decimal fractions functools heapq io itertools math operator re string time "
    "traceback typing"
)


CONTROL = 0
"""The descriptor that jobs come from: a socket in the place of stdin."""


def main(*, confined: bool, first_user: int | None) -> None:
    """Fork a job for every message, until the harness hangs up.

    Args:
        confined: give each job namespaces of its own; False only where the user asked for it.
        first_user: when run as root, jobs become unprivileged users from this one on, each another.
    """
    from _sitebuiltins import Quitter

    control = socket.socket(fileno=CONTROL)
    for name in _PRELOADED.split():
        __import__(name)
    _load_random()
    builtins.exit, builtins.quit = Quitter("exit", ""), Quitter("quit", "")
    sys.dont_write_bytecode = True
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    gc.freeze()
    control.sendall(b"r")
    number = 0
    while True:
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # finished jobs are reaped by the kernel
        message, descriptors, _, _ = socket.recv_fds(control, 1, 2)
        if not message:
            return
        number = (number + 1) % 256
        try:
            process = os.fork()
        except OSError:
            process = -1  # the harness sees the job's socket close
        if process == 0:
            control.detach()
            os.dup2(os.open(os.devnull, os.O_RDONLY), CONTROL)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            user = None if first_user is None else first_user + number
            job.watch([socket.socket(fileno=descriptor) for descriptor in descriptors], confined, user)
            os._exit(0)
        for descriptor in descriptors:
            os.close(descriptor)


def _load_random() -> None:
    """Load the random module with one seed for every program, so that a run can be repeated."""
    register = os.register_at_fork
    os.register_at_fork = lambda **_: None  # it would seed itself anew in every fork
    try:
        import random
    finally:
        os.register_at_fork = register
    random.seed(0)
