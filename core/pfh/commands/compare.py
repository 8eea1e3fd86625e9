"""`pfh compare`: a model before and one or more after, each measured now, stored, or logged by another tool."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pfh.commands.evaluate import chosen_families, open_asked_domain
from pfh.commands.families import compare_family, paired_benchmarks
from pfh.commands.matching import matched
from pfh.commands.outcomes import RunOutcome, exit_code, folder_name, provenance, write_outputs
from pfh.commands.requests import CompareSpec, fill_options, reader_options
from pfh.commands.subjects import Subject, measured, open_subject
from pfh.errors import UserError
from pfh.hooks.evaluation import Benchmark
from pfh.hooks.launchers import EvalChoice
from pfh.hooks.meanings import Draws, values
from pfh.hooks.tables import LongTable
from pfh.progress import Progress
from pfh.registry.plugins import Plugins
from pfh.results.records import FamilyRecord, RunResults, StageRecord
from pfh.results.verdict import headline
from pfh.steps.session import Session
from pfh.store.store import Store

if TYPE_CHECKING:
    from pydantic import BaseModel

    from pfh.steps.domains import OpenDomain


OTHER_BATCH_TOKENS = 2048
"""Token budget of a batch when a model is measured once more for the noise floor; a backend's own budget is larger."""


