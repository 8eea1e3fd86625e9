"""`pfh status` and `pfh cancel`: where a study stands, from the store and from what its tasks note."""

from __future__ import annotations

import socket
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pfh.commands.study.reading import read_study
from pfh.commands.study.state import CANCEL, PLAN, read_state
from pfh.errors import UserError
from pfh.store.store import Store

SHOWN_LINES = 5
"""Last lines of a failed task's log that are shown."""


def study_status(file: Path, store: Store) -> dict[str, Any]:
    """Return where a study stands, as JSON: steps and runs by phase, and what runs and what failed.

    Raises:
        UserError: the file is at fault, or nothing of the study was started with this store.
    """
    study, _ = read_study(file)
    folder = store.root / "studies" / study.name
    plan = read_state(folder / PLAN)
    if not plan:
        raise UserError(f"Nothing of the study {study.name} was started with the store {store.root}: pfh matrix {file}")
    held = {kind: _names(store.root / "artifacts" / kind) for kind in {step["kind"] for step in plan["steps"].values()}}
    steps: Mapping[str, Any] = plan["steps"]
    done = {name for name, step in steps.items() if step["key"] in held[step["kind"]]}
    records = {name: read_state(folder / "records" / f"{name}.json") for name in plan["tasks"]}
    lost = _lost(plan["tasks"], records)
    states: dict[str, str] = {}
    for name, step in steps.items():
        record = records.get(step["task"], {})
        state = record.get("state", "waiting")
        if name in done:
            states[name] = "done"
        elif state in ("running", "failed"):
            states[name] = state
        else:
            states[name] = "left out" if step["task"] in lost else "waiting"
    phases: dict[str, Counter[str]] = {}
    runs: dict[str, Counter[str]] = {}
    seen: set[str] = set()
    for run in plan["runs"].values():
        counted = phases.setdefault(run["phase"], Counter())
        counted.update(states[name] for name in run["steps"] if name not in seen)
        seen.update(run["steps"])
        runs.setdefault(run["phase"], Counter())[states[run["comparison"]]] += 1
    left = sum(step["seconds"] for name, step in steps.items() if states[name] in ("waiting", "running"))
    launcher = _alive(read_state(folder / "launcher.json"))
    return {
        "study": study.name,
        "launcher": launcher or None,
        "phases": [
            {"phase": name, "runs": dict(runs[name]), "steps": dict(counted)} for name, counted in phases.items()
        ],
        "device_hours_left": left / 3600,
        "running": [_running(name, record) for name, record in records.items() if record.get("state") == "running"],
        "failed": [
            _failed(name, record, folder) for name, record in records.items() if record.get("state") == "failed"
        ],
        "refused": plan["refused"],
    }


def cancel_study(file: Path, store: Store) -> str:
    """End a study that runs; what is done stays. Return what was done.

    Raises:
        UserError: the file is at fault.
    """
    study, _ = read_study(file)
    folder = store.root / "studies" / study.name
    launcher = _alive(read_state(folder / "launcher.json"))
    if not launcher:
        return f"{study.name} is not running; nothing is to be ended."
    (folder / CANCEL).touch()
    return (
        f"{study.name} ends: its launcher (process {launcher['pid']} on {launcher['host']}) stops the tasks that run."
    )


def _alive(launcher: dict[str, Any]) -> dict[str, Any]:
    """Return what is noted of a launcher; nothing of one on this machine that is no longer there."""
    from psutil import pid_exists

    here = launcher.get("host") == socket.gethostname()
    return {} if here and not pid_exists(int(launcher["pid"])) else launcher


def _names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()} if folder.is_dir() else set()


def _lost(tasks: Mapping[str, Any], records: Mapping[str, Mapping[str, Any]]) -> set[str]:
    """Return the tasks that need one that failed."""
    lost = {name for name, record in records.items() if record.get("state") == "failed"}
    for name, task in tasks.items():  # each behind those that it needs
        if not lost.isdisjoint(task["needs"]):
            lost.add(name)
    return lost


def _running(name: str, record: Mapping[str, Any]) -> dict[str, Any]:
    now = time.time()
    done, total = record.get("done", 0), record.get("total", 0)
    took = now - record.get("began", now)
    return {
        "task": name,
        "label": record.get("label", ""),
        "doing": record.get("doing", ""),
        "done": done,
        "total": total,
        "minutes": took / 60,
        "pid": record.get("pid"),
        "host": record.get("host"),
    }


def _failed(name: str, record: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    log = folder / "logs" / f"{name}.log"
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines() if log.is_file() else []
    return {
        "task": name,
        "label": record.get("label", ""),
        "said": record.get("said", ""),
        "log": str(log),
        "last_lines": lines[-SHOWN_LINES:],
        "again": f"pfh task {folder / 'tasks' / f'{name}.json'}",
    }
