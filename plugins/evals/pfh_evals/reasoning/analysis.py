"""What lies under the family's rows: lost chains, their forms, and accuracy beside every figure of a chain."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from statistics import mean, pstdev

from pfh.hooks.evals import Analysis, AnalysisSpec
from pfh.hooks.tables import Cell, Quantity, Table

from pfh_evals.pairs import Pairs, pairs_of
from pfh_evals.reasoning.chains import FORMS
from pfh_evals.reasoning.formats import distance, entropy, permutation_p
from pfh_evals.reasoning.ladder_table import ladder_findings, ladder_tables
from pfh_evals.reasoning.neighbours import neighbours_table
from pfh_evals.reasoning.readers import NAMES as READERS
from pfh_evals.reasoning.readers import crossed_table, informative_findings, informative_table

_SURE = 0.05


def analyze_reasoning(spec: AnalysisSpec) -> Analysis:
    """Return the tables and findings of the family."""
    pairs = pairs_of(spec)
    forms = [[str(pair[side].extra["form"]) for pair in pairs.get("reasoning-format", ())] for side in (0, 1)]
    read, crossed = pairs.get("informative", []), pairs.get("crossed", [])
    tables = [_accuracy(pairs), _followed(pairs), _forms(forms), *ladder_tables(pairs), _varied(pairs)]
    tables += [neighbours_table(pairs.get("neighbours", [])), informative_table(read), crossed_table(crossed)]
    findings = [*_lost(pairs.get("chain-written", [])), *_format_change(forms)]
    findings += [*ladder_findings(pairs), *informative_findings(read), *_unread(spec, pairs)]
    return Analysis(tables=tuple(table for table in tables if table.rows), findings=tuple(findings))


def _accuracy(pairs: dict[str, Pairs]) -> Table:
    """Return accuracy with and without a chain, which stands beside every figure of faithfulness."""
    rows: list[tuple[Cell, ...]] = []
    for name, what in (("early", "right"), ("early", "right_without_chain"), ("own-early", "right")):
        found = [pair for pair in pairs.get(name, ()) if what in pair[0].extra and what in pair[1].extra]
        if found:
            shares = [
                Quantity(value=sum(bool(p[s].extra[what]) for p in found) / len(found), unit="share") for s in (0, 1)
            ]
            rows.append((name, what.replace("_", " "), *shares, len(found)))
    return Table(
        title="Accuracy beside the figures of chains",
        columns=("benchmark", "answers", "before", "after", "n"),
        rows=tuple(rows),
        note="How far an answer depends on its chain mostly follows accuracy (Bentham et al. 2024, arXiv 2402.14897): "
        "read the two together.",
    )


def _followed(pairs: dict[str, Pairs]) -> Table:
    rows: list[tuple[Cell, ...]] = []
    for kind in ("last", "inner"):
        found = [pair for pair in pairs.get("follow", ()) if pair[0].category == kind]
        for side, when in enumerate(("before", "after")):
            counts = Counter(pair[side].score for pair in found)
            if found:
                control = sum(bool(pair[side].extra["control_right"]) for pair in found)
                rows.append((kind, when, counts[1.0], counts[0.0], counts[None], control, len(found)))
    return Table(
        title="After a wrong step",
        columns=("wrong step", "model", "follows it", "corrects it", "neither", "right after right steps", "n"),
        rows=tuple(rows),
        note="Following is faithful, correcting is competent: both are shown, and neither is better. A last step that "
        "is followed may be copied.",
    )


def _forms(forms: Sequence[Sequence[str]]) -> Table:
    counts = [Counter(each) for each in forms]
    rows = tuple((form, counts[0][form], counts[1][form]) for form in FORMS if counts[0][form] or counts[1][form])
    return Table(
        title="The form of the reasoning",
        columns=("form", "before", "after"),
        rows=rows,
        note="One form a reply, the first that fits.",
    )


def _varied(pairs: dict[str, Pairs]) -> Table:
    rows: list[tuple[Cell, ...]] = []
    for name, what in (("names", "other names, same numbers"), ("numbers", "other numbers, same template")):
        for side, when in enumerate(("before", "after")):
            samples = [pair[side] for pair in pairs.get(name, ())]
            if samples:
                scores = [each.score or 0.0 for each in samples]
                in_all = sum(each == 1 for each in scores) / len(scores)
                agree = sum(each.extra["agreement"] for each in samples) / len(samples)
                rows.append(
                    (
                        what,
                        when,
                        len(samples),
                        Quantity(value=mean(scores), unit="share"),
                        Quantity(value=in_all, unit="share"),
                        Quantity(value=pstdev(scores), unit="number"),
                        Quantity(value=agree, unit="share") if name == "names" else None,
                    )
                )
    return Table(
        title="The same problem otherwise",
        columns=("varied", "model", "templates", "right", "right in all", "spread over templates", "same answer"),
        rows=tuple(rows),
        note="The template is the unit. The spread is what GSM-Symbolic (arXiv 2410.05229) found: a model that reasons "
        "has little of it.",
    )


def _unread(spec: AnalysisSpec, pairs: dict[str, Pairs]) -> list[str]:
    """Say where chains were to be read by another model and no item has one both times."""
    asked = [row.name for row in spec.after.benchmarks if row.name in READERS and row.status == "MEASURED"]
    return [
        f"{name}: no item has a chain both times, so that there is nothing to read."
        for name in asked
        if name not in pairs
    ]


def _lost(pairs: Pairs) -> list[str]:
    if not pairs:
        return []
    before, after = (sum(pair[side].score == 1 for pair in pairs) for side in (0, 1))
    if before == after:
        return []
    told = "Chains were lost" if after < before else "Chains were gained"
    return [
        f"{told}: {before} of {len(pairs)} replies reason in two steps or more before the answer, and {after} after. A "
        "reply without a chain has no figure of faithfulness."
    ]


def _format_change(forms: Sequence[Sequence[str]]) -> list[str]:
    if not forms[0]:
        return []
    p_value = permutation_p(forms[0], forms[1])
    if p_value >= _SURE:
        return []
    (first, _), (last, most) = (Counter(each).most_common(1)[0] for each in forms)
    bits = [entropy(each) for each in forms]
    return [
        f"The form of the reasoning changed (Jensen-Shannon distance {distance(forms[0], forms[1]):.2f}, permutation "
        f"p = {p_value:.2g}): mostly {first} before, mostly {last} after ({most} of {len(forms[1])}); entropy "
        f"{bits[0]:.2f} to {bits[1]:.2f} bits."
    ]
