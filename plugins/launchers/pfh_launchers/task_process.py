"""A task as a process of its own, where a cluster has put it."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pfh_launchers.threads import thread_settings

if TYPE_CHECKING:
    from submitit.core.utils import DelayedSubmission

ENDS_WITHIN = 20.0
"""Seconds that a task has to end when it is told to."""


class TaskProcess:
    """Runs `pfh task FILE`; submitit keeps it in a file, and asks it for its like when its job is queued again."""

    def __init__(self, command: Sequence[str], file: Path, log: Path) -> None:
        self._command = tuple(command)
        self._file = file
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None

    def __call__(self) -> None:
        """Execute the task, what it prints into its log.

        Raises:
            RuntimeError: it failed, so that no job starts that needs it.
        """
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR2})  # this process is told, and tells the task
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [*self._command, str(self._file)],
                stdout=log,
                stderr=log,
                env={**os.environ, **thread_settings(_cores())},
            )
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        code = self._process.wait()
        self._process = None
        if code:
            raise RuntimeError(f"{self._file.stem} ended with {code}; its log is {self._log}")

    def checkpoint(self) -> DelayedSubmission:
        """End the task, which keeps what it has, and return what goes on with it."""
        from submitit.core.utils import DelayedSubmission

        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(ENDS_WITHIN)
            except subprocess.TimeoutExpired:
                self._process.kill()
        return DelayedSubmission(TaskProcess(self._command, self._file, self._log))

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_process": None}


def _cores() -> int:
    """Return how many cores the job was given."""
    return int(os.environ.get("SLURM_CPUS_PER_TASK") or len(os.sched_getaffinity(0)))
