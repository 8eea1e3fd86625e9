"""A worker's side of tasks: one executed, or one after the other as their files are named."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import traceback
from collections.abc import Iterator
from pathlib import Path
from queue import SimpleQueue
from typing import TextIO

from pfh.commands.study.state import Recorded
from pfh.commands.study.tasks import perform, read_task, task_store
from pfh.errors import EXIT_STEP_FAILED, PfhError, out_of_resources
from pfh.text import redacted

LOOKS_EVERY = 1.0
"""Seconds between two looks at whether the launcher is still there."""


def perform_file(file: Path) -> tuple[int, str]:
    """Execute a task, noting how far it is in the study's records; return exit code and what went wrong.

    Raises:
        UserError: the file holds no task.
    """
    task = read_task(file)
    recorded = Recorded(file.parent.parent / "records" / f"{task['task']}.json", str(task.get("label", "")))
    try:
        perform(task, task_store(task, recorded), recorded)
    except Exception as error:  # noqa: BLE001 - the boundary of a task: whatever it is goes into its record
        code = error.exit_code if isinstance(error, PfhError) else EXIT_STEP_FAILED
        said = redacted(out_of_resources(error) or _line(error))
        print(redacted("".join(traceback.format_exception(error))), end="", file=sys.stderr)
        recorded.ended("failed", said, code)
        return code, said
    except BaseException:
        recorded.ended("stopped", "it was interrupted", EXIT_STEP_FAILED)
        raise
    recorded.ended("done")
    return 0, ""


def _log(file: Path) -> TextIO:
    """Open a task's log; where it cannot be written, what the task prints is lost, and the task is not."""
    try:
        return file.open("a", encoding="utf-8", errors="backslashreplace")
    except OSError:
        return Path(os.devnull).open("a")


def _line(error: Exception) -> str:
    if isinstance(error, PfhError):
        return str(error)
    return "unexpected " + "".join(traceback.format_exception_only(error)).strip().splitlines()[0]


def _asked_for() -> Iterator[str]:
    """Yield the lines of stdin; a KeyboardInterrupt while one is worked on that nobody waits for any more."""
    lines: SimpleQueue[str | None] = SimpleQueue()
    launcher, ended = os.getppid(), threading.Event()

    def listen() -> None:
        for line in sys.stdin:
            lines.put(line.strip())
        lines.put(None)
        while os.getppid() == launcher:
            if ended.wait(LOOKS_EVERY):
                return
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=listen, daemon=True).start()
    while (line := lines.get()) is not None:
        yield line
    ended.set()


def serve_tasks() -> None:
    """Execute tasks whose files are named on stdin, a line each; say on stdout, as a line of JSON, how each ended.

    What a task prints goes into its log in the study's folder `logs`. Where stdin ends and whoever began this process
    has ended too, the task that runs is interrupted: a launcher that was killed leaves no workers behind.
    """
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    errors = os.dup(2)
    for name in _asked_for():
        file = Path(name)
        log = file.parent.parent / "logs" / f"{file.stem}.log"
        with _log(log) as stream:
            os.dup2(stream.fileno(), 1)
            os.dup2(stream.fileno(), 2)
        code, said = perform_file(file)
        sys.stdout.flush()
        sys.stderr.flush()
        os.dup2(errors, 2)
        answers.write(json.dumps({"task": file.stem, "code": code, "said": said}) + "\n")
