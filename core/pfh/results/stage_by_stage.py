"""A run of several stages: what each stage changed, and how much of what an earlier one changed it took back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

from pfh.hooks.comparison import Comparison
from pfh.hooks.evaluation import Benchmark, Evaluation
from pfh.hooks.samples import Sample
from pfh.hooks.tables import Cell, Table
from pfh.results.records import FamilyRecord, StageRecord
from pfh.results.verdict import stage_name
from pfh.statistics import quantities
from pfh.statistics.paired import compare_evaluations

PairsByStage = Mapping[tuple[int, str], Sequence[tuple[Benchmark, Benchmark]]]
"""(Stage, family) to the family's benchmarks at the start and after that stage."""


TITLE = "Stage by stage"


COLUMNS = ("benchmark", "stage", "score", "change by the stage", "adjusted p", "left the start", "back at the start")


NOTE = (
    "Each stage is compared with the one before it, the first with the start. Of the samples scored 0 or 1, 'left the "
    "start' counts those whose score was the start's before the stage and is not after it, 'back at the start' those "
    "that an earlier stage had changed and that this one restored. p is adjusted over the family, stage by stage."
)


def add_stage_by_stage(stages: Sequence[StageRecord], pairs: PairsByStage) -> tuple[StageRecord, ...]:
    """Return `stages`, the last one's families with a table that follows every benchmark through all stages.

    Args:
        stages: a run's, in their order; a single one is returned as it is.
        pairs: their samples.
    """
    if len(stages) < 2:
        return tuple(stages)
    names = [f"{number}. {stage_name(stage)}" for number, stage in enumerate(stages, start=1)]
    families = tuple(_with_table(record, names, pairs) for record in stages[-1].families)
    return (*stages[:-1], stages[-1].model_copy(update={"families": families}))


def _with_table(record: FamilyRecord, names: Sequence[str], pairs: PairsByStage) -> FamilyRecord:
    family = record.family
    start = Evaluation(family=family, benchmarks=tuple(before for before, _ in pairs.get((0, family), ())))
    measured = [start]
    for number in range(len(names)):
        benchmarks = tuple(after for _, after in pairs.get((number, family), ()))
        measured.append(Evaluation(family=family, benchmarks=benchmarks))
    changes = [compare_evaluations(before, after) for before, after in pairwise(measured)]
    rows: list[tuple[Cell, ...]] = []
    for benchmark in start.benchmarks:
        scores = [_scores(evaluation, benchmark.name) for evaluation in measured]
        for number, name in enumerate(names):
            row = next((row for row in changes[number] if row.benchmark == benchmark.name), None)
            if row is not None and row.delta is not None:
                rows.append((benchmark.name, name, *_cells(row, scores[0], scores[number], scores[number + 1])))
    if not rows:
        return record
    table = Table(title=TITLE, columns=COLUMNS, rows=tuple(rows), note=NOTE)
    return record.model_copy(update={"tables": (*record.tables, table)})


def _cells(
    row: Comparison, start: Mapping[str, float], before: Mapping[str, float], after: Mapping[str, float]
) -> tuple[Cell, ...]:
    left = back = None
    if row.n10 is not None:
        common = [sample for sample in start if sample in before and sample in after]
        left = sum(start[s] == before[s] != after[s] for s in common)
        back = sum(start[s] == after[s] != before[s] for s in common)
    score, p_adjusted = quantities.score(row.after, row), quantities.p_value(row.p_adjusted)
    return score, quantities.change(row), p_adjusted, left, back


def _scores(evaluation: Evaluation, benchmark: str) -> dict[str, float]:
    samples: list[Sample] = [s for found in evaluation.benchmarks if found.name == benchmark for s in found.samples]
    return {sample.id: sample.score for sample in samples if sample.score is not None}
