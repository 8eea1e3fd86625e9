"""A study planned: its runs, the union of their steps, and what they take."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pfh.commands.planning import Planner, RunPlan
from pfh.commands.study.calibration import calibrate
from pfh.commands.study.cost import CostModel, cost_model
from pfh.commands.study.reading import read_study
from pfh.commands.study.runs import StudyRun, expand
from pfh.commands.study.schedule import wall_time
from pfh.commands.study.schema import Study
from pfh.errors import UserError, did_you_mean
from pfh.progress import Progress, Silent
from pfh.registry.plugins import Plugins
from pfh.steps.graph import Graph, Step, depths, is_stored, union
from pfh.store.store import Store

DEVICES = (1, 4, 8, 32)
"""Numbers of devices that a plan tells the wall time on."""
_BYTES = {"evaluation": 2e6, "rollouts": 5e6, "comparison": 3e6}
"""Of an artifact without weights, as those of the embedded model's demonstration lie on disk, by order of magnitude."""


@dataclass(frozen=True, kw_only=True)
class PlannedStudy:
    """A study with the graphs of its runs."""

    study: Study
    file: Path
    runs: tuple[StudyRun, ...]
    plans: tuple[RunPlan, ...]
    """One a run."""
    graph: Graph
    """What all runs take, each step once."""
    costs: CostModel
    store: Store
    plugins: Plugins
    refused: Mapping[str, str] = field(default_factory=dict)
    """Name of a run that cannot be had here to why; only where what is missing is to be downloaded."""

    @property
    def unknown(self) -> tuple[str, ...]:
        """What is not on this machine; keys that rest on it are not those of the store."""
        return tuple(dict.fromkeys(each for plan in self.plans for each in plan.unknown))


def plan_study(
    file: Path,
    *,
    plugins: Plugins,
    store: Store,
    progress: Progress | None = None,
    phase: str | None = None,
    download: bool = False,
    calibrated: bool = False,
    **overrides: Any,  # noqa: ANN401 - fields of `Study`
) -> PlannedStudy:
    """Read a study and plan all its runs, or those of one phase.

    Args:
        file: the study.
        plugins: the installed ones.
        store: where steps may lie already.
        progress: shows what takes time.
        phase: only the runs of this one.
        download: get the models and the data that are not here; a run that lacks one is refused, and the others stay.
        calibrated: time a few batches of the starts first, and remember that.
        overrides: fields of the study that take another value, such as `limit`; None leaves them.

    Raises:
        UserError: the file is at fault, or has no such phase.
    """
    study, document = read_study(file)
    study = study.model_copy(update={name: value for name, value in overrides.items() if value is not None})
    runs = expand(study, document, plugins)
    if calibrated:
        calibrate(study, runs, plugins=plugins, store=store, progress=progress or Silent())
    if phase is not None:
        phases = list(dict.fromkeys(run.phase for run in runs))
        if phase not in phases:
            raise UserError(f"{file} has no phase {phase!r}.{did_you_mean(phase, phases)} It has {', '.join(phases)}.")
        runs = tuple(run for run in runs if run.phase == phase)
    if not runs:
        raise UserError(f"{file} makes no run: everything is excluded.")
    planner = Planner(plugins, store, progress, download=download)
    plans: dict[str, RunPlan] = {}
    refused: dict[str, str] = {}
    for run in runs:
        try:
            plans[run.name] = planner.plan(run.spec)
        except UserError as error:
            if not download:
                raise
            refused[run.name] = str(error)
    graph = union(plan.graph for plan in plans.values())
    return PlannedStudy(
        study=study,
        file=file,
        runs=tuple(run for run in runs if run.name in plans),
        plans=tuple(plans.values()),
        graph=graph,
        costs=cost_model(study, graph.values(), store),
        store=store,
        plugins=plugins,
        refused=refused,
    )


