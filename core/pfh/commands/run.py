"""One run: measure the start, post-train it, measure again, compare, report."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from pfh.commands.comparison import by_stage, compare_subjects
from pfh.commands.equal_gain import at_equal_gain
from pfh.commands.measuring import asked, measured, open_asked, open_domain
from pfh.commands.outcomes import RunOutcome, check_writable, default_folder, provenance, write_outcome
from pfh.commands.requests import validate
from pfh.commands.subjects import Subject, model_subject
from pfh.errors import UserError
from pfh.hooks.budget import spent
from pfh.hooks.launchers import LaunchResult, LaunchSpec, RunSpec
from pfh.hooks.meanings import Learns, declares
from pfh.progress import Progress
from pfh.registry.plugins import Plugins
from pfh.results.contamination import check_stages
from pfh.results.model_card import write_model
from pfh.results.records import MatchRecord, RunResults, StageRecord
from pfh.results.stage_by_stage import add_stage_by_stage
from pfh.results.verdict import headline
from pfh.sandbox import UNSAFE_VARIABLE
from pfh.starts.settings import told_settings
from pfh.steps.checks import check_stage
from pfh.steps.divergence import divergence_from, prepare_divergence
from pfh.steps.fitting import fit_options
from pfh.steps.ranks.configuration import Configuration, read_configuration
from pfh.steps.rehearsal import rehearse_stage
from pfh.steps.session import Session
from pfh.steps.training import TrainedStage, train_stage
from pfh.steps.verifier import self_test
from pfh.store.store import Store

if TYPE_CHECKING:
    from pydantic import BaseModel

    from pfh.hooks.checkpoint import Checkpoint
    from pfh.statistics.divergence import Divergence


def execute(
    spec: RunSpec, *, plugins: Plugins, store: Store, progress: Progress, output: Path | None = None
) -> RunOutcome:
    """Run `spec`, taking from the store what is there, and write results.json and report.html.

    Raises:
        UserError: the input or the environment is at fault.
        StepFailedError: a step could not finish; what was stored is kept.
    """
    check_writable(output)
    options = validate(spec, plugins)
    ranks = None if spec.accelerate is None else read_configuration(Path(spec.accelerate))
    session = Session(
        plugins=plugins, store=store, progress=progress, backend=spec.backend, dtype=spec.dtype, options=options
    )
    try:
        start, checkpoint = _start(spec, session, options)
        progress.say(f"start: {start.label}")
        fitted = {key: fit_options(session, checkpoint, name, options[key]) for name, key in _keys(spec)}
        options = {**options, **fitted}
        domain = open_domain(spec, session, options, spec.problems)
        for method in spec.methods:
            check_stage(session, checkpoint, domain, method, options=options[f"methods:{method}"], budget=spec.budget)
        verifier = self_test(session, domain)
        if spec.rehearsal and ranks is None:
            for method in spec.methods:
                rehearse_stage(session, checkpoint, domain, method, options=options[f"methods:{method}"])
        questions = asked(spec, session, [start], options, domain)
        before = measured(start, session, questions)
        prepare_divergence(session, checkpoint, domain.domain, spec.divergence_prompts)
        stages: list[TrainedStage] = []
        subjects: list[Subject] = []
        divergences: list[Divergence] = []
        match: MatchRecord | None = None
        for method in spec.methods:
            trained = train_stage(
                session,
                checkpoint,
                domain,
                method,
                options=options[f"methods:{method}"],
                seed=spec.seed,
                budget=spec.budget,
                ranks=ranks,
                keep_every=spec.match.every if spec.match else None,
            )
            if spec.match:
                trained, match = at_equal_gain(spec.match, trained, session, questions, before)
            checkpoint = trained.checkpoint
            stages.append(trained)
            subjects.append(measured(_trained_subject(trained), session, questions, against=before))
            divergences.append(
                divergence_from(session, start.checkpoint, checkpoint, domain.domain, spec.divergence_prompts)
            )
    finally:
        session.release()
    compared = [compare_subjects([(before, after)], plugins, questions, margin=spec.margin) for after in subjects]
    pairs, long_tables = by_stage(compared)
    records = [
        _stage(spec, method, options[f"methods:{method}"], trained, each.stage, session, ranks).model_copy(
            update={"divergence": divergence, "match": match}
        )
        for method, trained, each, divergence in zip(spec.methods, stages, compared, divergences, strict=True)
    ]
    followed = add_stage_by_stage(records, pairs)
    checked, contamination = check_stages(followed, pairs, domain.problems, progress)
    matches = dict.fromkeys(note for each in compared for note in each.notes)
    own = [declares(options[f"methods:{method}"], Learns.OWN_PROMPTS) for method in spec.methods]
    taught = "" if all(own) else spec.domain
    own_settings = told_settings(options, spec.problems, spec.model)
    results = RunResults(
        title=f"{' then '.join(spec.methods)}{' on ' if taught else ''}{taught}, from {start.model.name}",
        headline=headline(checked, taught),
        start=start.label,
        domain=taught,
        seed=spec.seed,
        limit=spec.limit,
        provenance=provenance(spec, session, [before, *subjects], questions),
        notes=tuple(filter(None, (verifier.sentence(), own_settings, *matches, *contamination))),
        stages=checked,
    )
    folder = output or default_folder(spec, *spec.methods, spec.domain, start.model.name)
    outcome = write_outcome(spec, results, folder, pairs, long_tables)
    _write_models(folder, results, spec.problems)
    return outcome


def launch(
    spec: RunSpec,
    launcher: str,
    *,
    plugins: Plugins,
    store: Store,
    progress: Progress,
    output: Path | None = None,
    unsafe_local_code: bool = False,
) -> LaunchResult:
    """Let a launcher execute a run, checked before it is handed over.

    Raises:
        UserError: the input or the environment is at fault.
        StepFailedError: a step could not finish; what was stored is kept.
    """
    validate(spec, plugins)
    if len(spec.methods) > 1:
        for key, given in spec.options.items():
            progress.say(f"options of {key}: {', '.join(f'{name}={value}' for name, value in given.items())}")
    work = partial(execute, plugins=plugins, store=store, progress=progress, output=output)
    with _unconfined() if unsafe_local_code else nullcontext():
        return plugins.launch(launcher, LaunchSpec(runs=(spec,), execute=work))


@contextmanager
def _unconfined() -> Iterator[None]:
    """Let code that a model wrote run outside a sandbox, where none works."""
    before = os.environ.get(UNSAFE_VARIABLE)
    os.environ[UNSAFE_VARIABLE] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[UNSAFE_VARIABLE]
        else:
            os.environ[UNSAFE_VARIABLE] = before


def _write_models(folder: Path, results: RunResults, problems: int) -> None:
    """Write the last stage's model as `model` into `folder`, and those of earlier stages as `model-1-METHOD`."""
    for number, stage in enumerate(results.stages):
        last = number == len(results.stages) - 1
        name = "model" if last else f"model-{number + 1}-{stage.method}"
        try:
            write_model(folder / name, Path(stage.after.path), results, number, problems)
        except OSError as error:
            raise UserError(
                f"{folder / name} cannot be written ({error.strerror}); the run is stored: name another folder with "
                "--output and run the same command again."
            ) from error


