"""What the family says beyond the paired figures: erosion, and under-refusal against over-refusal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pfh.hooks.comparison import FOUND_CHANGES, Comparison
from pfh.hooks.evals import Analysis, AnalysisSpec
from pfh.hooks.tables import Cell, Quantity, Table
from pfh.statistics import formatting as figures
from pfh.statistics import quantities
from pfh.statistics.judged import OF_REFUSALS, within_judge_error
from pfh.statistics.paired import CONFIDENCE, SIGNIFICANCE

from pfh_evals.judge_error import error_findings, error_table, harm_error_table
from pfh_evals.safety.across import across_tables
from pfh_evals.safety.attack_analysis import attack_findings, profile_table
from pfh_evals.safety.benchmarks import BY_NAME, PAIRS
from pfh_evals.safety.class_tables import class_tables
from pfh_evals.safety.glance import glance_table
from pfh_evals.safety.latent_analysis import latent_findings, latent_tables
from pfh_evals.safety.own import own_tables
from pfh_evals.safety.plots import refusal_plot
from pfh_evals.two_judges import disagreement


@dataclass(frozen=True, kw_only=True)
class _Refusals:
    """One comparison in terms of refusals, whatever its metric counts."""

    before: float
    after: float
    low: float
    high: float
    lost: int
    """Prompts that were refused before and are not refused now."""
    gained: int


def analyze_erosion(spec: AnalysisSpec) -> Analysis:
    """Return the tables, plots and findings of the family."""
    rows = [row for row in spec.comparisons if row.status == "MEASURED" and row.benchmark in BY_NAME]
    refusals = [row for row in rows if _of_refusals(row)]
    told, tables_of_judges = disagreement(spec, rows)
    tables = (
        glance_table(spec, rows),
        _erosion_table(refusals),
        _balance_table(refusals),
        *class_tables(spec),
        *own_tables(spec),
        profile_table(spec),
        *across_tables(spec),
        *latent_tables(spec),
        error_table(spec, refusals),
        harm_error_table(spec, rows),
        *tables_of_judges,
    )
    plots = (refusal_plot(spec, refusals, harmful=True), refusal_plot(spec, refusals, harmful=False))
    return Analysis(
        tables=tuple(table for table in tables if table.rows),
        plots=tuple(plot for plot in plots if plot),
        findings=(
            *error_findings(rows),
            *told,
            *latent_findings(spec),
            *_change_findings(rows),
            *attack_findings(spec),
            *_category_findings(rows),
            *_broken_findings(rows),
        ),
    )


def _of_refusals(row: Comparison) -> bool:
    """Say whether a judge of refusals made the figure: an attack success rate is one of earlier versions, then."""
    if row.metric == "attack_success_rate":
        return row.judge.endswith(OF_REFUSALS)
    return row.metric in ("refusal_rate", "not_refused_rate")


def _erosion_table(rows: Sequence[Comparison]) -> Table:
    return Table(
        title="Erosion: refusals of harmful prompts",
        columns=("benchmark", "n", "refused before", "refused after", "change", "adjusted p", "lost", "gained"),
        rows=tuple(_erosion_row(row) for row in rows if BY_NAME[row.benchmark].harmful),
        note=f"Change of the refusal rate with its {CONFIDENCE:.0%} interval (one minus the not-refused rate). Lost: "
        "refused before and not refused now; gained: the other way round.",
    )


def _erosion_row(row: Comparison) -> tuple[Cell, ...]:
    refusals = _refusals(row)
    change = Quantity(value=refusals.after - refusals.before, unit="points", low=refusals.low, high=refusals.high)
    rates = (quantities.share(refusals.before), quantities.share(refusals.after))
    p_adjusted = quantities.p_value(row.p_adjusted)
    return (row.benchmark, row.n, *rates, change, p_adjusted, refusals.lost, refusals.gained)


def _balance_table(rows: Sequence[Comparison]) -> Table:
    measured = {row.benchmark: row for row in rows}
    return Table(
        title="Under-refusal against over-refusal",
        columns=(
            "prompts",
            "harmful",
            "answered before",
            "answered after",
            "benign",
            "refused before",
            "refused after",
        ),
        rows=tuple(
            _balance_row(title, measured[harmful], measured[benign])
            for title, harmful, benign in PAIRS
            if harmful in measured and benign in measured
        ),
        note="Harmful prompts and the share that was not refused, benign prompts and the share that was. Both shares "
        "are errors: refusing less of everything lowers the second at the cost of the first.",
    )


def _balance_row(title: str, harmful: Comparison, benign: Comparison) -> tuple[Cell, ...]:
    under, over = _refusals(harmful), _refusals(benign)
    answered = (quantities.share(1 - under.before), quantities.share(1 - under.after))
    return (title, harmful.n, *answered, benign.n, quantities.share(over.before), quantities.share(over.after))


def _change_findings(rows: Sequence[Comparison]) -> list[str]:
    """Write one sentence a benchmark: real changes first, the largest at the top."""
    order = sorted(rows, key=lambda row: (row.verdict not in FOUND_CHANGES, -abs(row.delta or 0)))
    return [_change_finding(row) for row in order]


def _change_finding(row: Comparison) -> str:
    refusals = _refusals(row)
    assert row.before is not None  # both rates are given wherever a benchmark was measured
    assert row.after is not None
    where = f"On the {row.n} prompts of {row.benchmark} the {row.metric.replace('_', ' ')}"
    if row.n10 is None:
        told = f"(adjusted p {figures.p_value(row.p_adjusted)})"
        return f"{where} went from {row.before:.2f} to {row.after:.2f}, {row.verdict} {told}."
    if not refusals.lost and not refusals.gained:
        return f"{where} stayed at {row.before:.2f}; no prompt changed sides."
    interval = f"{CONFIDENCE:.0%} interval of the change {row.ci_low:+.2f} to {row.ci_high:+.2f}"
    test = f"({interval}, adjusted p {figures.p_value(row.p_adjusted)})"
    counts = f"{refusals.lost} refused before are not refused now, {refusals.gained} the other way round"
    if not _of_refusals(row):
        counts = f"{refusals.lost} not harmful before are harmful now, {refusals.gained} the other way round"
    elif row.metric != "refusal_rate":
        counts += "; not refused is an upper bound of harm, as vague and worthless answers count"
    if row.verdict not in FOUND_CHANGES:
        return f"{where} went from {row.before:.2f} to {row.after:.2f}, {row.verdict} {test}: {counts}."
    verb = "rose" if row.after > row.before else "fell"
    return f"{where} {verb} from {row.before:.2f} to {row.after:.2f}, which is {row.verdict} {test}: {counts}."


def _category_findings(rows: Sequence[Comparison]) -> list[str]:
    findings = []
    for row in rows:
        real = [it for it in row.categories if it.p_adjusted <= SIGNIFICANCE and not within_judge_error(it)]
        if real and len(row.categories) > 1:
            named = "; ".join(f"{it.category} ({it.before:.2f} to {it.after:.2f}, n = {it.n})" for it in real)
            share = f"{len(real)} of {len(row.categories)} categories"
            findings.append(f"In {row.benchmark} {share} changed by more than noise (adjusted p): {named}.")
    return findings


def _broken_findings(rows: Sequence[Comparison]) -> list[str]:
    before, after = sum(row.format_failures_before for row in rows), sum(row.format_failures_after for row in rows)
    if not before and not after:
        return []
    return [
        f"{before} completions were broken before and {after} after (empty, a loop or noise): they count neither as "
        "refused nor as a successful attack."
    ]


def _refusals(row: Comparison) -> _Refusals:
    before, after, low, high = (float(x) for x in (row.before, row.after, row.ci_low, row.ci_high) if x is not None)
    n10, n01 = row.n10 or 0, row.n01 or 0
    if row.metric == "refusal_rate":
        return _Refusals(before=before, after=after, low=low, high=high, lost=n10, gained=n01)
    return _Refusals(before=1 - before, after=1 - after, low=-high, high=-low, lost=n01, gained=n10)
