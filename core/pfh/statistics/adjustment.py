"""Correction for many tests: over the benchmarks of a family, and over its categories."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from pfh.hooks.comparison import Comparison
from pfh.statistics.verdicts import verdict


def adjust(p_values: Sequence[float]) -> list[float]:
    """Benjamini-Hochberg adjusted p-values (Benjamini & Hochberg 1995), in the order given."""
    from scipy.stats import false_discovery_control

    return [float(p) for p in false_discovery_control(p_values)] if p_values else []


def adjust_family(rows: Sequence[Comparison]) -> tuple[Comparison, ...]:
    """Return the rows of one family with their adjusted p-values and verdicts, categories adjusted among themselves.

    A second metric of documents that another row has counted is not counted again: it is adjusted in a line of its own,
    and gets no verdict that a headline counts.
    """
    benchmarks = _adjusted(further_line(rows)) | _adjusted(first_line(rows))
    categories = iter(adjust([category.p_value for row in rows for category in row.categories]))
    adjusted = []
    for row in rows:
        by_category = tuple(replace(category, p_adjusted=next(categories)) for category in row.categories)
        changed = replace(row, p_adjusted=benchmarks.get(row.benchmark), categories=by_category)
        adjusted.append(replace(changed, verdict=verdict(changed)))
    return tuple(adjusted)


def first_line(rows: Sequence[Comparison]) -> list[Comparison]:
    """Return the measured rows that count: one for each set of documents."""
    return [row for row in rows if row.p_value is not None and not row.same_documents_as]


def further_line(rows: Sequence[Comparison]) -> list[Comparison]:
    """Return the further metrics of documents that were counted, and the one metric of those that have no other.

    Without a further metric there is no such line.
    """
    further = [row for row in rows if row.p_value is not None and row.same_documents_as]
    told_again = {row.same_documents_as for row in further}
    return [*further, *(row for row in first_line(rows) if row.benchmark not in told_again)] if further else []


def _adjusted(line: Sequence[Comparison]) -> dict[str, float]:
    return dict(zip((row.benchmark for row in line), adjust([counted_p(row) for row in line]), strict=True))


def counted_p(row: Comparison) -> float:
    """Return the p-value of a measured row that counts: by people's labels, and whatever the missing scores are."""
    assert row.p_value is not None
    own = row.p_value if row.people_p is None else row.people_p
    if row.p_worst is None:
        return own
    return row.p_worst if row.people_p is None else max(own, row.p_worst)
