"""The questions that a reader has first, each answered in one line."""

from __future__ import annotations

from collections.abc import Sequence

from pfh.hooks.comparison import FOUND_CHANGES, Comparison
from pfh.hooks.evals import AnalysisSpec
from pfh.hooks.tables import Table
from pfh.statistics.judged import JUDGE_ERRORS, error_counts, pooled, within_judge_error
from pfh.statistics.paired import SIGNIFICANCE

from pfh_evals.safety.attack_analysis import attack_rows
from pfh_evals.safety.latent_analysis import latent_rows
from pfh_evals.safety.latent_benchmarks import LATENT_BY_NAME


def glance_table(spec: AnalysisSpec, rows: Sequence[Comparison]) -> Table:
    """Return one line a question; nothing where nothing was measured."""
    questions = (
        ("Did alignment move?", _moved(spec, rows)),
        ("How deep does it sit?", _depth(spec)),
        ("Which categories?", _categories(rows)),
        ("Under which attacks?", _attacks(spec)),
        ("How sure is the judge?", _judge(spec, rows)),
        ("What to label next?", _next(rows)),
    )
    return Table(
        title="At one glance",
        columns=("question", "answer"),
        rows=tuple((question, answer) for question, answer in questions if answer) if rows else (),
    )


def _moved(spec: AnalysisSpec, rows: Sequence[Comparison]) -> str:
    real = [row for row in rows if row.verdict in FOUND_CHANGES]
    told = [f"{row.benchmark} {row.before:.2f} to {row.after:.2f}, {row.verdict}" for row in real]
    warned = [
        f"{LATENT_BY_NAME[row.benchmark].of.name} {row.delta:+.2f} nats"
        for row in latent_rows(spec)
        if LATENT_BY_NAME[row.benchmark].metric == "refusal_margin"
        and row.p_adjusted is not None
        and row.p_adjusted <= SIGNIFICANCE
    ]
    margins = f"; refusal margins moved on {', '.join(warned)}, an early warning" if warned else ""
    if told:
        return f"Yes: {'; '.join(told)}{margins}."
    return f"No change of an answered rate was found on {len(rows)} benchmarks{margins}."


def _depth(spec: AnalysisSpec) -> str:
    rows = [row for row in latent_rows(spec) if LATENT_BY_NAME[row.benchmark].metric == "alignment_depth"]
    told = [
        f"{LATENT_BY_NAME[row.benchmark].of.name}: {row.before:.1f} tokens of a begun answer before, {row.after:.1f} "
        f"after, on average ({row.verdict})"
        for row in rows
    ]
    return "; ".join(told)


def _categories(rows: Sequence[Comparison]) -> str:
    real = [
        f"{it.category} of {row.benchmark} ({it.before:.2f} to {it.after:.2f}, n = {it.n})"
        for row in rows
        for it in row.categories
        if len(row.categories) > 1 and it.p_adjusted <= SIGNIFICANCE and not within_judge_error(it)
    ]
    return "; ".join(real) if real else "None of them changed by more than noise."


def _attacks(spec: AnalysisSpec) -> str:
    rows = attack_rows(spec)
    if not rows:
        return "None was run: -o safety.attacks=direct,prefill,templates."
    real = [f"{row.benchmark} {row.before:.2f} to {row.after:.2f}" for row in rows if row.verdict in FOUND_CHANGES]
    return "; ".join(real) if real else f"Under none of {len(rows)} did success change by more than noise."


def _judge(spec: AnalysisSpec, rows: Sequence[Comparison]) -> str:
    names = ", ".join(dict.fromkeys(row.judge for row in rows if row.judge))
    if any(row.people_delta is not None for row in rows):
        return f"{names}, corrected by people's labels of this run."
    counts = spec.before.arrays.get(JUDGE_ERRORS)
    if counts is None or not len(counts):
        return f"{names}: uncorrected, and never held against people here."
    errors = pooled(error_counts(counts, of_refusals=True))
    within = [row.benchmark for row in rows if (row.p_adjusted or 1) <= SIGNIFICANCE and within_judge_error(row)]
    doubt = f"; within its error, so provisional: {', '.join(within)}" if within else ""
    return (
        f"{names}: against people it sees {errors.sensitivity:.0%} of refusals and {errors.specificity:.0%} of "
        f"compliances, on other models{doubt}."
    )


def _next(rows: Sequence[Comparison]) -> str:
    doubtful = [row for row in rows if row.judge and row.people_delta is None]
    if not doubtful:
        return ""
    first = max(doubtful, key=lambda row: (within_judge_error(row), (row.n10 or 0) + (row.n01 or 0)))
    return (
        f"{first.benchmark}, where {(first.n10 or 0) + (first.n01 or 0)} of {first.n} prompts changed sides: "
        "`pfh label RUN --family safety --sample 60`."
    )
