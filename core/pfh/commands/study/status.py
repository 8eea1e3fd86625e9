"""`pfh status` and `pfh cancel`: where a study stands, from the store and from what its tasks note."""

from __future__ import annotations

import dataclasses
import socket
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pfh.commands.study.ended import ended_early
from pfh.commands.study.reading import read_study
from pfh.commands.study.state import CANCEL, PLAN, read_state
from pfh.commands.study.submitted import SUBMITTED, Submitted, cancel_submitted, submitted_of
from pfh.errors import PfhError, UserError
from pfh.registry.plugins import Plugins
from pfh.store.store import Store

SHOWN_LINES = 5
"""Last lines of a failed task's log that are shown."""


def study_status(file: Path, store: Store, plugins: Plugins) -> dict[str, Any]:
    """Return where a study stands, as JSON: steps and runs by phase, and what runs and what failed.

    Raises:
        UserError: the file is at fault, or nothing of the study was started with this store.
    """
    study, _ = read_study(file)
    folder = store.root / "studies" / study.name
    plan = read_state(folder / PLAN)
    if not plan:
        raise UserError(f"Nothing of the study {study.name} was started with the store {store.root}: pfh matrix {file}")
    held = {kind: store.keys(kind) for kind in {step["kind"] for step in plan["steps"].values()}}
    steps: Mapping[str, Any] = plan["steps"]
    done = {name for name, step in steps.items() if step["key"] in held[step["kind"]]}
    records = {name: read_state(folder / "records" / f"{name}.json") for name in plan["tasks"]}
    there, unasked = _submitted(folder, study.launchers, plugins)
    _correct(records, plan, done, there, folder)
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
    labels = {name: str(task["label"]) for name, task in plan["tasks"].items()}
    return {
        "study": study.name,
        "launcher": launcher or None,
        "cluster": {
            "launcher": there.launcher,
            "unknown": unasked,
            "tasks": [dataclasses.asdict(task) | {"label": labels.get(task.id, "")} for task in there.tasks],
        }
        if there.launcher
        else None,
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


def cancel_study(file: Path, store: Store, plugins: Plugins) -> str:
    """End a study that runs; what is done stays. Return what was done.

    Raises:
        UserError: the file is at fault.
    """
    study, _ = read_study(file)
    folder = store.root / "studies" / study.name
    launcher = _alive(read_state(folder / "launcher.json"))
    said = []
    if launcher:
        (folder / CANCEL).touch()
        said.append(f"its launcher (process {launcher['pid']} on {launcher['host']}) stops the tasks that run.")
    if count := cancel_submitted(folder, study.launchers, plugins):
        said.append(f"{count} tasks are taken from the cluster.")
    if not said:
        return f"{study.name} is not running; nothing is to be ended."
    return f"{study.name} ends: {' '.join(said)}"


def _submitted(folder: Path, settings: Mapping[str, Any], plugins: Plugins) -> tuple[Submitted, str]:
    """Return what a cluster has of a study, and why it cannot be asked."""
    try:
        return submitted_of(folder, settings, plugins), ""
    except PfhError as error:
        return Submitted(launcher=str(read_state(folder / SUBMITTED).get("launcher", ""))), str(error)


def _correct(
    records: dict[str, dict[str, Any]], plan: Mapping[str, Any], done: set[str], there: Submitted, folder: Path
) -> None:
    """Let records say how it is where a task could not note its end, since it or its machine was killed."""
    open_tasks = {step["task"] for name, step in plan["steps"].items() if name not in done}
    active = {task.id: task for task in there.tasks}
    for name in records:
        record = records[name]
        if name in active and record.get("state") == "running" and active[name].state == "queued":
            record["state"] = "waiting"  # queued again
        elif name in active or name not in open_tasks:
            continue
        elif record.get("state") == "running" and (_is_dead(record) or name in there.ended):
            record["state"] = "stopped"
    for name in plan["tasks"]:  # each behind those that it needs
        record = records[name]
        if name in there.ended and name in open_tasks and record.get("state") not in ("failed", "running"):
            broken = any(records.get(need, {}).get("state") in ("failed", "left out") for need in _needs(plan, name))
            label = plan["tasks"][name]["label"]
            said = "" if broken else ended_early(there.ended[name], folder)
            records[name] = {**record, "state": "left out" if broken else "failed", "said": said, "label": label}


def _needs(plan: Mapping[str, Any], name: str) -> list[str]:
    return list(plan["tasks"][name]["needs"])


def _is_dead(record: Mapping[str, Any]) -> bool:
    """Say whether a task ran in a process of this machine that is no longer there."""
    from psutil import pid_exists

    return record.get("host") == socket.gethostname() and not pid_exists(int(record.get("pid", 0)))


def _alive(launcher: dict[str, Any]) -> dict[str, Any]:
    """Return what is noted of a launcher; nothing of one on this machine that is no longer there."""
    from psutil import pid_exists

    here = launcher.get("host") == socket.gethostname()
    return {} if here and not pid_exists(int(launcher["pid"])) else launcher


def _lost(tasks: Mapping[str, Any], records: Mapping[str, Mapping[str, Any]]) -> set[str]:
    """Return the tasks that need one that failed."""
    lost = {name for name, record in records.items() if record.get("state") == "failed"}
    for name, task in tasks.items():  # each behind those that it needs
        if not lost.isdisjoint(task["needs"]):
            lost.add(name)
    return lost


def _running(name: str, record: Mapping[str, Any]) -> dict[str, Any]:
    """Return how far a task is; how long it takes on another machine is as that one noted, whose clock may be off."""
    here = record.get("host") == socket.gethostname()
    took = time.time() - record["began"] if here and "began" in record else record.get("seconds", 0.0)
    done, total = record.get("done", 0), record.get("total", 0)
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
