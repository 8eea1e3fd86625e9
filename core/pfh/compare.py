"""`pfh compare`: a model before and one or more after, each measured now, stored, or logged by another tool."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pfh import measure
from pfh.errors import UserError
from pfh.evaluation import Benchmark, Evaluation
from pfh.matching import matched
from pfh.measure import MeasureSpec
from pfh.plugins import Plugins
from pfh.progress import Progress
from pfh.results import FamilyRecord, RunResults, StageRecord
from pfh.run import EvalChoice, RunOutcome, family_record, write_outputs
from pfh.seeds import compare_seeds, with_noise_floor
from pfh.session import Session
from pfh.sides import Side, StoredFamily, measured, open_side
from pfh.specs import Analysis, AnalysisSpec, LongTable
from pfh.statistics import compare_evaluations
from pfh.store import Store
from pfh.verdict import headline

if TYPE_CHECKING:
    from pydantic import BaseModel

    from pfh.steps import Ground

OTHER_BATCH_TOKENS = 2048
"""Token budget of a batch when a model is measured once more for the noise floor; a backend's own budget is larger."""


@dataclass(frozen=True, kw_only=True)
class CompareSpec(MeasureSpec):
    """What to compare: the first of the models with each of the others."""

    seeds: tuple[int, ...] = ()
    """Measure every model under each of these seeds; empty is `seed` alone."""
    noise_floor: bool = False
    """Measure the first model once more, and say how much it differs from itself."""
    allow_mismatch: bool = False
    """Compare the common samples of evaluations that were made differently."""


@dataclass(frozen=True, kw_only=True)
class _Measuring:
    """What every measurement of a comparison needs."""

    spec: CompareSpec
    choices: tuple[EvalChoice, ...]
    options: Mapping[str, BaseModel | None]
    ground: Ground | None

    def of(self, side: Side, session: Session, seed: int, against: Side | None = None) -> Side:
        return measured(
            side,
            session,
            self.choices,
            options=self.options,
            ground=self.ground,
            limit=self.spec.limit,
            seed=seed,
            against=against,
        )


@dataclass(frozen=True, kw_only=True)
class _Compared:
    """The first model against one other."""

    stage: StageRecord
    pairs: Mapping[str, list[tuple[Benchmark, Benchmark]]]
    long_tables: Mapping[str, tuple[LongTable, ...]]
    notes: tuple[str, ...]


def compare(
    spec: CompareSpec, *, plugins: Plugins, store: Store, progress: Progress, output: Path | None = None
) -> RunOutcome:
    """Compare the models of `spec`, measuring what the store does not have; write results.json and report.html.

    Raises:
        UserError: the input or the environment is at fault, or the sides were measured differently.
        StepFailedError: a step could not finish; what was stored is kept.
    """
    if len(spec.models) < 2:
        raise UserError("Name two models or more: the one before, then those after.")
    options = measure.fill_options(spec, plugins)
    session = Session(plugins=plugins, store=store, progress=progress, backend=spec.backend, dtype=spec.dtype)
    try:
        opened = _opened(spec, session)
        measuring = _Measuring(
            spec=spec,
            choices=measure.chosen_families(spec, opened),
            options=options,
            ground=measure.open_ground(spec, session, options),
        )
        by_seed = [_all_measured(opened, measuring, session, seed) for seed in _seeds(spec)]
        again = _measured_again(by_seed, measuring, session) if spec.noise_floor else None
    finally:
        session.release()
    for note in dict.fromkeys(note for side in by_seed[0] for note in side.notes):
        progress.say(note)
    compared = [_against_first(place, by_seed, again, plugins, options, spec) for place in range(1, len(opened))]
    stages = tuple(each.stage for each in compared)
    results = RunResults(
        title=f"{', '.join(side.model.name for side in opened[1:])} against {opened[0].model.name}",
        headline=_headline(stages),
        start=opened[0].label,
        seed=_seeds(spec)[0],
        limit=spec.limit,
        provenance=measure.provenance(spec, session, by_seed[0]),
        notes=_notes(spec, by_seed, compared),
        stages=stages,
    )
    folder = output or Path("pfh-results") / measure.folder_name("compare", opened, spec)
    pairs = {(number, name): rows for number, each in enumerate(compared) for name, rows in each.pairs.items()}
    tables = {(number, name): rows for number, each in enumerate(compared) for name, rows in each.long_tables.items()}
    write_outputs(folder, results, pairs, tables)
    rows = [(family.family, row) for stage in stages for family in stage.families for row in family.comparisons]
    return RunOutcome(results=results, folder=folder, exit_code=measure.exit_code(spec, rows))


