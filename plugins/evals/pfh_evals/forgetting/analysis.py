"""What the family says beyond the paired figures: forgetting and transfer by category, drift by capability, format."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import mean

from pfh.hooks.comparison import Comparison
from pfh.hooks.evals import Analysis, AnalysisSpec
from pfh.hooks.tables import Cell, Table
from pfh.statistics.paired import CONFIDENCE

from pfh_evals.forgetting.battery import CATEGORIES, OTHER, capability_of, category_of
from pfh_evals.forgetting.forms import form_findings, form_table, lost_forms
from pfh_evals.forgetting.plots import transition_plot

NEAR_ZERO = 0.1
"""Below this score a relative drift says nothing, and only percentage points are given."""
Groups = dict[str, list[Comparison]]


def analyze_forgetting(spec: AnalysisSpec) -> Analysis:
    """Return the tables, the plot and the findings of the family."""
    rows = [row for row in spec.comparisons if row.status == "MEASURED"]
    if not rows:
        return Analysis()
    by_category = _grouped(rows, category_of, (*CATEGORIES, OTHER))
    capabilities = sorted({capability_of(row.benchmark) for row in rows})
    by_capability = _grouped(rows, capability_of, tuple(capabilities))
    forms = lost_forms(spec.before, spec.after, [row.benchmark for row in rows])
    tables = (_transition_table(by_category), _drift_table(by_capability), form_table(forms), _format_table(rows))
    plot = transition_plot(by_category)
    return Analysis(
        tables=tuple(table for table in tables if table.rows),
        plots=(plot,) if plot else (),
        findings=(
            *_category_findings(by_category),
            *_change_findings(rows),
            *form_findings(forms),
            *_format_findings(rows),
        ),
    )


def _grouped(rows: Sequence[Comparison], group_of: Callable[[str], str], order: Sequence[str]) -> Groups:
    groups: Groups = {name: [row for row in rows if group_of(row.benchmark) == name] for name in order}
    return {name: members for name, members in groups.items() if members}


def _transition_table(groups: Groups) -> Table:
    return Table(
        title="Forgetting and backward transfer by category",
        columns=(
            "category",
            "benchmarks",
            "documents",
            "before",
            "after",
            "forgotten",
            "gained",
            "forgotten beyond guessing",
            "gained beyond guessing",
            "most that could be forgotten",
        ),
        rows=tuple(
            (
                name,
                len(rows),
                sum(row.n for row in rows),
                _mean(row.before for row in rows),
                _mean(row.after for row in rows),
                _mean(row.forgetting for row in rows),
                _mean(row.backward_transfer for row in rows),
                _mean(row.forgetting_corrected for row in rows),
                _mean(row.backward_transfer_corrected for row in rows),
                _mean(row.forgetting_ceiling for row in rows),
            )
            for name, rows in groups.items()
        ),
        note="Means over a category's benchmarks. Forgotten: right before and wrong after; gained: the other way "
        "round. Beyond guessing: without what guesses that are drawn anew explain (Harmon et al. 2025, arXiv "
        "2510.17776), the same on both sides, so that the net change stays; the truth lies between the raw and the "
        "corrected share. For multiple choice alone: the corrected columns leave out benchmarks with free answers.",
    )


def _drift_table(groups: Groups) -> Table:
    return Table(
        title="Drift by capability",
        columns=("capability", "benchmarks", "before", "after", "drift in points", "drift in %"),
        rows=tuple((name, len(rows), *_drift(rows)) for name, rows in groups.items()),
        note=f"The groups of CapTrack (arXiv 2603.06610). Relative drift is left out where the score before is under "
        f"{NEAR_ZERO}. What a model will do is measured by the family safety.",
    )


def _drift(rows: Sequence[Comparison]) -> tuple[Cell, ...]:
    before, after = mean(row.before or 0.0 for row in rows), mean(row.after or 0.0 for row in rows)
    relative = round(100 * (after - before) / before, 1) if before >= NEAR_ZERO else None
    return (round(before, 4), round(after, 4), round(100 * (after - before), 1), relative)


def _format_table(rows: Sequence[Comparison]) -> Table:
    concerned = [row for row in rows if row.format_failures_before or row.format_failures_after]
    return Table(
        title="Answers that could not be read",
        columns=("benchmark", "documents", "before", "after", "most of the change that format explains"),
        rows=tuple(
            (row.benchmark, row.n, row.format_failures_before, row.format_failures_after, _part(row))
            for row in concerned
        ),
        note="Completions in which the task's filter found no answer, or not the right one that stands there in "
        "another form. They score 0 as in lm-eval, and are no sign that the answer was forgotten: the last column is "
        "the share of documents by which their number changed.",
    )


def _part(row: Comparison) -> float:
    return round((row.format_failures_after - row.format_failures_before) / row.n, 4)


def _category_findings(groups: Groups) -> list[str]:
    binary = {name: [row for row in rows if row.forgetting is not None] for name, rows in groups.items()}
    lost = {name: _mean(row.forgetting for row in rows) or 0.0 for name, rows in binary.items() if rows}
    gained = {name: _mean(row.backward_transfer for row in binary[name]) or 0.0 for name in lost}
    if not lost:
        return []
    worst = max(lost, key=lambda name: lost[name] - gained[name])
    if lost[worst] <= gained[worst]:
        return ["In no category did more documents go from right to wrong than from wrong to right."]
    corrected = _mean(row.forgetting_corrected for row in binary[worst])
    beyond = "" if corrected is None else f"; beyond what guesses drawn anew explain it is {corrected:.1%} or more"
    return [
        f"Most was lost on balance in {worst}: {lost[worst]:.1%} of the documents went from right to wrong and "
        f"{gained[worst]:.1%} the other way, a mean over {len(binary[worst])} "
        f"benchmark{'s' if len(binary[worst]) > 1 else ''}{beyond}."
    ]


def _change_findings(rows: Sequence[Comparison]) -> list[str]:
    real = sorted((row for row in rows if row.verdict in ("better", "worse")), key=lambda row: -abs(row.delta or 0.0))
    if not real:
        return [f"Of none of the {len(rows)} benchmarks was a change found (adjusted p)."]
    return [_change_finding(row) for row in real]


def _change_finding(row: Comparison) -> str:
    verb = "rose" if (row.delta or 0.0) > 0 else "fell"
    counts = "" if row.n10 is None else f"; {row.n10} documents were lost and {row.n01} gained"
    return (
        f"{row.benchmark} {verb} from {row.before:.3f} to {row.after:.3f} ({CONFIDENCE:.0%} interval of the change "
        f"{row.ci_low:+.3f} to {row.ci_high:+.3f}, n = {row.n}){counts}."
    )


def _format_findings(rows: Sequence[Comparison]) -> list[str]:
    more = [row for row in rows if row.format_failures_after > row.format_failures_before]
    if not more:
        return []
    named = "; ".join(
        f"{it.benchmark} {it.format_failures_before} before, {it.format_failures_after} after" for it in more
    )
    return [f"More answers could not be read after than before, which is no forgetting: {named}."]


def _mean(values: object) -> float | None:
    known = [value for value in values if value is not None]  # type: ignore[attr-defined]
    return round(mean(known), 4) if known else None