@dataclass(frozen=True, kw_only=True)
class _Measuring:
    """What every measurement of a comparison needs."""

    spec: CompareSpec
    choices: tuple[EvalChoice, ...]
    options: Mapping[str, BaseModel | None]
    ground: OpenDomain | None

    def of(self, subject: Subject, session: Session, seed: int, against: Subject | None = None) -> Subject:
        return measured(
            subject,
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
        UserError: the input or the environment is at fault, or the subjects were measured differently.
        StepFailedError: a step could not finish; what was stored is kept.
    """
    if len(spec.models) < 2:
        raise UserError("Name two models or more: the one before, then those after.")
    options = fill_options(spec, plugins)
    session = Session(plugins=plugins, store=store, progress=progress, backend=spec.backend, dtype=spec.dtype)
    try:
        opened = _opened(spec, session, options)
        measuring = _Measuring(
            spec=spec,
            choices=chosen_families(spec, opened),
            options=options,
            ground=open_asked_domain(spec, session, options),
        )
        by_seed = [_all_measured(opened, measuring, session, seed) for seed in _seeds(spec)]
        again = _measured_again(by_seed, measuring, session) if spec.noise_floor else None
    finally:
        session.release()
    for note in dict.fromkeys(note for subject in by_seed[0] for note in subject.notes):
        progress.say(note)
    compared = [_against_first(place, by_seed, again, plugins, options, spec) for place in range(1, len(opened))]
    stages = tuple(each.stage for each in compared)
    results = RunResults(
        title=f"{', '.join(subject.model.name for subject in opened[1:])} against {opened[0].model.name}",
        headline=_headline(stages),
        start=opened[0].label,
        seed=_seeds(spec)[0],
        limit=spec.limit,
        provenance=provenance(spec, session, by_seed[0]),
        notes=_notes(spec, by_seed, compared),
        stages=stages,
    )
    folder = output or Path("pfh-results") / folder_name("compare", opened, spec)
    pairs = {(number, name): rows for number, each in enumerate(compared) for name, rows in each.pairs.items()}
    tables = {(number, name): rows for number, each in enumerate(compared) for name, rows in each.long_tables.items()}
    write_outputs(folder, results, pairs, tables)
    rows = [(family.family, row) for stage in stages for family in stage.families for row in family.comparisons]
    return RunOutcome(results=results, folder=folder, exit_code=exit_code(spec, rows))


def _seeds(spec: CompareSpec) -> tuple[int, ...]:
    return tuple(dict.fromkeys(spec.seeds)) or (spec.seed,)


def _opened(spec: CompareSpec, session: Session, options: Mapping[str, BaseModel | None]) -> list[Subject]:
    readers = reader_options(options)
    subjects = [
        open_subject(text, session, revision=spec.revision, allow_pickle=spec.allow_pickle, readers=readers)
        for text in spec.models
    ]
    if spec.noise_floor and subjects[0].checkpoint is None:
        raise UserError(f"--noise-floor measures the first model once more, so {subjects[0].text} must be a model.")
    stored = [subject.text for subject in subjects if subject.checkpoint is None]
    if len(_seeds(spec)) > 1 and stored:
        raise UserError(f"--seeds measures every model under every seed, so {stored[0]} must be a model.")
    names = [subject.model.name for subject in subjects]
    return [subject if names.count(subject.model.name) == 1 else _renamed(subject) for subject in subjects]


def _renamed(subject: Subject) -> Subject:
    """Name a model that is not the only one of its name also by where it was found."""
    place = Path(subject.text.partition(":")[2] or subject.text).stem
    return dataclasses.replace(
        subject, model=subject.model.model_copy(update={"name": f"{subject.model.name} ({place})"})
    )


def _all_measured(subjects: Sequence[Subject], measuring: _Measuring, session: Session, seed: int) -> list[Subject]:
    """Measure every subject against the first, those that share a base one after the other: it is loaded once.

    What is stored comes before that: if it lacks what was asked for, nothing is measured in vain.
    """
    bases = [subject.checkpoint.path if subject.checkpoint else None for subject in subjects]
    order = sorted(range(len(subjects)), key=lambda place: (bases[place] is not None, bases.index(bases[place])))
    done: dict[int, Subject] = {}
    for place in order:  # of the models the first subject comes first: its base does
        done[place] = measuring.of(subjects[place], session, seed, against=done.get(0))
    return [done[place] for place in range(len(subjects))]


def _measured_again(by_seed: Sequence[Sequence[Subject]], measuring: _Measuring, session: Session) -> Subject:
    """Measure the first model once more: under another seed where its completions are sampled, else other batches."""
    first, spec = by_seed[0][0], measuring.spec
    if len(by_seed) > 1:
        return by_seed[1][0]
    if any(values(options, Draws.COMPLETIONS) for options in measuring.options.values()):
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
    by_seed: Sequence[Sequence[Subject]],
    again: Subject | None,
    plugins: Plugins,
    options: Mapping[str, BaseModel | None],
    spec: CompareSpec,
) -> _Compared:
    """Compare the subject at `place` with the first, over all seeds."""
    matches = [matched(subjects[0], subjects[place], allow_mismatch=spec.allow_mismatch) for subjects in by_seed]
    before, after = by_seed[0][0], matches[0][0]
    families = [name for name in before.families if name in after.families]
    records: list[FamilyRecord] = []
    long_tables = {}
    for name in families:
        pairs = [
            (subjects[0].families[name], match[0].families[name])
            for subjects, match in zip(by_seed, matches, strict=True)
        ]
        repeated = again.families[name].evaluation if again else None
        others = {
            each: (before.families[each].evaluation, after.families[each].evaluation)
            for each in families
            if each != name
        }
        record, long_tables[name] = compare_family(
            name, pairs, repeated, others, plugins, options.get(f"evals:{name}"), spec.seed
        )
        records.append(record)
    return _Compared(
        stage=StageRecord(method="", before=before.model, after=after.model, families=tuple(records)),
        pairs={
            name: paired_benchmarks(before.families[name].evaluation, after.families[name].evaluation)
            for name in families
        },
        long_tables=long_tables,
        notes=tuple(note for _, told in matches for note in told),
    )


def _headline(stages: Sequence[StageRecord]) -> str:
    return " ".join(headline((stage,)) for stage in stages)


def _notes(spec: CompareSpec, by_seed: Sequence[Sequence[Subject]], compared: Sequence[_Compared]) -> tuple[str, ...]:
    notes = [f"{subject.model.name}: {note}" for subject in by_seed[0] for note in subject.notes]
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


def _unsampled(by_seed: Sequence[Sequence[Subject]]) -> list[str]:
    """Name the families whose completions no seed changed."""
    first = by_seed[0][0].families
    same = [
        name
        for name in first
        if all(subjects[0].families[name].evaluation == first[name].evaluation for subjects in by_seed)
    ]
    return [f"The seeds changed nothing in {name}: it does not sample, or at temperature 0." for name in same]
