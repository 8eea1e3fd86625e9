"""Tasks of a study that a cluster has: a second `pfh matrix` leaves them alone, `pfh status` and `cancel` see them."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pfh.commands.study.settings import launcher_options
from pfh.commands.study.state import CANCEL, read_state, write_state
from pfh.commands.study.tasks import read_task
from pfh.errors import UserError
from pfh.hooks.launchers import SubmittedSpec, SubmittedTask, TaskOutcome
from pfh.progress import Progress
from pfh.registry.plugins import Plugins

SUBMITTED = "submitted.json"
LOOKS_EVERY = 1.0
"""Seconds between two looks at whether the study was cancelled."""
ASKED_IN, ASKS_EVERY = 0.02, 30.0
"""Part of what it has taken, and the most seconds, after which a cluster is asked again."""


@dataclass(frozen=True, kw_only=True)
class Submitted:
    """What a study has with a cluster."""

    launcher: str
    """That submitted it; empty where nothing was."""
    tasks: tuple[SubmittedTask, ...] = ()
    """Not ended."""
    steps: Mapping[str, str] = field(default_factory=dict)
    """Id of a step to that of its task, of those that have not ended."""
    ended: Mapping[str, str] = field(default_factory=dict)
    """Id of a task that has ended, however, to its job."""


def submitted_of(folder: Path, settings: Mapping[str, Any], plugins: Plugins) -> Submitted:
    """Ask the launcher that a study was last submitted by what it has.

    `settings` are those of launchers in the study's file.

    Raises:
        PfhError: it cannot be asked here.
    """
    noted = read_state(folder / SUBMITTED)
    launcher = str(noted.get("launcher", ""))
    if not launcher:
        return Submitted(launcher="")
    options = launcher_options(launcher, settings.get(launcher, {}), plugins)
    tasks = plugins.submitted_tasks(launcher, SubmittedSpec(folder=folder, options=options))
    steps = {step["id"]: task.id for task in tasks for step in read_task(task_file(folder, task.id))["steps"]}
    there = {task.id for task in tasks}
    ended = {name: str(job) for name, job in noted.get("tasks", {}).items() if name not in there}
    return Submitted(launcher=launcher, tasks=tasks, steps=steps, ended=ended)


def task_file(folder: Path, task: str) -> Path:
    """Return where a task of a study is."""
    return folder / "tasks" / f"{task}.json"


def check_one_launcher(submitted: Submitted, launcher: str) -> None:
    """Refuse to hand to one launcher what another has.

    Raises:
        UserError: another has tasks that have not ended.
    """
    if submitted.tasks and submitted.launcher != launcher:
        raise UserError(
            f"{len(submitted.tasks)} tasks of this study are with the launcher {submitted.launcher} "
            f"(job {submitted.tasks[0].job}): wait for them (pfh status), end them (pfh cancel), or give "
            f"--launcher {submitted.launcher}."
        )


def note_submitted(folder: Path, launcher: str, outcomes: Iterable[TaskOutcome]) -> None:
    """Write down what was submitted by whom, over what was noted before."""
    noted = read_state(folder / SUBMITTED)
    tasks = dict(noted.get("tasks", {})) if noted.get("launcher") == launcher else {}
    tasks |= {each.id: each.said for each in outcomes if each.state == "submitted"}
    write_state(folder / SUBMITTED, {"launcher": launcher, "tasks": tasks})


def wait_for_all(folder: Path, settings: Mapping[str, Any], plugins: Plugins, progress: Progress) -> None:
    """Return when a cluster has nothing more of a study, or it was cancelled.

    The cluster is asked the less often the longer it takes; the file that cancels is looked for all the time.
    """
    launcher = str(read_state(folder / SUBMITTED).get("launcher", ""))
    spec = SubmittedSpec(folder=folder, options=launcher_options(launcher, settings.get(launcher, {}), plugins))
    left = len(plugins.submitted_tasks(launcher, spec))
    begun = asked = time.monotonic()
    with progress.task("tasks", total=left) as bar:
        while left:
            time.sleep(LOOKS_EVERY)
            if (folder / CANCEL).exists():
                cancel_submitted(folder, settings, plugins)
                return
            now = time.monotonic()
            if now - asked < min((now - begun) * ASKED_IN, ASKS_EVERY):
                continue
            asked, still = now, len(plugins.submitted_tasks(launcher, spec))
            bar.advance(max(left - still, 0))
            left = still


def cancel_submitted(folder: Path, settings: Mapping[str, Any], plugins: Plugins) -> int:
    """End what a cluster has of a study; return how many tasks that were."""
    launcher = str(read_state(folder / SUBMITTED).get("launcher", ""))
    if not launcher:
        return 0
    options = launcher_options(launcher, settings.get(launcher, {}), plugins)
    return len(plugins.cancel_tasks(launcher, SubmittedSpec(folder=folder, options=options)))
