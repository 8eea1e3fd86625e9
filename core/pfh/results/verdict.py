"""The verdict in words: one honest sentence for a run, and a line a verdict for a family."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pfh.hooks.comparison import ChangeVerdict, Comparison
from pfh.results.records import FamilyRecord, StageRecord
from pfh.statistics import formatting as figures
from pfh.statistics.paired import SIGNIFICANCE

VERDICTS: tuple[ChangeVerdict, ...] = ("worse", "changed", "better", "no evidence of change", "not measured")
"""In the order in which a reader needs them."""


@dataclass(frozen=True, kw_only=True)
class VerdictLine:
    """The benchmarks of one family that share a verdict."""

    verdict: ChangeVerdict
    items: tuple[str, ...]
    """A benchmark each, with its difference, n and adjusted p, or with the reason why it was not measured."""


def headline(stages: Sequence[StageRecord], domain: str = "") -> str:
    """Say in one sentence what the run did to its start model, stages taken together.

    Every stage is compared with the start, so the last one tells what the whole run changed.
    """
    last = stages[-1]
    clauses = [_clause(family) for family in last.families]
    if not clauses:
        return f"{_subject(stages, domain)} was not evaluated."
    figures_behind = any(row.verdict != "not measured" for family in last.families for row in family.comparisons)
    level = f" (adjusted p ≤ {SIGNIFICANCE})" if figures_behind else ""
    return f"{_subject(stages, domain)} {'; it '.join(clauses)}{level}."


def verdict_lines(family: FamilyRecord) -> tuple[VerdictLine, ...]:
    """Group a family's benchmarks by their verdict, the worst first; verdicts that nothing got are left out."""
    lines = []
    for verdict in VERDICTS:
        rows = [row for row in family.comparisons if row.verdict == verdict]
        if rows:
            lines.append(VerdictLine(verdict=verdict, items=tuple(_item(row) for row in rows)))
    return tuple(lines)


def stage_name(stage: StageRecord) -> str:
    """Name a stage as its method is written in prose; by its model where two models are compared."""
    return stage.method.upper().replace("_", "-") if stage.method else stage.after.name


def _subject(stages: Sequence[StageRecord], domain: str) -> str:
    if not stages[-1].method:
        return f"Going from {stages[-1].before.name} to {stages[-1].after.name}"
    methods = " then ".join(stage_name(stage) for stage in stages)
    return f"{methods} on {domain}" if domain else methods


def _clause(family: FamilyRecord) -> str:
    if not family.comparisons:
        return f"changed what the tables of {family.family} show"
    count = {verdict: sum(row.verdict == verdict for row in family.comparisons) for verdict in VERDICTS}
    measured = len(family.comparisons) - count["not measured"]
    if not measured:
        return f"has no measured {family.family} benchmark: none of {len(family.comparisons)} could be run"
    phrases = (
        ("made {} worse", count["worse"]),
        ("made {} better", count["better"]),
        ("changed {} for which neither direction is better", count["changed"]),
        ("left {} without evidence of change", count["no evidence of change"]),
    )
    whole = f"measured {family.family}" if count["not measured"] else family.family
    said: list[str] = []
    for phrase, number in phrases:
        if number:
            said.append(phrase.format(str(number) if said else _of(number, measured, whole)))
    if count["not measured"]:
        said.append(f"could not be measured on {count['not measured']} more")
    return said[0] if len(said) == 1 else f"{', '.join(said[:-1])} and {said[-1]}"


def _of(number: int, measured: int, kind: str) -> str:
    if measured == 1:
        return f"the one {kind} benchmark"
    return f"all {measured} {kind} benchmarks" if number == measured else f"{number} of {measured} {kind} benchmarks"


def _item(row: Comparison) -> str:
    if row.verdict == "not measured":
        return f"{row.benchmark} ({row.status}: {row.reason or 'no reason given'})"
    return f"{row.benchmark} ({figures.delta(row)}, n {row.n}, adjusted p {figures.p_value(row.p_adjusted)})"