def _start(spec: RunSpec, session: Session, options: Mapping[str, BaseModel | None]) -> tuple[Subject, Checkpoint]:
    named = spec.model or spec.start or "safe"
    subject = open_asked(named, spec, session, options)
    checkpoint = subject.checkpoint
    if checkpoint is None:
        raise UserError(f"{named} holds stored answers, which cannot be trained: give the model's weights.")
    if checkpoint.endpoint is not None:
        raise UserError(
            f"{named} cannot be trained, as only its completions can be had: give the model's weights, or "
            "measure it with pfh eval."
        )
    label = subject.label
    if spec.model is None:
        default = "" if spec.start else "the default; "
        other = "--safe for the aligned start" if spec.start == "base" else "--base for the unaligned start"
        label = f"{label} ({default}{other}, --model for your own)"
    elif spec.start:
        label = f"{spec.start.upper()}: {checkpoint.name}"
    return dataclasses.replace(subject, label=label), checkpoint


def _keys(spec: RunSpec) -> list[tuple[str, str]]:
    """Return every method of `spec` with the key of its options."""
    return [(name, f"methods:{name}") for name in spec.methods]


def _trained_subject(trained: TrainedStage) -> Subject:
    name = trained.checkpoint.name
    return dataclasses.replace(model_subject(name, trained.checkpoint, f"custom: {name}"), curves=trained.curves)


def _stage(
    spec: RunSpec,
    method: str,
    options: BaseModel | None,
    trained: TrainedStage,
    compared: StageRecord,
    session: Session,
    ranks: Configuration | None,
) -> StageRecord:
    """Return what was compared, with how the model after was made."""
    return StageRecord(
        method=method,
        options=options.model_dump(mode="json") if options else {},
        before=compared.before,
        after=compared.after,
        budget=str(spec.budget or ""),
        budget_spent=spent(trained.phases, spec.budget.unit) / spec.budget.amount if spec.budget else None,
        ledger=trained.phases,
        curves=trained.curves,
        notes=trained.notes,
        provenance=_training_provenance(method, spec.domain, session, ranks),
        families=compared.families,
    )


def _training_provenance(method: str, domain: str, session: Session, ranks: Configuration | None) -> dict[str, str]:
    catalogue = session.plugins.catalogue
    return {
        f"methods:{method}": catalogue.find("methods", method).code_version,
        f"domains:{domain}": catalogue.find("domains", domain).code_version,
        **{name: version(name) for name in ("trl", "accelerate")},
        **({"processes": str(ranks)} if ranks else {}),
    }