def _seeds(spec: CompareSpec) -> tuple[int, ...]:
    return tuple(dict.fromkeys(spec.seeds)) or (spec.seed,)


def _opened(spec: CompareSpec, session: Session) -> list[Side]:
    sides = [open_side(text, session, revision=spec.revision, allow_pickle=spec.allow_pickle) for text in spec.models]
    if spec.noise_floor and sides[0].checkpoint is None:
        raise UserError(f"--noise-floor measures the first model once more, so {sides[0].text} must be a model.")
    stored = [side.text for side in sides if side.checkpoint is None]
    if len(_seeds(spec)) > 1 and stored:
        raise UserError(f"--seeds measures every model under every seed, so {stored[0]} must be a model.")
    names = [side.model.name for side in sides]
    return [side if names.count(side.model.name) == 1 else _renamed(side) for side in sides]


def _renamed(side: Side) -> Side:
    """Name a model that is not the only one of its name also by where it was found."""
    place = Path(side.text.partition(":")[2] or side.text).stem
    return dataclasses.replace(side, model=side.model.model_copy(update={"name": f"{side.model.name} ({place})"}))


def _all_measured(sides: Sequence[Side], measuring: _Measuring, session: Session, seed: int) -> list[Side]:
    """Measure every side against the first, those that share a base one after the other: it is loaded once.

    What is stored comes before that: if it lacks what was asked for, nothing is measured in vain.
    """
    bases = [side.checkpoint.path if side.checkpoint else None for side in sides]
    order = sorted(range(len(sides)), key=lambda place: (bases[place] is not None, bases.index(bases[place])))
    done: dict[int, Side] = {}
    for place in order:  # of the models the first side comes first: its base does
        done[place] = measuring.of(sides[place], session, seed, against=done.get(0))
    return [done[place] for place in range(len(sides))]


def _measured_again(by_seed: Sequence[Sequence[Side]], measuring: _Measuring, session: Session) -> Side:
    """Measure the first model once more: under another seed where its completions are sampled, else other batches."""
    first, spec = by_seed[0][0], measuring.spec
    if len(by_seed) > 1:
        return by_seed[1][0]
    sampled = [getattr(options, "temperature", 0) for options in measuring.options.values()]
    if any(sampled):
        session.progress.say(f"noise floor: measuring {first.model.name} again with another seed")
        return measuring.of(first, session, spec.seed + 1)
    session.release()
    session.progress.say(f"noise floor: measuring {first.model.name} again in other batches")
    other = Session(
        plugins=session.plugins,
        store=session.store,
        progress=session.progress,
        backend=spec.backend,
        dtype=spec.dtype,
        batch_tokens=OTHER_BATCH_TOKENS,
    )
    try:
        return measuring.of(first, other, spec.seed)
    finally:
        other.release()


