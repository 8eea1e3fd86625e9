"""The contamination check of a run: which evaluated documents overlap with training prompts, and figures without."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from pfh.hooks.comparison import Comparison
from pfh.hooks.domains import Problem
from pfh.hooks.evaluation import Benchmark, Evaluation
from pfh.hooks.samples import Sample
from pfh.hooks.tables import Cell, Table
from pfh.progress import Progress
from pfh.results.overlap import GRAM, TEMPLATE_SHARE, Overlap, PromptIndex, find_overlaps, index_prompts
from pfh.results.records import FamilyRecord, StageRecord
from pfh.statistics import quantities
from pfh.statistics.paired import compare_evaluations

LISTED = 100
"""So many overlapping documents a family are named in the results."""


_FIGURES = ("before", "after", "change", "n", "verdict")


BenchmarkPairs = Sequence[tuple[Benchmark, Benchmark]]
"""The benchmarks of one family before and after."""


Overlaps = Mapping[str, Mapping[str, Overlap]]
"""Benchmark to sample id to what the sample shares with the training prompts."""


def check_stages(
    stages: Sequence[StageRecord],
    pairs: Mapping[tuple[int, str], BenchmarkPairs],
    problems: Sequence[Problem],
    progress: Progress,
) -> tuple[tuple[StageRecord, ...], tuple[str, ...]]:
    """Look for every evaluated document of a run in its training prompts.

    Args:
        stages: the run's stages, measured on the same documents.
        pairs: (index of the stage, family) to the family's benchmarks before and after.
        problems: the training problems.
        progress: where to show it.

    Returns:
        The stages with the tables of the check added to each family, and notes for the reader of the results.
    """
    first = {family: benchmarks for (number, family), benchmarks in pairs.items() if number == 0}
    total = sum(len(before.samples) for benchmarks in first.values() for before, _ in benchmarks)
    found: dict[str, Overlaps] = {}
    with progress.task("contamination check", total=total) as bar:
        index = index_prompts(problems)
        for family, benchmarks in first.items():
            overlaps = {}
            for before, _ in benchmarks:
                overlaps[before.name] = _benchmark_overlaps(index, before)
                bar.advance(len(before.samples))
            found[family] = overlaps
    checked = tuple(
        stage.model_copy(
            update={
                "families": tuple(
                    _with_tables(record, pairs.get((number, record.family), ()), found.get(record.family, {}))
                    for record in stage.families
                )
            }
        )
        for number, stage in enumerate(stages)
    )
    return checked, _notes(found, total)


def document_text(sample: Sample) -> str:
    """Return what the document itself says, without chat template and worked examples where the eval kept that."""
    own = sample.extra.get("user_prompt")
    return own if isinstance(own, str) else sample.prompt


def _benchmark_overlaps(index: PromptIndex, benchmark: Benchmark) -> dict[str, Overlap]:
    texts = {sample.id: document_text(sample) for sample in benchmark.samples}
    return find_overlaps(index, texts, {sample.id: sample.cluster for sample in benchmark.samples})


def _notes(found: Mapping[str, Overlaps], total: int) -> tuple[str, ...]:
    count = sum(len(samples) for overlaps in found.values() for samples in overlaps.values())
    if not count:
        return ()
    where = [
        f"{family}:{benchmark}" for family, overlaps in found.items() for benchmark in overlaps if overlaps[benchmark]
    ]
    return (
        f"Contamination: {count} of {total} evaluated documents overlap with training prompts (in {', '.join(where)}); "
        "the tables of these families give the figures without them.",
    )


def _with_tables(record: FamilyRecord, pairs: BenchmarkPairs, overlaps: Overlaps) -> FamilyRecord:
    if not any(before.samples for before, _ in pairs):
        return record
    tables = [_summary(record, pairs, overlaps)]
    if any(overlaps.values()):
        tables.append(_listing(overlaps))
    return record.model_copy(update={"tables": (*record.tables, *tables)})


def _summary(record: FamilyRecord, pairs: BenchmarkPairs, overlaps: Overlaps) -> Table:
    rows = {row.benchmark: row for row in record.comparisons}
    overlapping = any(overlaps.values())
    clean = _clean_comparisons(record.family, pairs, overlaps) if overlapping else {}
    return Table(
        title="Contamination",
        columns=(
            "benchmark",
            "documents",
            "exact",
            f"{GRAM}-gram",
            "share",
            *(f"{name}, {which}" for which in ("all", "without them")[: 1 + overlapping] for name in _FIGURES),
        ),
        rows=tuple(
            _row(before, overlaps[before.name], rows.get(before.name), clean.get(before.name), overlapping)
            for before, _ in pairs
            if before.samples
        ),
        note="Documents that overlap with the run's training prompts. Exact: the words are the same, as they stand or "
        f"without what all documents and all prompts begin and end with. {GRAM}-gram: another document, with which a "
        f"prompt shares {GRAM} words in a row; runs of words in more than {TEMPLATE_SHARE:.0%} of a benchmark's "
        "documents, or of an environment's prompts, are templates and do not count.",
    )


def _row(
    benchmark: Benchmark,
    overlaps: Mapping[str, Overlap],
    every: Comparison | None,
    clean: Comparison | None,
    overlapping: bool,
) -> tuple[Cell, ...]:
    exact = sum(overlap.kind == "exact" for overlap in overlaps.values())
    count = len(benchmark.samples)
    counts = (count, exact, len(overlaps) - exact, quantities.share(len(overlaps) / count))
    without = _change(clean if overlaps else every) if overlapping else ()
    return (benchmark.name, *counts, *_change(every), *without)


def _change(row: Comparison | None) -> tuple[Cell, ...]:
    if row is None:
        return (None, None, None, None, None)
    told = row.verdict if row.delta is not None else row.reason or row.status
    return (quantities.score(row.before, row), quantities.score(row.after, row), quantities.change(row), row.n, told)


def _clean_comparisons(family: str, pairs: BenchmarkPairs, overlaps: Overlaps) -> dict[str, Comparison]:
    """Compare the family once more, without the overlapping documents."""
    before, after = (
        Evaluation(family=family, benchmarks=tuple(_without(pair[side], overlaps) for pair in pairs)) for side in (0, 1)
    )
    return {row.benchmark: row for row in compare_evaluations(before, after)}


def _without(benchmark: Benchmark, overlaps: Overlaps) -> Benchmark:
    flagged = overlaps[benchmark.name]
    return dataclasses.replace(
        benchmark, samples=tuple(sample for sample in benchmark.samples if sample.id not in flagged)
    )


def _listing(overlaps: Overlaps) -> Table:
    rows = [
        (benchmark, sample, overlap.kind, overlap.problem)
        for benchmark, samples in overlaps.items()
        for sample, overlap in samples.items()
    ]
    left_out = f" {len(rows) - LISTED} more are not listed." if len(rows) > LISTED else ""
    return Table(
        title="Overlapping documents",
        columns=("benchmark", "sample", "overlap", "training problem"),
        rows=tuple(rows[:LISTED]),
        note=f"Samples of this family that overlap with a training prompt, and one problem that has it.{left_out}",
    )
