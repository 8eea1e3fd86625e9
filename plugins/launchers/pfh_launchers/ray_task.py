"""A task as Ray executes it, on whatever node: with the study's folder on its disk, or without."""

from __future__ import annotations

import ctypes
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pfh_launchers.threads import thread_settings

PASSED_ON = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_DATASETS_OFFLINE", "PYTHONPATH")
"""Settings of the launcher's environment that tasks have on every node; so are those that begin with PFH_."""
_DIES_WITH_PARENT = 1  # PR_SET_PDEATHSIG of linux/prctl.h


class TaskDied(Exception):  # noqa: N818 - what Ray is told to try again
    """A task's process was killed."""


def passed_on() -> dict[str, str]:
    """Return the settings that tasks have on every node."""
    return {name: value for name, value in os.environ.items() if name in PASSED_ON or name.startswith("PFH_")}


def execute(
    file: str, text: str, command: Sequence[str], cores: int, settings: Mapping[str, str]
) -> dict[str, str | int]:
    """Execute a task; return how it ended, and of a node that does not see the study's folder what it noted.

    Raises:
        TaskDied: its process was killed.
    """
    place = Path(file)
    seen = place.is_file()
    with tempfile.TemporaryDirectory() as scratch:
        if not seen:
            place = Path(scratch) / "tasks" / place.name
            for name in ("tasks", "records", "logs"):
                (Path(scratch) / name).mkdir()
            place.write_text(text)
        log, record = (place.parents[1] / name for name in (f"logs/{place.stem}.log", f"records/{place.stem}.json"))
        with log.open("ab") as stream:
            code = subprocess.run(
                [sys.executable, *command, str(place)],
                stdout=stream,
                stderr=stream,
                env={**os.environ, **settings, **thread_settings(max(1, cores))},
                preexec_fn=_die_with_parent if sys.platform == "linux" else None,
            ).returncode
        if code < 0:
            raise TaskDied(f"signal {-code}")
        noted = record.read_text() if record.is_file() else "{}"
        said = str(json.loads(noted).get("said", "")) if code else ""
        back = {} if seen else {"record": noted, "log": log.read_text(errors="replace")}
    return {"code": code, "said": said or f"it ended with {code}" if code else "", **back}


def write_what_came_back(file: Path, came_back: Mapping[str, Any]) -> None:
    """Keep record and log of a task that ran where the study's folder is not seen."""
    if "record" in came_back:
        (file.parents[1] / "records" / f"{file.stem}.json").write_text(str(came_back["record"]))
        (file.parents[1] / "logs" / f"{file.stem}.log").write_text(str(came_back["log"]))


def _die_with_parent() -> None:
    """End with the worker, whose memory and cores Ray gives to the next."""
    ctypes.CDLL(None).prctl(_DIES_WITH_PARENT, signal.SIGKILL)
