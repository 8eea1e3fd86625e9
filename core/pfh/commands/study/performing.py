"""A worker's side of tasks: one executed, or one after the other as their files are named."""

from __future__ import annotations

import json
import os
import sys
import traceback
from pathlib import Path
from typing import TextIO

from pfh.commands.study.state import Recorded
from pfh.commands.study.tasks import perform, read_task, task_store
from pfh.errors import EXIT_STEP_FAILED, PfhError, out_of_resources
from pfh.text import redacted


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


def serve_tasks() -> None:
    """Execute tasks whose files are named on stdin, a line each; say on stdout, as a line of JSON, how each ended.

    What a task prints goes into its log in the study's folder `logs`.
    """
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    errors = os.dup(2)
    for line in sys.stdin:
        file = Path(line.strip())
        log = file.parent.parent / "logs" / f"{file.stem}.log"
        with _log(log) as stream:
            os.dup2(stream.fileno(), 1)
            os.dup2(stream.fileno(), 2)
        code, said = perform_file(file)
        sys.stdout.flush()
        sys.stderr.flush()
        os.dup2(errors, 2)
        answers.write(json.dumps({"task": file.stem, "code": code, "said": said}) + "\n")
