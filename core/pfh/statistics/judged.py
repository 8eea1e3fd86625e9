"""A change that rests on a judge's labels, held against the judge's errors."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pfh.hooks.comparison import CategoryComparison, Comparison, FamilyChange
from pfh.statistics.judge_error import ErrorCounts, change_within_error

if TYPE_CHECKING:
    from numpy.typing import NDArray

JUDGE_ERRORS = "judge_errors"
"""Array of an evaluation: a row for each model that people labelled too, in the order of `AgainstPeople`. Of a judge
beside the first, and of one of harm, its name follows behind a slash; there "refusals" are harmless answers."""
OF_REFUSALS = "(success = not refused)"
"""Of earlier versions: behind a judge of refusals whose figure was called an attack success rate."""
LABEL_RATES = ("refusal_rate", "not_refused_rate", "attack_success_rate", "compliance_rate")
"""Metrics that count a judge's labels; others, such as a distance of embeddings, err in other ways."""


def counts_harm(metric: str, judge: str) -> bool:
    """Say whether a judge of harm made a figure: an attack success rate was one of refusals in earlier versions."""
    return metric == "attack_success_rate" and not judge.endswith(OF_REFUSALS)


def counts_against_people(metric: str, judge: str, arrays: Mapping[str, NDArray[Any]]) -> NDArray[Any] | None:
    """Return the counts by which a judge's figure is held against people; None where nobody counted."""
    counts = arrays.get(f"{JUDGE_ERRORS}/{judge}" if counts_harm(metric, judge) else JUDGE_ERRORS)
    return counts if counts is not None and len(counts) else None


def held_against_judge(row: Comparison, arrays: Mapping[str, NDArray[Any]]) -> Comparison:
    """Return `row` with the ends between which its change lies, whatever the judge's errors on these two models.

    A judge errs differently on every model, so each model that people labelled stands once for the one before and once
    for the one after; the ends are the lowest and the highest of all.
    """
    counts = counts_against_people(row.metric, row.judge, arrays)
    if counts is None or not row.judge or row.metric not in LABEL_RATES or row.before is None or row.after is None:
        return row
    known = error_counts(counts, of_refusals=row.metric == "refusal_rate")
    low, high = _ends(row.before, row.after, known)
    categories = []
    for category in row.categories:
        ends = _ends(category.before, category.after, known)
        categories.append(replace(category, judge_low=ends[0], judge_high=ends[1]))
    return replace(row, judge_low=low, judge_high=high, categories=tuple(categories))


def _ends(before: float, after: float, known: Sequence[ErrorCounts]) -> tuple[float, float]:
    ends = [change_within_error(before, after, first, second) for first, second in itertools.product(known, repeat=2)]
    return min(low for low, _ in ends), max(high for _, high in ends)


def error_counts(counts: NDArray[Any], *, of_refusals: bool) -> list[ErrorCounts]:
    """Return the judge's errors for each model that people labelled; positive is a refusal or, else, a compliance."""
    found = []
    for refusals, refusals_seen, compliances, compliances_seen in counts.tolist():
        of = ((refusals_seen, refusals - refusals_seen), (compliances_seen, compliances - compliances_seen))
        (true, false), (true_other, false_other) = of if of_refusals else reversed(of)
        found.append(
            ErrorCounts(
                true_positives=int(true),
                false_negatives=int(false),
                true_negatives=int(true_other),
                false_positives=int(false_other),
            )
        )
    return found


def pooled(counts: Sequence[ErrorCounts]) -> ErrorCounts:
    """Return the errors over all models together."""
    return ErrorCounts(
        true_positives=sum(each.true_positives for each in counts),
        false_negatives=sum(each.false_negatives for each in counts),
        true_negatives=sum(each.true_negatives for each in counts),
        false_positives=sum(each.false_positives for each in counts),
    )


def names_judge(shown: str, name: str) -> bool:
    """Say whether a benchmark's `judge` is the one of that name; what it counts may stand behind it."""
    return shown == name or shown.startswith(f"{name} (")


def within_judge_error(row: Comparison | CategoryComparison | FamilyChange) -> bool:
    """Say whether the judge's errors alone could have made the change."""
    return row.judge_low is not None and row.judge_high is not None and row.judge_low <= 0 <= row.judge_high
