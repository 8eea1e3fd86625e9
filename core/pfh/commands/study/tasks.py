"""Tasks: steps of one resident model as data, which any machine that sees the store can execute."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from pfh.commands.planning import Planner, RunPlan
from pfh.commands.run_steps import RunSteps
from pfh.commands.study.plan import PlannedStudy
from pfh.errors import StepFailedError, UserError, reading
from pfh.hooks.launchers import RunSpec
from pfh.progress import Progress
from pfh.registry.plugins import Plugins
from pfh.steps.graph import Graph, Step, is_stored
from pfh.store.places import mirrored_at, store_folder
from pfh.store.store import Store
from pfh.text import write_whole


@dataclass(frozen=True, kw_only=True)
class Task:
    """One or more steps that share a resident model."""

    id: str
    label: str
    steps: tuple[str, ...]
    """Ids, in their order."""
    needs: tuple[str, ...]
    """Ids of tasks."""
    runs: tuple[RunPlan, ...]
    """One a step: a run that it belongs to."""
    seconds: float


def tasks_of(planned: PlannedStudy, submitted: Mapping[str, str] | None = None) -> tuple[Task, ...]:
    """Group the steps that are not stored into tasks, each behind those that it needs.

    `submitted` are steps that tasks make which a cluster has, id to task: they are needed, and not made again.
    """
    submitted = submitted or {}
    owners: dict[str, RunPlan] = {}
    for plan in planned.plans:
        for name in plan.graph:
            owners.setdefault(name, plan)
    missing = {name: step for name, step in _missing(planned).items() if name not in submitted}
    groups: dict[str, list[str]] = {}
    of = dict(submitted)
    for name, step in missing.items():
        of[name] = _group(step)
        groups.setdefault(of[name], []).append(name)
    ids = {group: _id(names, missing) for group, names in groups.items()}
    ids |= {task: task for task in submitted.values()}
    tasks = {
        group: Task(
            id=ids[group],
            label=missing[names[0]].label
            if len(names) == 1
            else f"{missing[names[0]].label} and {len(names) - 1} more",
            steps=tuple(names),
            needs=tuple(
                dict.fromkeys(
                    ids[of[need]] for name in names for need in missing[name].needs if need in of and of[need] != group
                )
            ),
            runs=tuple(owners[name] for name in names),
            seconds=sum(planned.costs.seconds(missing[name]) for name in names),
        )
        for group, names in groups.items()
    }
    return _in_order(list(tasks.values()), set(submitted.values()))


def _missing(planned: PlannedStudy) -> dict[str, Step]:
    """Return the steps that are not stored and that a comparison rests on which is not stored either."""
    wanted = {plan.comparison for plan in planned.plans}
    missing = {}
    for name, step in reversed(list(planned.graph.items())):
        if name in wanted and not is_stored(step, planned.store):
            missing[name] = step
            wanted.update(step.needs)
    return {name: missing[name] for name in planned.graph if name in missing}


def _group(step: Step) -> str:
    """Return what the steps of one task have in common: what is asked of one model, and all of a start."""
    if step.part == "start":
        return "start"
    if step.kind == "evaluation":
        return f"{step.part} {step.model}"
    if step.part == "divergence":  # of the same resident model
        part = "evaluation of the start" if step.kind == "rollouts" else "evaluation after"
        return f"{part} {step.model}"
    return step.id


def _id(names: Sequence[str], steps: Mapping[str, Step]) -> str:
    """Return an id that tells the kind, and is the same for the same steps."""
    return f"{steps[names[0]].kind}-{hashlib.sha256(' '.join(names).encode()).hexdigest()[:12]}"


def _in_order(tasks: Sequence[Task], submitted: set[str]) -> tuple[Task, ...]:
    placed: dict[str, Task] = {}
    waiting = list(tasks)
    while waiting:
        ready = [task for task in waiting if all(need in placed or need in submitted for need in task.needs)]
        assert ready, "a group of steps needs itself"
        placed |= {task.id: task for task in ready}
        waiting = [task for task in waiting if task.id not in placed]
    return tuple(placed.values())


def write_task(task: Task, folder: Path, study: str, store: Path) -> Path:
    """Write a task as JSON; return its file."""
    said = {
        "study": study,
        "task": task.id,
        "label": task.label,
        "store": str(store.absolute()),
        "mirror": mirrored_at(store),
        "needs": task.needs,
        "steps": [
            {"id": step, "run": run_as_json(plan.spec)} for step, plan in zip(task.steps, task.runs, strict=True)
        ],
    }
    file = folder / f"{task.id}.json"
    write_whole(file, json.dumps(said, indent=1))
    return file


def run_as_json(spec: RunSpec) -> dict[str, Any]:
    """Return a run as JSON has it."""
    return dataclasses.asdict(spec)


def run_from_json(said: Mapping[str, Any]) -> RunSpec:
    """Return the run that `run_as_json` wrote."""
    return TypeAdapter(RunSpec).validate_python(said)


def read_task(file: Path) -> dict[str, Any]:
    """Read a task.

    Raises:
        UserError: it is none.
    """
    with reading(f"The task {file}", "give a file that pfh matrix wrote"):
        said = json.loads(file.read_text(encoding="utf-8"))
        _ = [(step["id"], run_from_json(step["run"])) for step in said["steps"]], said["store"], said["task"]
    return dict(said)


def task_store(task: Mapping[str, Any], progress: Progress) -> Store:
    """Open the store of a task: on this machine's disk, or mirrored where machines share none.

    Raises:
        UserError: it is not to be seen or written here.
    """
    if url := str(task.get("mirror", "")):
        return Store(store_folder(url), progress)
    root = Path(task["store"])
    if not (root / "artifacts").is_dir():
        raise UserError(
            f"The store {root} is not to be seen on {socket.gethostname()}: give a folder that all nodes see, or a "
            "URL, as --store."
        )
    return Store(root, progress)


def _fetch_needed(step: Step, graph: Graph, store: Store) -> None:
    """Have all here that a step rests on, directly or through others; only a mirrored store may lack some of it."""
    needed = list(step.needs)
    for name in needed:
        if name in graph:
            store.get(graph[name].kind, graph[name].key)
            needed += [each for each in graph[name].needs if each not in needed]


def perform(task: Mapping[str, Any], store: Store, progress: Progress) -> None:
    """Make what the steps of a task are to leave in the store; what is there already is left as it is.

    Raises:
        UserError: the code, the data or the models are others than those that the task was planned with.
        StepFailedError: a step could not finish.
    """
    planner = Planner(Plugins(), store, progress, download=True)
    opened: dict[str, tuple[RunPlan, RunSteps]] = {}
    try:
        for each in task["steps"]:
            key = json.dumps(each["run"], sort_keys=True)
            if key not in opened:
                plan = planner.plan(run_from_json(each["run"]))
                opened[key] = plan, RunSteps(plan.spec, plan.session, plan.options)
            plan, steps = opened[key]
            if each["id"] not in plan.graph:
                raise UserError(
                    f"The step {each['id']} of the task {task['task']} has another key here: plugins, libraries, "
                    "device or data differ from those that the study was planned with. Run pfh matrix again here."
                )
            step = plan.graph[each["id"]]
            if is_stored(step, store):
                continue
            _fetch_needed(step, plan.graph, store)
            progress.say(step.label)
            plan.acts[step.id](steps)
            if not is_stored(step, store) and step.part != "divergence":  # that it cannot be is told by the run
                raise StepFailedError(f"{step.label} left nothing under the key that was planned for it ({step.id}).")
    finally:
        for plan, _ in opened.values():
            plan.session.release()