def _against_first(
    place: int,
    by_seed: Sequence[Sequence[Side]],
    again: Side | None,
    plugins: Plugins,
    options: Mapping[str, BaseModel | None],
    spec: CompareSpec,
) -> _Compared:
    """Compare the side at `place` with the first, over all seeds."""
    matches = [matched(sides[0], sides[place], allow_mismatch=spec.allow_mismatch) for sides in by_seed]
    before, after = by_seed[0][0], matches[0][0]
    families = [name for name in before.families if name in after.families]
    records: list[FamilyRecord] = []
    long_tables = {}
    for name in families:
        pairs = [
            (sides[0].families[name], match[0].families[name]) for sides, match in zip(by_seed, matches, strict=True)
        ]
        repeated = again.families[name].evaluation if again else None
        others = {
            each: (before.families[each].evaluation, after.families[each].evaluation)
            for each in families
            if each != name
        }
        record, long_tables[name] = _family(
            name, pairs, repeated, others, plugins, options.get(f"evals:{name}"), spec.seed
        )
        records.append(record)
    return _Compared(
        stage=StageRecord(method="", before=before.model, after=after.model, families=tuple(records)),
        pairs={name: _paired(before.families[name].evaluation, after.families[name].evaluation) for name in families},
        long_tables=long_tables,
        notes=tuple(note for _, told in matches for note in told),
    )


def _family(
    name: str,
    pairs: Sequence[tuple[StoredFamily, StoredFamily]],
    again: Evaluation | None,
    others: Mapping[str, tuple[Evaluation, Evaluation]],
    plugins: Plugins,
    options: BaseModel | None,
    seed: int,
) -> tuple[FamilyRecord, tuple[LongTable, ...]]:
    """Compare one family before and after, one pair a seed, and let its plugin say more if there is one."""
    before, after = pairs[0]
    if len(pairs) > 1:
        rows = compare_seeds([(x.evaluation, y.evaluation) for x, y in pairs], seed=seed)
    else:
        rows = compare_evaluations(before.evaluation, after.evaluation, seed=seed)
    if again is not None:
        rows = with_noise_floor(rows, before.evaluation, after.evaluation, again)
    analysis = Analysis()
    if name in plugins.catalogue.names("evals"):
        chosen = options or _stored_options(name, before, plugins)
        analysis = plugins.analyze(
            name,
            AnalysisSpec(
                before=before.evaluation, after=after.evaluation, comparisons=rows, options=chosen, others=others
            ),
        )
    return family_record(name, rows, analysis, before.key, after.key), analysis.long_tables


def _stored_options(family: str, stored: StoredFamily, plugins: Plugins) -> BaseModel | None:
    """Return the options that an evaluation was made with, or the defaults where the plugin has changed since."""
    try:
        return plugins.options("evals", family, stored.inputs.get("options") or {})
    except UserError:
        return plugins.options("evals", family, {})


def _paired(before: Evaluation, after: Evaluation) -> list[tuple[Benchmark, Benchmark]]:
    later = {benchmark.name: benchmark for benchmark in after.benchmarks}
    return [(benchmark, later[benchmark.name]) for benchmark in before.benchmarks if benchmark.name in later]


def _headline(stages: Sequence[StageRecord]) -> str:
    return " ".join(headline((stage,)) for stage in stages)


def _notes(spec: CompareSpec, by_seed: Sequence[Sequence[Side]], compared: Sequence[_Compared]) -> tuple[str, ...]:
    notes = [f"{side.model.name}: {note}" for side in by_seed[0] for note in side.notes]
    several = len(compared) > 1
    notes += [f"{each.stage.after.name}: {note}" if several else note for each in compared for note in each.notes]
    if len(by_seed) > 1:
        listed = ", ".join(map(str, _seeds(spec)))
        notes.append(
            f"Every model was measured under the seeds {listed}; counts are over all of them, intervals hold for other "
            "seeds and other documents. The samples shown are those of the first seed."
        )
        notes += _unsampled(by_seed)
    if spec.noise_floor:
        notes.append(
            "The noise floor is how much the scores of the first model differ when it is measured again; a change "
            "that is not above it is no finding."
        )
    return tuple(dict.fromkeys(notes))


def _unsampled(by_seed: Sequence[Sequence[Side]]) -> list[str]:
    """Name the families whose completions no seed changed."""
    first = by_seed[0][0].families
    same = [
        name for name in first if all(sides[0].families[name].evaluation == first[name].evaluation for sides in by_seed)
    ]
    return [f"The seeds changed nothing in {name}: it does not sample, or at temperature 0." for name in same]
