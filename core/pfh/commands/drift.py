"""`pfh drift`: stored versions of a model beside each other, and the version at which an item broke."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pfh.commands.comparison import compare_subjects
from pfh.commands.subjects import START, Subject, open_subject
from pfh.errors import EXIT_FELL_SHORT, UserError, did_you_mean
from pfh.progress import Progress
from pfh.registry.plugins import Plugins
from pfh.results.contracts import read_contract
from pfh.results.drift import Drift, Version, drift, part_of
from pfh.results.gate import Gate, judge_stages
from pfh.results.stored import open_results, stored_evaluation
from pfh.steps.session import Session
from pfh.store.store import Store
from pfh.text import json_text, write_whole

FEWEST = 2


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What `pfh drift` was asked for."""

    versions: tuple[str, ...]
    anchor: str = ""
    """One of the versions; empty is the first."""
    html: Path = Path("drift.html")
    contract: Path | None = None
    sealed: float = 0.0
    """Share of the items that is kept out of the page, for the contract alone."""


@dataclass(frozen=True, kw_only=True)
class DriftOutcome:
    """What the command leaves."""

    drift: Drift
    gate: Gate | None
    """The contract, held against the last version."""
    page: Path
    exit_code: int


def drift_over(asked: Asked, *, plugins: Plugins, store: Store, progress: Progress) -> DriftOutcome:
    """Read the versions from the store, write the page, its data as JSON and Parquet, and hold the contract.

    Raises:
        UserError: a version is not stored, there are fewer than two, the contract is at fault, or the page cannot be
            written.
    """
    contract = read_contract(asked.contract) if asked.contract else None
    session = Session(plugins=plugins, store=store, progress=progress, backend="hf", dtype="auto", options={})
    subjects = _named(_opened(asked.versions, session))
    names = [subject.model.name for subject in subjects]
    anchor = _place(asked.anchor, asked.versions, names) if asked.anchor else 0
    versions = [
        Version(name=subject.model.name, evaluations={key: each.evaluation for key, each in subject.families.items()})
        for subject in subjects
    ]
    found = drift(versions, anchor=anchor, sealed=asked.sealed)
    gate = None
    if contract is not None:
        before, after = (sealed_part(subjects[place], asked.sealed) for place in (anchor, -1))
        gate = judge_stages(contract, [compare_subjects([(before, after)], plugins, []).stage])
    _write(asked.html, found, versions, gate)
    passes = gate is None or gate.passes
    return DriftOutcome(drift=found, gate=gate, page=asked.html, exit_code=0 if passes else EXIT_FELL_SHORT)


def _opened(texts: Sequence[str], session: Session) -> list[Subject]:
    subjects = _stages(texts[0], session) if len(texts) == 1 else [open_subject(text, session) for text in texts]
    for subject in subjects:
        if subject.checkpoint is not None:
            raise UserError(
                f"{subject.text} is a model, and drift reads what is stored: measure it with pfh eval {subject.text} "
                "--eval FAMILY, and name the folder that this writes."
            )
    if len(subjects) < FEWEST:
        raise UserError("Name two versions or more, or one run of several stages.")
    return subjects


def _stages(text: str, session: Session) -> list[Subject]:
    """Return the start of a run and the model after each of its stages."""
    results = open_results(Path(text).expanduser())
    if not results.stages:
        return [open_subject(text, session)]
    start = open_subject(f"{text}{START}", session)
    subjects = [start]
    for number, stage in enumerate(results.stages, start=1):
        families = {}
        for record in stage.families:
            stored = start.families.get(record.family)
            evaluation = stored_evaluation(record.after_artifact, session.store)
            if stored is not None and evaluation is not None:
                families[record.family] = dataclasses.replace(stored, key=record.after_artifact, evaluation=evaluation)
        name = f"{number}. {stage.method or stage.after.name}"
        model = stage.after.model_copy(update={"name": name})
        subjects.append(Subject(text=name, model=model, label="custom", families=families))
    return subjects


def _named(subjects: Sequence[Subject]) -> list[Subject]:
    """Name each version by what the user wrote where two models have one name."""
    names = [subject.model.name for subject in subjects]
    found: list[Subject] = []
    for place, subject in enumerate(subjects):
        name = subject.model.name
        if names.count(name) > 1:
            path = Path(subject.text)
            name = path.parent.name if path.suffix == ".json" else path.name
            taken = {each.model.name for each in found}
            name = f"{name} ({place + 1})" if name in taken else name
        found.append(dataclasses.replace(subject, model=subject.model.model_copy(update={"name": name})))
    return found


def _place(anchor: str, texts: Sequence[str], names: Sequence[str]) -> int:
    for listed in (texts, names):
        if anchor in listed:
            return list(listed).index(anchor)
    raise UserError(
        f"The anchor {anchor!r} is none of the versions.{did_you_mean(anchor, [*texts, *names])} There is "
        f"{', '.join(names)}."
    )


def sealed_part(subject: Subject, sealed: float) -> Subject:
    """Return a subject with its sealed items alone; whole where none are sealed."""
    if not sealed:
        return subject
    families = {
        name: dataclasses.replace(each, evaluation=part_of(each.evaluation, sealed, sealed=True))
        for name, each in subject.families.items()
    }
    return dataclasses.replace(subject, families=families)


def _write(page: Path, found: Drift, versions: Sequence[Version], gate: Gate | None) -> None:
    from pfh.report.drift_page import write_drift_page

    try:
        page.parent.mkdir(parents=True, exist_ok=True)
        write_drift_page(page, found, gate)
        write_whole(page.with_suffix(".json"), drift_json(found, gate) + "\n")
        _write_items(page.with_suffix(".parquet"), found, versions)
    except OSError as error:
        raise UserError(f"{page} cannot be written ({error.strerror}); name another file with --html.") from error


def drift_json(found: Drift, gate: Gate | None) -> str:
    """Return what was found as JSON."""
    told = dataclasses.asdict(found) | {"broke_at": found.broke_at()}
    return json_text(told | {"gate": None if gate is None else dataclasses.asdict(gate)}, indent=1)


def _write_items(file: Path, found: Drift, versions: Sequence[Version]) -> None:
    """Write a row a version, benchmark and item that is not sealed."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = [
        (version.name, family, row.name, sample.id, sample.category, sample.score, sample.status)
        for version in versions
        for family, evaluation in version.evaluations.items()
        for row in part_of(evaluation, found.sealed, sealed=False).benchmarks
        for sample in row.samples
    ]
    names = ("version", "family", "benchmark", "item", "category", "score", "status")
    columns = {name: [row[place] for row in rows] for place, name in enumerate(names)}
    pq.write_table(pa.table(columns), file, compression="zstd")