def plan_figures(planned: PlannedStudy, price: float | None = None) -> dict[str, Any]:
    """Return what a study takes, as JSON: for each kind of step and each phase, naive against shared.

    `price` is what an hour of a device costs.
    """
    seconds = {name: planned.costs.seconds(step) for name, step in planned.graph.items()}
    stored = {name for name, step in planned.graph.items() if is_stored(step, planned.store)}
    naive = [name for plan in planned.plans for name in plan.graph]
    total, once = sum(seconds.values()) / 3600, sum(seconds[name] for name in naive) / 3600
    left = sum(value for name, value in seconds.items() if name not in stored) / 3600
    remaining = {name: 0.0 if name in stored else value for name, value in seconds.items()}
    longest = depths(planned.graph, remaining)
    sources = dict.fromkeys(planned.costs.source(planned.graph[name]) for name in planned.graph if seconds[name] > 0)
    found = {
        "study": planned.study.name,
        "runs": len(planned.runs),
        "steps": len(planned.graph),
        "steps_naive": len(naive),
        "stored": len(stored),
        "device_hours": total,
        "device_hours_naive": once,
        "device_hours_left": left,
        "tokens": sum(planned.costs.work(step).tokens for step in planned.graph.values()),
        "tokens_naive": sum(planned.costs.work(planned.graph[name]).tokens for name in naive),
        "disk_bytes": sum(_bytes(planned, step) for step in planned.graph.values()),
        "by_kind": _by_kind(planned, seconds, stored),
        "by_phase": _by_phase(planned, seconds, stored),
        "critical_path_hours": max(longest.values(), default=0.0) / 3600,
        "critical_path": _critical_path(planned.graph, longest, remaining),
        "wall_hours": {str(count): wall_time(planned.graph, remaining, count) / 3600 for count in DEVICES},
        "device": planned.costs.device.name,
        "costs_from": list(sources),
        "device_note": planned.costs.note,
        "assumed": planned.costs.assumed.sentence() if any(map(planned.costs.assumes, planned.graph.values())) else "",
        "not_here": list(planned.unknown),
    }
    if price is not None:
        found |= {"price": total * price, "price_naive": once * price, "price_left": left * price}
    return found


def _by_kind(planned: PlannedStudy, seconds: Mapping[str, float], stored: set[str]) -> list[dict[str, Any]]:
    rows: dict[str, dict[str, Any]] = {}
    models: dict[str, set[str]] = defaultdict(set)
    for name, step in planned.graph.items():
        row = rows.setdefault(step.part, _row(kind=step.part))
        row["steps"] += 1
        row["stored"] += name in stored
        row["device_hours"] += seconds[name] / 3600
        models[step.part].add(step.model)
    for plan in planned.plans:
        parts: dict[str, set[str]] = defaultdict(set)
        for name, step in plan.graph.items():
            row = rows[step.part]
            row["steps_naive"] += 1
            row["device_hours_naive"] += seconds[name] / 3600
            parts[step.part].add(step.model)
        for part, loaded in parts.items():
            rows[part]["models_naive"] += len(loaded - {""})
    for part, row in rows.items():
        row["models"] = len(models[part] - {""})
    return list(rows.values())


def _by_phase(planned: PlannedStudy, seconds: Mapping[str, float], stored: set[str]) -> list[dict[str, Any]]:
    """Return a row a phase: a step belongs to the first phase that needs it."""
    rows: dict[str, dict[str, Any]] = {}
    seen: set[str] = set()
    for run, plan in zip(planned.runs, planned.plans, strict=True):
        row = rows.setdefault(run.phase, _row(phase=run.phase) | {"runs": 0})
        row["runs"] += 1
        for name in plan.graph:
            row["steps_naive"] += 1
            row["device_hours_naive"] += seconds[name] / 3600
            if name not in seen:
                row["steps"] += 1
                row["stored"] += name in stored
                row["device_hours"] += seconds[name] / 3600
        seen |= plan.graph.keys()
    for row in rows.values():
        row.pop("models", None)
        row.pop("models_naive", None)
    return list(rows.values())


def _row(**first: str) -> dict[str, Any]:
    counts = dict.fromkeys(("steps", "steps_naive", "stored", "models", "models_naive"), 0)
    return {**first, **counts, "device_hours": 0.0, "device_hours_naive": 0.0}


def _bytes(planned: PlannedStudy, step: Step) -> float:
    weights = planned.costs.size(str(step.about.get("weights", "")))
    if step.kind in ("start", "merged"):
        return 4 * weights
    if step.kind == "training":
        return 4 * weights if getattr(step.about.get("options"), "adapter", "lora") == "full" else 0.04 * weights
    return _BYTES.get(step.kind, 1e4)


def _critical_path(graph: Graph, longest: Mapping[str, float], seconds: Mapping[str, float]) -> list[str]:
    """Return the labels of the steps that nothing can shorten, the first one first."""
    path: list[str] = []
    name = max(longest, key=lambda each: longest[each], default="")
    while name:
        if seconds[name] > 0:
            path.append(graph[name].label)
        name = max((need for need in graph[name].needs if need in graph), key=lambda each: longest[each], default="")
    return path[::-1]
