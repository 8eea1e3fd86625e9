"""Two judges side by side: how far they agree, and what each makes of the change."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from pfh.hooks.comparison import Comparison
from pfh.hooks.evals import AnalysisSpec
from pfh.hooks.evaluation import Benchmark, Evaluation
from pfh.hooks.samples import Sample
from pfh.hooks.tables import Cell, Quantity, Table
from pfh.statistics import formatting as figures
from pfh.statistics import quantities
from pfh.statistics.agreement import agreement
from pfh.statistics.judged import JUDGE_ERRORS, LABEL_RATES
from pfh.statistics.paired import compare_evaluations

from pfh_evals.judging import LABELS, score_of

Labels = list[tuple[str, str]]
"""What the first judge and another one say of the same completions."""


def disagreement(spec: AnalysisSpec, rows: Sequence[Comparison]) -> tuple[list[str], list[Table]]:
    """Return findings and tables on every judge beside the first; nothing where one judge labelled alone."""
    found, tables = [], []
    names = _judges(spec.before)
    for other in names[1:]:
        labels = {row.benchmark: _labels(spec, row.benchmark, names[0], other) for row in rows}
        labels = {name: pairs for name, pairs in labels.items() if pairs}
        if not labels:
            continue
        second = _by_another(spec, other)
        tables += [_cells(names[0], other, labels), _verdicts(names[0], other, rows, second, labels)]
        found.append(_finding(names[0], other, rows, second, labels))
    return found, tables


def _judges(evaluation: Evaluation) -> tuple[str, ...]:
    """Return the judges of an evaluation that several labelled, the decisive one first."""
    for sample in _samples(evaluation):
        return tuple(sample.extra[LABELS])
    return ()


def _samples(evaluation: Evaluation) -> Iterator[Sample]:
    return (it for benchmark in evaluation.benchmarks for it in benchmark.samples if LABELS in it.extra)


def _labels(spec: AnalysisSpec, benchmark: str, first: str, other: str) -> Labels:
    """Return both judges' labels of all completions of a benchmark, before and after."""
    held = [
        sample.extra[LABELS]
        for side in (spec.before, spec.after)
        for sample in _samples(side)
        if sample.benchmark == benchmark
    ]
    return [pair for each in held if other in each for pair in zip(each[first], each[other], strict=True)]


def _by_another(spec: AnalysisSpec, judge: str) -> Mapping[str, Comparison]:
    """Return the comparisons as they are if another judge decides, by benchmark."""
    sides = [_rescored(side, judge) for side in (spec.before, spec.after)]
    return {row.benchmark: row for row in compare_evaluations(*sides)}


def _rescored(evaluation: Evaluation, judge: str) -> Evaluation:
    kept = tuple(_benchmark(each, judge) for each in evaluation.benchmarks if each.metric in LABEL_RATES and each.judge)
    own = evaluation.arrays.get(f"{JUDGE_ERRORS}/{judge}")
    return replace(evaluation, benchmarks=kept, arrays={} if own is None else {JUDGE_ERRORS: own})


def _benchmark(benchmark: Benchmark, judge: str) -> Benchmark:
    refusals = benchmark.metric == "refusal_rate"
    samples = tuple(
        replace(each, score=score_of(each.extra[LABELS][judge], refusals=refusals))
        for each in benchmark.samples
        if judge in each.extra.get(LABELS, {})
    )
    return replace(benchmark, judge=judge, samples=samples)


def _cells(first: str, other: str, labels: Mapping[str, Labels]) -> Table:
    pairs = [pair for each in labels.values() for pair in each]
    columns = sorted({label for _, label in pairs})
    rows = sorted({label for label, _ in pairs})
    return Table(
        title=f"Two judges: labels by {first} (rows) and {other} (columns)",
        columns=(first, *columns, "all"),
        rows=tuple(
            (row, *(pairs.count((row, column)) for column in columns), sum(label == row for label, _ in pairs))
            for row in rows
        ),
        note="Completions of all benchmarks, before and after.",
    )


def _verdicts(
    first: str, other: str, rows: Sequence[Comparison], second: Mapping[str, Comparison], labels: Mapping[str, Labels]
) -> Table:
    return Table(
        title=f"Two judges: agreement and verdicts, {first} and {other}",
        columns=(
            *("benchmark", "completions", "same label", "kappa"),
            *(f"{what}, {name}" for what in ("change", "verdict") for name in (first, other)),
        ),
        rows=tuple(_row(row, second[row.benchmark], labels[row.benchmark]) for row in _common(rows, second, labels)),
        note="Kappa is the agreement beyond chance (Cohen), 1 at most. Of the second judge p-values are adjusted over "
        "the family alone. Where the two verdicts differ, or one change is up and one down, trust neither before "
        "people have looked: the samples on which the judges disagree are a filter of the samples below.",
    )


def _row(row: Comparison, second: Comparison, labels: Labels) -> tuple[Cell, ...]:
    found = agreement([label for label, _ in labels], [label for _, label in labels])
    kappa = (
        None
        if found.kappa is None
        else Quantity(value=found.kappa, unit="number", low=found.kappa_low, high=found.kappa_high)
    )
    changes = [
        None if each.delta is None else Quantity(value=each.delta, unit="points", low=each.ci_low, high=each.ci_high)
        for each in (row, second)
    ]
    return (row.benchmark, found.n, quantities.share(found.share), kappa, *changes, row.verdict, second.verdict)


def _finding(
    first: str, other: str, rows: Sequence[Comparison], second: Mapping[str, Comparison], labels: Mapping[str, Labels]
) -> str:
    pairs = [pair for each in labels.values() for pair in each]
    found = agreement([label for label, _ in pairs], [label for _, label in pairs])
    kappa = "" if found.kappa is None else f" (kappa {found.kappa:.2f})"
    told = f"{first} and {other} give one label to {figures.share(found.share)} of {found.n} completions{kappa}"
    apart = [
        f"{row.benchmark} ({row.verdict} and {second[row.benchmark].verdict})"
        for row in _common(rows, second, labels)
        if row.verdict != second[row.benchmark].verdict
    ]
    if not apart:
        return f"{told}, and come to the same verdict on every benchmark."
    return f"{told}; their verdicts differ on {', '.join(apart)}: trust neither there before people have looked."


def _common(
    rows: Sequence[Comparison], second: Mapping[str, Comparison], labels: Mapping[str, Labels]
) -> Iterator[Comparison]:
    return (row for row in rows if row.benchmark in labels and row.benchmark in second)
