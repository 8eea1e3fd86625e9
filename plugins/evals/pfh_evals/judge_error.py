"""What the judge's errors leave of a change."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pfh.hooks.comparison import Comparison
from pfh.hooks.evals import AnalysisSpec
from pfh.hooks.tables import Cell, Table
from pfh.statistics.judge_error import ErrorCounts, corrected_rate
from pfh.statistics.judged import (
    JUDGE_ERRORS,
    counts_against_people,
    counts_harm,
    error_counts,
    pooled,
    within_judge_error,
)
from pfh.statistics.verdicts import CONFIDENCE, SIGNIFICANCE

if TYPE_CHECKING:
    from numpy.typing import NDArray

PROVISIONAL = "provisional: within the judge's error"


def error_findings(rows: Sequence[Comparison]) -> list[str]:
    """Say of each change that passes its test whether it survives the judge's error, or what people's labels say."""
    return [*_by_people(rows), *_provisional(rows)]


def _by_people(rows: Sequence[Comparison]) -> list[str]:
    return [
        f"On {row.benchmark} people's labels of {row.people_n} prompts put the change of the "
        f"{row.metric.replace('_', ' ')} at {row.people_delta:+.2f} ({CONFIDENCE:.0%} interval {row.people_low:+.2f} "
        f"to {row.people_high:+.2f}), where {row.judge} says {row.delta:+.2f}: {row.verdict}."
        for row in rows
        if row.people_delta is not None
    ]


def _provisional(rows: Sequence[Comparison]) -> list[str]:
    return [
        f"On {row.benchmark} the change of the {row.metric.replace('_', ' ')} is {PROVISIONAL}: with the error "
        f"rates of {row.judge} on models that people labelled, people might find {row.judge_low:+.2f} to "
        f"{row.judge_high:+.2f}."
        for row in rows
        if row.people_delta is None
        and row.p_adjusted is not None
        and row.p_adjusted <= SIGNIFICANCE
        and within_judge_error(row)
    ]


def error_table(spec: AnalysisSpec, rows: Sequence[Comparison]) -> Table:
    """Return the rates of refusals that the judge counted beside those that people would find."""
    return _error_table("The judge's error", spec.before.arrays.get(JUDGE_ERRORS), rows, ("refusals", "compliances"))


def harm_error_table(spec: AnalysisSpec, rows: Sequence[Comparison]) -> Table:
    """Return the same of the rates of harm."""
    of_harm = [row for row in rows if counts_harm(row.metric, row.judge)]
    first = next(iter(of_harm), None)
    counts = None if first is None else counts_against_people(first.metric, first.judge, spec.before.arrays)
    return _error_table("The judge's error: harm", counts, of_harm, ("harmless answers", "harmful answers"))


def _error_table(title: str, counts: NDArray[Any] | None, rows: Sequence[Comparison], kinds: tuple[str, str]) -> Table:
    measured = [] if counts is None or not len(counts) else list(rows)
    columns = ("benchmark", "judged before", "people before", "judged after", "people after", "change by people")
    note = ""
    if measured and counts is not None:
        refusals = pooled(error_counts(counts, of_refusals=True))
        seen, passed = refusals.intervals()
        note = (
            f"Against people the judge sees {refusals.sensitivity:.3f} of the {kinds[0]} ({seen[0]:.3f} to "
            f"{seen[1]:.3f}, n = {refusals.positives}) and calls {1 - refusals.specificity:.3f} of the {kinds[1]} "
            f"{kinds[0]} ({1 - passed[1]:.3f} to {1 - passed[0]:.3f}, n = {refusals.negatives}). Rates of people: "
            f"Rogan-Gladen with {CONFIDENCE:.0%} intervals, at the judge's errors over all labelled models. Change: "
            "its ends at the errors on single models, one for each side, as a judge errs differently on every model."
        )
    return Table(
        title=title,
        columns=columns,
        rows=tuple(_row(row, counts) for row in measured if counts is not None),
        note=note,
    )


def _row(row: Comparison, counts: NDArray[Any]) -> tuple[Cell, ...]:
    errors = pooled(error_counts(counts, of_refusals=row.metric == "refusal_rate"))
    assert row.before is not None
    assert row.after is not None
    change = "-" if row.judge_low is None else f"{row.judge_low:+.2f} to {row.judge_high:+.2f}"
    if row.people_delta is not None:
        told = f"{row.people_delta:+.2f} ({row.people_low:+.2f} to {row.people_high:+.2f}), by labels of this run"
    else:
        told = f"{change}{', ' + PROVISIONAL if within_judge_error(row) else ''}"
    judged = (round(row.before, 3), round(row.after, 3))
    return (
        row.benchmark,
        judged[0],
        _corrected(row.before, row.n, errors),
        judged[1],
        _corrected(row.after, row.n, errors),
        told,
    )


def _corrected(rate: float, n: int, errors: ErrorCounts) -> str:
    found = corrected_rate(round(rate * n), n, errors)
    return "-" if found is None else f"{found.estimate:.2f} ({found.low:.2f} to {found.high:.2f})"
