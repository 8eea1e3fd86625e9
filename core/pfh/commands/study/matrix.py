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
from pfh.commands.study.ended import ended_tasks
from pfh.commands.study.plan import PlannedStudy, plan_study
from pfh.commands.study.reading import read_study
from pfh.commands.study.report import RUNS, write_study_report
from pfh.commands.study.settings import launcher_options
from pfh.commands.study.state import PLAN, alone, edited, read_state, study_folder, write_plan
from pfh.commands.study.submitted import check_one_launcher, note_submitted, submitted_of, wait_for_all
from pfh.commands.study.tasks import Task, tasks_of, write_task
from pfh.errors import EXIT_STEP_FAILED, EXIT_USER, UserError
from pfh.hooks.launchers import LaunchSpec, SubmittedSpec, TaskOutcome, TaskSpec
from pfh.progress import Progress
from pfh.registry.plugins import Plugins
from pfh.results.records import RunResults
from pfh.results.stored import open_results
from pfh.store.store import Store


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
    wait: bool = False,
    launcher_settings: Mapping[str, Any] | None = None,
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
        wait: until what is submitted to a cluster has ended.
        launcher_settings: of the launcher, over what the study says of it.
        overrides: fields of the study that take another value.

    Raises:
        UserError: the file is at fault, or another pfh matrix or another launcher has the study.
    """
    told, _ = read_study(file)
    options = launcher_options(launcher, told.launchers.get(launcher, {}), plugins, launcher_settings)
    folder = study_folder(store, told.name)
    plugins.submitted_tasks(launcher, SubmittedSpec(folder=folder, options=options))  # not everywhere
    planned = plan_study(file, plugins=plugins, store=store, progress=progress, phase=phase, download=True, **overrides)
    for name, reason in planned.refused.items():
        progress.say(f"{name} cannot be run, and the rest goes on: {reason}")
    with alone(folder, progress):
        for said in edited(read_state(folder / PLAN), planned):
            progress.say(f"the study was edited. Runs {said}")
        there = submitted_of(folder, told.launchers, plugins)
        check_one_launcher(there, launcher)
        tasks = {task.id: task for task in tasks_of(planned, there.steps)}
        write_plan(folder, planned, tasks, there.steps)
        progress.say(f"{len(planned.runs)} runs, {len(planned.graph)} steps: {len(tasks)} tasks are to be done")
        if there.tasks:
            progress.say(f"{len(there.tasks)} tasks are with {launcher} already, and are not submitted again")
        spec = LaunchSpec(
            tasks=_specs(planned, tasks, folder),
            command=(sys.executable, "-m", "pfh_cli.main", "task"),
            folder=folder,
            workers=workers or max(_devices(), 1),
            devices=_devices(),
            options=options,
            submitted={task.id: task.job for task in there.tasks},
            progress=progress,
        )
        outcomes = tuple(plugins.launch(launcher, spec).outcomes) if tasks else ()
        note_submitted(folder, launcher, outcomes)
        outcomes += tuple(TaskOutcome(id=task.id, state="submitted", said=task.job) for task in there.tasks)
        if wait and any(each.state == "submitted" for each in outcomes):
            wait_for_all(folder, told.launchers, plugins, progress)
            outcomes = ended_tasks(folder, planned, outcomes)
    labels = {name: str(task["label"]) for name, task in read_state(folder / PLAN)["tasks"].items()}
    failed = {labels[each.id]: each.said for each in outcomes if each.state == "failed"}
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


def _specs(planned: PlannedStudy, tasks: Mapping[str, Task], folder: Path) -> tuple[TaskSpec, ...]:
    """Write the tasks, and return them as launchers take them."""
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
    for name in tasks:
        (folder / "records" / f"{name}.json").unlink(missing_ok=True)
    return tuple(
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
