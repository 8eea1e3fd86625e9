"""`pfh matrix`: what is missing of a study is handed to a launcher as tasks, and its runs are gathered."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pfh.commands.outcomes import exit_code
from pfh.commands.study.plan import PlannedStudy, plan_study
from pfh.commands.study.report import write_study_report
from pfh.commands.study.state import PLAN, alone, edited, read_state, study_folder, write_plan
from pfh.commands.study.tasks import Task, tasks_of, write_task
from pfh.errors import EXIT_STEP_FAILED, EXIT_USER, UserError
from pfh.hooks.launchers import LaunchSpec, TaskOutcome, TaskSpec
from pfh.progress import Progress
from pfh.registry.plugins import Plugins
from pfh.results.records import RunResults
from pfh.results.stored import open_results
from pfh.store.store import Store

RUNS = "runs"


@dataclass(frozen=True, kw_only=True)
class MatrixOutcome:
    """What a study came to."""

    folder: Path
    """Holds the runs' results, and the study's report."""
    planned: PlannedStudy
    results: Mapping[str, RunResults]
    """Name of a finished run to its results."""
    failed: Mapping[str, str]
    """Label of a task that failed, or name of a run that cannot be had, to why."""
    report: Path | None
    """The study's page; None where no run is finished."""
    submitted: tuple[str, ...]
    """What was handed to a cluster and goes on there."""
    exit_code: int


def run_matrix(
    file: Path,
    *,
    plugins: Plugins,
    store: Store,
    progress: Progress,
    launcher: str = "local",
    workers: int | None = None,
    phase: str | None = None,
    output: Path | None = None,
    **overrides: Any,  # noqa: ANN401 - fields of `Study`
) -> MatrixOutcome:
    """Make what is missing of a study, and gather its runs; one that fails takes down only what needs it.

    Args:
        file: the study.
        plugins: the installed ones.
        store: where everything is kept.
        progress: shows what goes on.
        launcher: the plugin that executes tasks.
        workers: tasks at once, where the launcher does not know better.
        phase: only the runs of this one.
        output: folder of what is gathered; by default the study's name in pfh-results.
        overrides: fields of the study that take another value.

    Raises:
        UserError: the file is at fault, or another pfh matrix runs the study.
    """
    plugins.load("launchers", launcher)
    planned = plan_study(file, plugins=plugins, store=store, progress=progress, phase=phase, download=True, **overrides)
    for name, reason in planned.refused.items():
        progress.say(f"{name} cannot be run, and the rest goes on: {reason}")
    folder = study_folder(store, planned.study.name)
    with alone(folder):
        for said in edited(read_state(folder / PLAN), planned):
            progress.say(f"the study was edited. Runs {said}")
        tasks = {task.id: task for task in tasks_of(planned)}
        write_plan(folder, planned, tasks, planned.refused)
        progress.say(f"{len(planned.runs)} runs, {len(planned.graph)} steps: {len(tasks)} tasks are to be done")
        outcomes = _launch(planned, tasks, folder, launcher, workers, plugins, progress) if tasks else ()
    failed = {tasks[each.id].label: each.said for each in outcomes if each.state == "failed"}
    submitted = tuple(each.said for each in outcomes if each.state == "submitted")
    into = output or Path("pfh-results") / planned.study.name
    results = {} if submitted else _gather(planned, into, progress)
    return MatrixOutcome(
        folder=into,
        planned=planned,
        results=results,
        failed={**planned.refused, **failed},
        report=write_study_report(planned, results, into) if results else None,
        submitted=submitted,
        exit_code=_exit_code(planned, results, outcomes),
    )


def _launch(
    planned: PlannedStudy,
    tasks: Mapping[str, Task],
    folder: Path,
    launcher: str,
    workers: int | None,
    plugins: Plugins,
    progress: Progress,
) -> tuple[TaskOutcome, ...]:
    behind: dict[str, float] = {}
    for task in reversed(list(tasks.values())):
        behind[task.id] = behind.get(task.id, 0.0) + task.seconds
        for need in task.needs:
            behind[need] = max(behind.get(need, 0.0), behind[task.id])
    order = {run.phase: place for place, run in enumerate(planned.runs)}
    first: dict[str, int] = {}
    for run, plan in zip(planned.runs, planned.plans, strict=True):
        for name in plan.graph:
            first.setdefault(name, order[run.phase])
    specs = tuple(
        TaskSpec(
            id=task.id,
            label=task.label,
            file=write_task(task, folder / "tasks", planned.study.name, planned.store.root),
            needs=task.needs,
            seconds=task.seconds,
            priority=behind[task.id] - 1e9 * min(first[name] for name in task.steps),
        )
        for task in tasks.values()
    )
    for spec in specs:
        (folder / "records" / f"{spec.id}.json").unlink(missing_ok=True)
    settings = planned.study.launchers.get(launcher, {})
    devices = _devices()
    launched = plugins.launch(
        launcher,
        LaunchSpec(
            tasks=specs,
            command=(sys.executable, "-m", "pfh_cli.main", "task"),
            folder=folder,
            workers=workers or max(devices, 1),
            devices=devices,
            settings=settings,
            progress=progress,
        ),
    )
    return tuple(launched.outcomes)


def _devices() -> int:
    import torch

    return int(torch.cuda.device_count())


def _gather(planned: PlannedStudy, folder: Path, progress: Progress) -> dict[str, RunResults]:
    """Copy what the comparisons hold into a folder a run; return the results of those that are finished."""
    found = {}
    for run, plan in zip(planned.runs, planned.plans, strict=True):
        step = plan.graph[plan.comparison]
        artifact = planned.store.get(step.kind, step.key)
        if artifact is None:
            continue
        place = folder / RUNS / run.name
        place.mkdir(parents=True, exist_ok=True)
        for source in artifact.path.rglob("*"):
            if source.is_file() and source.name != "manifest.json":
                target = place / source.relative_to(artifact.path)
                target.parent.mkdir(parents=True, exist_ok=True)
                _place(source, target)
        try:
            found[run.name] = open_results(artifact.path)
        except UserError as error:
            progress.say(f"{run.name} is left out of the report: {error}")
    return found


def _place(source: Path, target: Path) -> None:
    """Copy a file; one on the same disk takes no room."""
    target.unlink(missing_ok=True)
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def _exit_code(planned: PlannedStudy, results: Mapping[str, RunResults], outcomes: tuple[TaskOutcome, ...]) -> int:
    """Return 3 if a task failed, 2 if a run or a benchmark that was asked for by name could not be had, else 0."""
    if any(each.state in ("failed", "cancelled") for each in outcomes):
        return EXIT_STEP_FAILED
    if planned.refused:
        return EXIT_USER
    specs = {run.name: run.spec for run in planned.runs}
    return max((exit_code(specs[name], each) for name, each in results.items()), default=0)
