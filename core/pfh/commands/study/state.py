"""Where a study stands: what was planned, what each task says of itself, and what the store holds."""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from pfh.commands.study.cost import learned_as
from pfh.commands.study.plan import PlannedStudy
from pfh.commands.study.tasks import Task
from pfh.errors import UserError
from pfh.progress import Bar, Progress
from pfh.store.lease import Held, Holder, Lease
from pfh.store.store import Store
from pfh.text import write_whole

PLAN, CANCEL, LEASE = "plan.json", "cancel", "lease"
EVERY = 1.0
"""Seconds between two notes of a task on its progress."""


def study_folder(store: Store, name: str) -> Path:
    """Return where a study of that name is kept; made if it is not there."""
    folder = store.root / "studies" / name
    for part in ("tasks", "records", "logs"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    return folder


def write_state(file: Path, said: Mapping[str, Any]) -> None:
    """Write JSON so that a reader sees all of it or what was there before."""
    write_whole(file, json.dumps(said, indent=1))


def read_state(file: Path) -> dict[str, Any]:
    """Read what `write_state` wrote; empty where there is nothing, or nothing that can be read."""
    try:
        return dict(json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return {}


def write_plan(
    folder: Path, planned: PlannedStudy, tasks: Mapping[str, Task], submitted: Mapping[str, str] | None = None
) -> None:
    """Write what `status` needs to know of the study; `submitted` are steps that a cluster has, id to task."""
    told = {task.id: {"label": task.label, "needs": task.needs} for task in tasks.values()}
    earlier = read_state(folder / PLAN).get("tasks", {})
    told = {name: earlier[name] for name in (submitted or {}).values() if name in earlier} | told
    task_of = {**(submitted or {}), **{step: task.id for task in tasks.values() for step in task.steps}}
    write_state(
        folder / PLAN,
        {
            "study": planned.study.name,
            "file": str(planned.file.absolute()),
            "made": time.time(),
            "device": planned.costs.device.name,
            "refused": dict(planned.refused),
            "runs": {
                run.name: {"phase": run.phase, "comparison": plan.comparison, "steps": list(plan.graph)}
                for run, plan in zip(planned.runs, planned.plans, strict=True)
            },
            "steps": {
                name: {
                    "kind": step.kind,
                    "key": step.key,
                    "label": step.label,
                    "task": task_of.get(name, ""),
                    "seconds": round(planned.costs.seconds(step), 3),
                    "like": learned_as(step),
                    "modelled": planned.costs.modelled(step),
                }
                for name, step in planned.graph.items()
            },
            "tasks": told,
        },
    )


def edited(before: Mapping[str, Any], planned: PlannedStudy) -> tuple[str, ...]:
    """Say what a study file that was edited since it was last run changes; what is done stays in the store."""
    old = before.get("runs", {})
    new = {run.name: plan.comparison for run, plan in zip(planned.runs, planned.plans, strict=True)}
    changed = [name for name in new if name in old and old[name]["comparison"] != new[name]]
    gone = [name for name in old if name not in new]
    said = []
    if changed:
        said.append(f"changed since it was last run, and made anew as far as that goes: {_some(changed)}")
    if gone:
        said.append(f"no longer in the study (what is done of them stays in the store): {_some(gone)}")
    return tuple(said)


def _some(names: list[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


@contextmanager
def alone(folder: Path, progress: Progress) -> Iterator[None]:
    """Hold the study, so that no second `pfh matrix` hands out its tasks at once.

    Raises:
        UserError: another one does.
    """

    def say_who(holder: Holder) -> None:
        if not holder.near:
            progress.say(f"looking whether pfh matrix still runs on {holder.host}; that takes up to a minute")

    lease = Lease(folder / LEASE)
    try:
        lease.acquire(wait=False, waiting=say_who)
    except Held as held:
        raise UserError(
            f"Another pfh matrix runs this study ({held}): watch it with pfh status, or end it with pfh cancel."
        ) from None
    try:
        write_state(folder / "launcher.json", {"pid": os.getpid(), "host": socket.gethostname(), "since": time.time()})
        (folder / CANCEL).unlink(missing_ok=True)
        yield
    finally:
        (folder / "launcher.json").unlink(missing_ok=True)
        lease.release()


class Recorded:
    """Notes how far a task is in its record, and logs lines on stderr."""

    def __init__(self, file: Path, label: str) -> None:
        self._file = file
        self._said: dict[str, Any] = {
            "state": "running",
            "label": label,
            "pid": os.getpid(),
            "host": socket.gethostname(),
            "began": time.time(),
        }
        self._start = time.monotonic()
        self._written = 0.0
        self._note()

    @contextmanager
    def task(self, description: str, total: int, done: int = 0) -> Iterator[Bar]:
        """Open a bar, of which the record tells."""
        yield _RecordedBar(self, description, total, done)

    def say(self, line: str) -> None:
        """Log one line."""
        import sys

        print(line, file=sys.stderr, flush=True)

    def ended(self, state: str, said: str = "", code: int = 0) -> None:
        """Note how the task ended."""
        self._said |= {"state": state, "said": said, "code": code, "ended": time.time()}
        self._note()

    def at(self, description: str, done: int, total: int) -> None:
        """Note what is being done, not more often than makes sense."""
        self._said |= {"doing": description, "done": done, "total": total}
        if time.monotonic() - self._written > EVERY:
            self._note()

    def _note(self) -> None:
        self._written = time.monotonic()
        self._said["seconds"] = self._written - self._start
        with suppress(OSError):  # a full disk, or one that this node may not write, is told by the step that needs it
            write_state(self._file, self._said)


class _RecordedBar:
    def __init__(self, recorded: Recorded, description: str, total: int, done: int) -> None:
        self._recorded, self._description, self._total, self._done = recorded, description, total, done
        recorded.at(description, done, total)

    def advance(self, amount: int = 1) -> None:
        self._done += amount
        self._recorded.at(self._description, self._done, self._total)

    def note(self, text: str) -> None:
        pass
