"""A subject before and one after, compared family by family: what `pfh run` and `pfh compare` share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pfh.commands.matching import matched
from pfh.commands.own_judge_errors import own_errors, with_own_errors
from pfh.commands.subjects import StoredFamily, Subject
from pfh.errors import UserError
from pfh.hooks.comparison import Comparison
from pfh.hooks.evals import Analysis, AnalysisSpec
from pfh.hooks.evaluation import Benchmark, Evaluation
from pfh.hooks.tables import LongTable
from pfh.registry.plugins import Plugins
from pfh.results.records import FamilyRecord, StageRecord
from pfh.statistics.families import adjust_run
from pfh.statistics.looks import with_looks
from pfh.statistics.noise_floor import with_noise_floor
from pfh.statistics.paired import compare_seeds, paired_benchmarks

if TYPE_CHECKING:
    from pydantic import BaseModel

    from pfh.steps.evaluation import Question


@dataclass(frozen=True, kw_only=True)
class Compared:
    """One subject against the one before."""

    stage: StageRecord
    pairs: Mapping[str, list[tuple[Benchmark, Benchmark]]]
    """Family to its benchmarks before and after."""
    long_tables: Mapping[str, tuple[LongTable, ...]]
    notes: tuple[str, ...]
    """What a reader must know about the match of the two, in whole sentences."""


def compare_subjects(
    pairs: Sequence[tuple[Subject, Subject]],
    plugins: Plugins,
    questions: Sequence[Question],
    *,
    again: Subject | None = None,
    allow_mismatch: bool | tuple[str, ...] = False,
    margin: float | None = None,
    stop_early: float | None = None,
) -> Compared:
    """Compare a measured subject before with one after.

    Args:
        pairs: the two, once for each seed that they were measured under.
        plugins: whose families may say more than the paired figures.
        questions: what both were asked.
        again: the one before, measured once more, for the noise floor.
        allow_mismatch: compare the common documents of evaluations that were made differently; or the names of the
            differences that are allowed.
        margin: the largest change that counts as none, of scores between 0 and 1.
        stop_early: the chance of a false stop, where the comparison could end at every look.

    Raises:
        UserError: the two were measured differently, or share no benchmark.
    """
    matches = [matched(before, after, allow_mismatch=allow_mismatch) for before, after in pairs]
    aligned = [(before, after) for (before, _), (after, _) in zip(pairs, matches, strict=True)]
    before, after = aligned[0]
    options = {question.family: question.options for question in questions}
    names = [name for name in before.families if name in after.families]
    counts = {name: own_errors(options.get(name)) for name in names}
    evaluations = {
        name: (
            with_own_errors(before.families[name].evaluation, counts[name]),
            with_own_errors(after.families[name].evaluation, counts[name]),
        )
        for name in names
    }
    records: list[FamilyRecord] = []
    long_tables = {}
    adjusted = adjust_run(
        {
            name: _rows(
                [
                    evaluations[name],
                    *((x.families[name].evaluation, y.families[name].evaluation) for x, y in aligned[1:]),
                ],
                again.families[name].evaluation if again else None,
                margin,
                None if stop_early is None else stop_early / len(questions),
            )
            for name in names
        }
    )
    for name in names:
        rows, whole = adjusted[name]
        analysis = Analysis()
        asked = options.get(name)
        if name in plugins.catalogue.names("evals"):
            asked = asked or _stored_options(name, before.families[name], plugins)
            spec = AnalysisSpec(
                before=evaluations[name][0],
                after=evaluations[name][1],
                comparisons=rows,
                options=asked,
                others={other: pair for other, pair in evaluations.items() if other != name},
                curves=after.curves,
            )
            analysis = plugins.analyze(name, spec)
        record = FamilyRecord(
            family=name,
            options=asked.model_dump(mode="json", exclude=_computed(asked)) if asked else {},
            comparisons=rows,
            whole=whole,
            tables=analysis.tables,
            plots=analysis.plots,
            findings=analysis.findings,
            claims=analysis.claims,
            before_artifact=before.families[name].key,
            after_artifact=after.families[name].key,
        )
        records.append(record)
        long_tables[name] = analysis.long_tables
    return Compared(
        stage=StageRecord(method="", before=before.model, after=after.model, families=tuple(records)),
        pairs={name: paired_benchmarks(*pair) for name, pair in evaluations.items()},
        long_tables=long_tables,
        notes=tuple(note for _, notes in matches for note in notes),
    )


def by_stage(
    compared: Sequence[Compared],
) -> tuple[
    dict[tuple[int, str], list[tuple[Benchmark, Benchmark]]],
    dict[tuple[int, str], tuple[LongTable, ...]],
]:
    """Return the paired benchmarks and the long tables of all comparisons, each by (place, family)."""
    pairs = {(place, name): rows for place, each in enumerate(compared) for name, rows in each.pairs.items()}
    tables = {(place, name): rows for place, each in enumerate(compared) for name, rows in each.long_tables.items()}
    return pairs, tables


def _rows(
    pairs: Sequence[tuple[Evaluation, Evaluation]], again: Evaluation | None, margin: float | None, level: float | None
) -> tuple[Comparison, ...]:
    rows = compare_seeds(pairs, margin=margin)
    if level is not None:
        return with_looks(rows, *pairs[0], level=level, margin=margin)
    return rows if again is None else with_noise_floor(rows, *pairs[0], again)


def _computed(options: BaseModel) -> set[str]:
    """Return the fields that an options model works out by itself, and takes from nobody."""
    return set(type(options).model_computed_fields)


def _stored_options(family: str, stored: StoredFamily, plugins: Plugins) -> BaseModel | None:
    """Return the options that an evaluation was made with, or the defaults where the plugin has changed since."""
    try:
        return plugins.options("evals", family, stored.inputs.get("options") or {})
    except UserError:
        return plugins.options("evals", family, {})
