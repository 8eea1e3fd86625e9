"""The verdict in words: one honest sentence for a run, and a line a verdict for a family."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pfh.hooks.comparison import FOUND_CHANGES, ChangeVerdict, Comparison, FamilyChange
from pfh.results.records import FamilyRecord, GateRecord, StageRecord
from pfh.statistics import formatting as figures
from pfh.statistics.judged import within_judge_error
from pfh.statistics.verdicts import SIGNIFICANCE

VERDICTS: tuple[ChangeVerdict, ...] = (
    "worse",
    "changed",
    "better",
    "undecided",
    "no loss above the margin",
    "equivalent",
    "not measured",
)
"""In the order in which a reader needs them."""


SHRUNKEN_SHOWN = 5
"""So many shrunken estimates are named in words; all stand in the table of the report and in results.json."""


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


def caveats(family: FamilyRecord) -> list[str]:
    """Say what a reader must know of the figures: the family as a whole, missing scores, and what would decide."""
    measured = [row for row in family.comparisons if row.status == "MEASURED"]
    told = [] if family.whole is None or family.whole.change is None else [_as_a_whole(family.whole)]
    told += [_missing(row) for row in measured if row.worst_low is not None]
    told += _shrunken(measured)
    wanting = [
        f"{row.benchmark} {row.n_to_decide:,} (has {row.n:,}; margin {figures.size(row.margin, row)})"
        for row in measured
        if row.verdict == "undecided" and row.n_to_decide and row.margin and _is_open(row)
    ]
    if wanting:
        told.append(
            f"Samples that would decide whether there is a change as large as the margin: {', '.join(wanting)}."
        )
    return told


def _shrunken(rows: Sequence[Comparison]) -> list[str]:
    """Say what is left of the largest changes in the light of all, where there are many benchmarks."""
    known = sorted((row for row in rows if row.shrunken is not None), key=lambda row: -abs(row.delta or 0.0))
    if not known:
        return []
    said = [f"{row.benchmark} {figures.shrunken(row)} (raw {figures.signed(row.delta or 0.0, row)})" for row in known]
    most = f"; and {len(said) - SHRUNKEN_SHOWN} smaller ones" if len(said) > SHRUNKEN_SHOWN else ""
    return [
        "Shrunken estimates in percentage points, of the largest changes in the light of all: "
        f"{'; '.join(said[:SHRUNKEN_SHOWN])}{most}."
    ]


def _is_open(row: Comparison) -> bool:
    """Say whether more samples would decide: not what the judge's errors leave open, or people's labels have told."""
    provisional = row.p_adjusted is not None and row.p_adjusted <= SIGNIFICANCE and within_judge_error(row)
    return row.people_delta is None and not provisional


def _as_a_whole(whole: FamilyChange) -> str:
    pooled = _points(whole.change, whole.low, whole.high)
    differ = " The benchmarks changed by more different amounts than noise explains." if _differ(whole) else ""
    if whole.judge_low is not None and whole.judge_high is not None:
        ends = " to ".join(f"{100 * end:+.1f}".replace("-", "−") for end in (whole.judge_low, whole.judge_high))
        differ += f" Whatever the judge's error, it is {ends}{': provisional' if within_judge_error(whole) else ''}."
    return (
        f"The {whole.pooled} benchmarks of scores 0 or 1 taken together, towards the good: {pooled} over {whole.n:,} "
        f"samples, {_points(whole.mean, whole.mean_low, whole.mean_high)} as the mean of the benchmarks; adjusted p of "
        f"any change in the family {figures.p_value(whole.p_adjusted)}.{differ}"
    )


def _differ(whole: FamilyChange) -> bool:
    return whole.heterogeneity_p is not None and whole.heterogeneity_p <= SIGNIFICANCE


def _points(change: float | None, low: float | None, high: float | None) -> str:
    middle, *ends = (f"{100 * (each or 0.0):+.1f}".replace("-", "−") for each in (change, low, high))
    return f"{middle} points [{', '.join(ends)}]"


def _together(family: FamilyRecord) -> str:
    """Say that a family changed as a whole where no benchmark of it is found to have changed by itself."""
    whole = family.whole
    if whole is None or whole.change is None or whole.p_adjusted > SIGNIFICANCE or whole.pooled_p is None:
        return ""
    if (
        whole.pooled_p > SIGNIFICANCE
        or within_judge_error(whole)
        or any(row.verdict in FOUND_CHANGES for row in family.comparisons)
    ):
        return ""
    word = "better" if whole.change > 0 else "worse"
    return f" (taken together they got {word}: {_points(whole.change, whole.low, whole.high)})"


def _missing(row: Comparison) -> str:
    gone = [
        f"{row.documents - scored} of {row.documents} samples have no score {when}"
        for scored, when in ((row.scored_before, "before"), (row.scored_after, "after"))
        if scored < row.documents
    ]
    low, high = (figures.signed(end or 0.0, row) for end in (row.worst_low, row.worst_high))
    unit = " percentage points" if figures.is_binary(row) else ""
    held = row.p_worst is not None and row.p_worst <= SIGNIFICANCE
    return (
        f"{row.benchmark}: {' and '.join(gone)}; the figures are of the {row.n} scored both times. Whatever the "
        f"missing scores are, the change lies between {low} and {high}{unit}, "
        f"{'and is real at either end' if held else 'so that they could make up or hide a change'}."
    )


def stage_name(stage: StageRecord) -> str:
    """Name a stage as its method is written in prose; by its model where two models are compared."""
    return stage.method.upper().replace("_", "-") if stage.method else stage.after.name


def _subject(stages: Sequence[StageRecord], domain: str) -> str:
    if not stages[-1].method:
        return f"Going from {stages[-1].before.name} to {stages[-1].after.name}"
    methods = " then ".join(stage_name(stage) for stage in stages)
    return f"{methods} on {domain}" if domain else methods


def _clause(family: FamilyRecord) -> str:
    counted = [row for row in family.comparisons if not row.same_documents_as]
    if not counted:
        return f"changed what the tables of {family.family} show"
    count = {verdict: sum(row.verdict == verdict for row in counted) for verdict in VERDICTS}
    measured = len(counted) - count["not measured"]
    if not measured:
        return f"has no measured {family.family} benchmark: {_why_none(counted)}"
    phrases = (
        ("made {} worse", count["worse"]),
        ("made {} better", count["better"]),
        ("changed {} for which neither direction is better", count["changed"]),
        ("left {} undecided", count["undecided"]),
        ("cost {} no more than the margin", count["no loss above the margin"]),
        ("left {} within the margin", count["equivalent"]),
    )
    whole = f"measured {family.family}" if count["not measured"] else family.family
    said: list[str] = []
    for phrase, number in phrases:
        if number:
            said.append(phrase.format(str(number) if said else _of(number, measured, whole)))
    if count["not measured"]:
        said.append(f"could not be measured on {count['not measured']} more")
    clause = said[0] if len(said) == 1 else f"{', '.join(said[:-1])} and {said[-1]}"
    return clause + _together(family)


def _why_none(rows: Sequence[Comparison]) -> str:
    """Say why no benchmark has figures: none could be run, or none had samples enough that could be paired."""
    thin = sum(row.status == "INSUFFICIENT" for row in rows)
    if not thin:
        return f"none of {len(rows)} could be run"
    return (
        f"too few samples of {thin} of {len(rows)} could be compared"
        if thin < len(rows)
        else (f"too few samples of any of {len(rows)} could be compared")
    )


def _of(number: int, measured: int, kind: str) -> str:
    if measured == 1:
        return f"the one {kind} benchmark"
    return f"all {measured} {kind} benchmarks" if number == measured else f"{number} of {measured} {kind} benchmarks"


def _item(row: Comparison) -> str:
    if row.verdict == "not measured":
        return f"{row.benchmark} ({row.status}: {row.reason or 'no reason given'})"
    return f"{row.benchmark} ({figures.delta(row)}, n {row.n}, adjusted p {figures.p_value(row.p_adjusted)})"


def gate_lines(gates: Iterable[GateRecord]) -> list[str]:
    """Say how the run stands to each contract, a line each."""
    return [
        f"Contract {gate.contract}, "
        f"{'the whole run' if gate.stage is None else f'stage {gate.stage + 1} ({gate.method})'}: {gate.sentence}"
        for gate in gates
    ]
