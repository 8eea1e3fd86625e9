"""The questions that a reader has first, each answered in one line."""

from __future__ import annotations

from collections.abc import Sequence

from pfh.hooks.comparison import FOUND_CHANGES, Comparison
from pfh.hooks.evals import AnalysisSpec
from pfh.hooks.tables import Table
from pfh.statistics.judged import counts_against_people, counts_harm, error_counts, pooled, within_judge_error
from pfh.statistics.paired import SIGNIFICANCE

from pfh_evals.safety.attack_analysis import SUCCESS, attack_rows
from pfh_evals.safety.latent_analysis import latent_rows
from pfh_evals.safety.latent_benchmarks import LATENT_BY_NAME


def glance_table(spec: AnalysisSpec, rows: Sequence[Comparison]) -> Table:
    """Return one line a question; nothing where nothing was measured."""
    questions = (
        ("Did alignment move?", _moved(spec, rows)),
        ("How deep does it sit?", _depth(spec)),
        ("Which categories?", _categories(rows)),
        ("Under which attacks?", _attacks(spec)),
        ("How sure is the judge?", _judge(spec, [*rows, *attack_rows(spec)])),
        ("What to label next?", _next(rows)),
    )
    return Table(
        title="At one glance",
        columns=("question", "answer"),
        rows=tuple((question, answer) for question, answer in questions if answer) if rows else (),
        first=True,
    )


def _moved(spec: AnalysisSpec, rows: Sequence[Comparison]) -> str:
    real = [row for row in rows if row.verdict in FOUND_CHANGES]
    told = [f"{row.benchmark} {row.before:.2f} to {row.after:.2f}, {row.verdict}" for row in real]
    moved = [
        row
        for row in latent_rows(spec)
        if LATENT_BY_NAME[row.benchmark].metric == "refusal_margin"
        and row.p_adjusted is not None
        and row.p_adjusted <= SIGNIFICANCE
    ]
    margins = f"; {_margins(moved)}" if moved else ""
    if told:
        return f"Yes: {'; '.join(told)}{margins}."
    return f"No change of the answers was found on {len(rows)} benchmarks{margins}."


def _margins(rows: Sequence[Comparison]) -> str:
    """Say which refusal margins moved; down on harmful and up on benign prompts warns of what answers may do next."""
    told = ", ".join(f"{LATENT_BY_NAME[row.benchmark].of.name} {row.delta:+.2f} nats" for row in rows)
    warn = [row for row in rows if LATENT_BY_NAME[row.benchmark].of.harmful == ((row.delta or 0) < 0)]
    named = ", ".join(LATENT_BY_NAME[row.benchmark].of.name for row in warn)
    return f"readiness to refuse moved on {told}{f' (an early warning: {named})' if warn else ''}"


def _depth(spec: AnalysisSpec) -> str:
    rows = [row for row in latent_rows(spec) if LATENT_BY_NAME[row.benchmark].metric == "alignment_depth"]
    told = [
        f"{LATENT_BY_NAME[row.benchmark].of.name}: {row.before:.1f} tokens of a begun answer before, {row.after:.1f} "
        f"after, on average ({row.verdict})"
        for row in rows
    ]
    return "; ".join(told)


def _categories(rows: Sequence[Comparison]) -> str:
    several = [row for row in rows if len(row.categories) > 1]
    real = [
        f"{it.category} of {row.benchmark} ({it.before:.2f} to {it.after:.2f}, n = {it.n})"
        for row in several
        for it in row.categories
        if it.p_adjusted <= SIGNIFICANCE and not within_judge_error(it)
    ]
    count = sum(len(row.categories) for row in several)
    return "; ".join(real) if real else f"The answers of none of {count} changed by more than noise."


def _attacks(spec: AnalysisSpec) -> str:
    rows = attack_rows(spec)
    if not rows:
        return "None was run: -o safety.attacks=direct,prefill,templates."
    real = [row for row in rows if row.verdict in FOUND_CHANGES]
    told = ", ".join(f"{row.benchmark} {row.before:.2f} to {row.after:.2f}" for row in real or rows)
    what = "/".join(dict.fromkeys(SUCCESS[row.metric] for row in rows))
    return f"{told} ({what})." if real else f"Under none was a change found: {told} ({what})."


def _judge(spec: AnalysisSpec, rows: Sequence[Comparison]) -> str:
    """Say of every judge how it does against people, and which changes its errors could have made."""
    told: dict[tuple[str, str], list[str]] = {}
    for name, of_harm in dict.fromkeys((row.judge, counts_harm(row.metric, row.judge)) for row in rows if row.judge):
        own = [row for row in rows if row.judge == name and counts_harm(row.metric, row.judge) == of_harm]
        people = all(row.people_delta is not None for row in own)
        said = "corrected by people's labels of this run" if people else f"{_against_people(spec, own[0])}{_doubt(own)}"
        told.setdefault((name, said), []).append("harm" if of_harm else "refusals")
    sentences = [f"{name}, of {' and of '.join(kinds)}: {said}." for (name, said), kinds in told.items()]
    return " ".join(sentences)


def _against_people(spec: AnalysisSpec, row: Comparison) -> str:
    counts = counts_against_people(row.metric, row.judge, spec.before.arrays)
    if counts is None:
        return (
            "nobody has held it against people, so its rates are uncorrected; label this run, or give counts of its "
            "errors with -o safety.judge_errors=FILE"
        )
    errors = pooled(error_counts(counts, of_refusals=True))
    of_harm = counts_harm(row.metric, row.judge)
    seen = ("harmless answers", "harmful ones") if of_harm else ("refusals", "compliances")
    return f"it sees {errors.sensitivity:.0%} of {seen[0]} and {errors.specificity:.0%} of {seen[1]}, on other models"


def _doubt(rows: Sequence[Comparison]) -> str:
    within = [row.benchmark for row in rows if (row.p_adjusted or 1) <= SIGNIFICANCE and within_judge_error(row)]
    return f" (within its error, so provisional: {', '.join(within)})" if within else ""


def _next(rows: Sequence[Comparison]) -> str:
    """Name the benchmark of which labels tell most: provisional before firm, then where most prompts changed sides."""
    doubtful = [row for row in rows if row.judge and row.people_delta is None and row.metric != "mean_harm"]
    if not doubtful:
        return ""
    first = max(doubtful, key=lambda row: (within_judge_error(row), (row.n10 or 0) + (row.n01 or 0)))
    moved = (first.n10 or 0) + (first.n01 or 0)
    return (
        f"{first.benchmark}, where {moved} of {first.n} prompts changed sides: pfh label RUN --benchmark "
        f"{first.benchmark} (those, and up to 30 that did not)."
    )
