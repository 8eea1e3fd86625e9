"""How tasks ended that a cluster had: by what they noted, and by what lies in the store."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pfh.commands.study.plan import PlannedStudy
from pfh.commands.study.state import PLAN, read_state
from pfh.hooks.launchers import TaskOutcome
from pfh.steps.graph import is_stored


def ended_early(job: str, folder: Path) -> str:
    """Say why a task may have ended that noted nothing."""
    return (
        f"its job {job} ended before the task did: it was cancelled, ran out of memory, or does not see {folder}; "
        f"the job's own words are in {folder / 'jobs' / job}"
    )


def ended_tasks(folder: Path, planned: PlannedStudy, submitted: Iterable[TaskOutcome]) -> tuple[TaskOutcome, ...]:
    """Return what became of tasks of which a cluster has none any more."""
    plan = read_state(folder / PLAN)
    wanted: dict[str, list[str]] = {}
    for step, said in plan["steps"].items():
        wanted.setdefault(said["task"], []).append(step)
    outcomes: dict[str, TaskOutcome] = {}
    jobs = {each.id: each.said for each in submitted}
    for name in plan["tasks"]:  # each behind those that it needs
        if name not in jobs:
            continue
        record = read_state(folder / "records" / f"{name}.json")
        if all(is_stored(planned.graph[step], planned.store) for step in wanted.get(name, ())):
            outcomes[name] = TaskOutcome(id=name, state="done")
        elif record.get("state") == "failed":
            outcomes[name] = TaskOutcome(id=name, state="failed", said=str(record.get("said", "")))
        elif broken := _needed(plan["tasks"][name]["needs"], outcomes):
            label = plan["tasks"][broken]["label"]
            outcomes[name] = TaskOutcome(id=name, state="left out", said=f"it needs what failed: {label}")
        else:
            outcomes[name] = TaskOutcome(id=name, state="failed", said=ended_early(jobs[name], folder))
    return tuple(outcomes.values())


def _needed(needs: Iterable[str], outcomes: Mapping[str, Any]) -> str:
    """Return the first of the needed tasks that is not done; empty where all are."""
    return next((need for need in needs if need in outcomes and outcomes[need].state != "done"), "")
