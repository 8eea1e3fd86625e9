"""Several runs side by side: what each method gained and lost in every family, and what it cost."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from pfh.results import FamilyRecord, RunResults, StageRecord
from pfh.statistics import Comparison
from pfh.verdict import stage_name


@dataclass(frozen=True, kw_only=True)
class FamilyChange:
    """A family of benchmarks in one number, with what it is made of."""

    family: str
    """Name of the eval."""
    change: float | None
    """Mean change towards the good over the measured benchmarks that score a sample 0 or 1 and have a good direction,
    each benchmark counted once: a share, positive is better. None where there is none."""
    half_width: float | None
    """Half the 95% interval of `change`: the benchmarks' own intervals taken as independent and normal."""
    benchmarks: int
    """Benchmarks behind `change`."""
    worse: int
    """Benchmarks with the verdict "worse"."""
    better: int
    """Benchmarks with the verdict "better"."""
    not_measured: int
    """Benchmarks that could not be measured."""


@dataclass(frozen=True, kw_only=True)
class RunSummary:
    """One run in a line."""

    title: str
    """The run in a few words, as its report has it."""
    method: str
    """The methods in their order."""
    start: str
    """Name of the start model."""
    families: tuple[FamilyChange, ...]
    """What the last stage left against the start."""
    device_seconds: float
    """Of all stages and phases."""
    tokens: int
    """Tokens generated and trained on, in all stages."""
    updates: int
    """Optimiser updates of all stages."""
    samples: int
    """Examples trained on, every pass counted."""
    budget: str
    """The budget of a stage; empty without one."""
    budget_spent: float | None
    """Share of it that the last stage spent; None without a budget."""


def summarize(results: RunResults) -> RunSummary:
    """Return one line of the table for a run with at least one stage.

    Raises:
        ValueError: `results` has no stage, as those of `pfh eval`.
    """
    if not results.stages:
        raise ValueError(f"{results.title} has no stage")
    last = results.stages[-1]
    phases = [phase for stage in results.stages for phase in stage.ledger]
    trained = [phase for phase in phases if phase.updates]
    return RunSummary(
        title=results.title,
        method=_methods(results.stages),
        start=last.before.name,
        families=tuple(family_change(family) for family in last.families),
        device_seconds=sum(phase.seconds * phase.devices for phase in phases),
        tokens=sum(phase.tokens for phase in phases),
        updates=sum(phase.updates for phase in trained),
        samples=sum(phase.samples for phase in trained),
        budget=last.budget,
        budget_spent=last.budget_spent,
    )


def family_change(family: FamilyRecord) -> FamilyChange:
    """Return the mean change of a family towards the good."""
    counted = [row for row in family.comparisons if row.n10 is not None and row.higher_is_better is not None]
    changes = [row.delta if row.higher_is_better else -row.delta for row in counted if row.delta is not None]
    widths = [_half_width(row) for row in counted]
    verdicts = [row.verdict for row in family.comparisons]
    return FamilyChange(
        family=family.family,
        change=math.fsum(changes) / len(changes) if changes else None,
        half_width=math.sqrt(math.fsum(width**2 for width in widths)) / len(widths) if widths else None,
        benchmarks=len(changes),
        worse=verdicts.count("worse"),
        better=verdicts.count("better"),
        not_measured=verdicts.count("not measured"),
    )


def _half_width(row: Comparison) -> float:
    return 0.0 if row.ci_low is None or row.ci_high is None else (row.ci_high - row.ci_low) / 2


def _methods(stages: Sequence[StageRecord]) -> str:
    return " then ".join(stage_name(stage) for stage in stages)
