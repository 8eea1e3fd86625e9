"""`pfh eval`: one model, measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pfh.commands.outcomes import RunOutcome, exit_code, folder_name, provenance, write_outputs
from pfh.commands.requests import MeasureSpec, fill_options, reader_options
from pfh.commands.subjects import Subject, measured, open_subject
from pfh.errors import UserError
from pfh.hooks.domains import DomainSpec
from pfh.hooks.launchers import EvalChoice
from pfh.progress import Progress
from pfh.registry.plugins import Plugins
from pfh.results.records import MeasuredFamily, MeasuredModel, RunResults
from pfh.statistics.single import Measurement, measure_evaluation
from pfh.steps.domains import OpenDomain
from pfh.steps.session import Session
from pfh.store.store import Store

if TYPE_CHECKING:
    from pydantic import BaseModel


def evaluate(
    spec: MeasureSpec, *, plugins: Plugins, store: Store, progress: Progress, output: Path | None = None
) -> RunOutcome:
    """Measure the one model of `spec`, taking from the store what is there; write results.json and report.html.

    Raises:
        UserError: the input or the environment is at fault.
        StepFailedError: a step could not finish; what was stored is kept.
    """
    options = fill_options(spec, plugins)
    session = Session(plugins=plugins, store=store, progress=progress, backend=spec.backend, dtype=spec.dtype)
    try:
        subject = open_subject(
            spec.models[0],
            session,
            revision=spec.revision,
            allow_pickle=spec.allow_pickle,
            readers=reader_options(options),
        )
        choices = chosen_families(spec, [subject])
        ground = open_asked_domain(spec, session, options)
        subject = measured(subject, session, choices, options=options, ground=ground, limit=spec.limit, seed=spec.seed)
    finally:
        session.release()
    families = tuple(
        MeasuredFamily(
            family=name, benchmarks=measure_evaluation(stored.evaluation, seed=spec.seed), artifact=stored.key
        )
        for name, stored in subject.families.items()
    )
    rows = [(family.family, row) for family in families for row in family.benchmarks]
    results = RunResults(
        title=f"{', '.join(subject.families)} of {subject.model.name}",
        headline=_headline(subject, [row for _, row in rows]),
        start=subject.label,
        seed=spec.seed,
        limit=spec.limit,
        provenance=provenance(spec, session, [subject]),
        notes=subject.notes,
        stages=(),
        measured=(MeasuredModel(model=subject.model, families=families),),
    )
    folder = output or Path("pfh-results") / folder_name("eval", [subject], spec)
    write_outputs(folder, results, {})
    return RunOutcome(results=results, folder=folder, exit_code=exit_code(spec, rows))


def chosen_families(spec: MeasureSpec, subjects: Sequence[Subject]) -> tuple[EvalChoice, ...]:
    """Return what to measure: what was asked for, else every family that all the stored subjects hold.

    Raises:
        UserError: a model is among them, and no family was asked for; or a family that there is not.
    """
    models = [subject.text for subject in subjects if subject.checkpoint is not None]
    if not spec.evals and models:
        raise UserError(f"Name what to measure of {models[0]} with --eval, such as --eval safety.")
    shared = [name for name in subjects[0].families if all(name in subject.families for subject in subjects)]
    if not spec.evals and not shared:
        held = "; ".join(f"{subject.text} holds {', '.join(subject.families)}" for subject in subjects)
        raise UserError(f"They have no benchmark family in common: {held}.")
    return spec.evals or tuple(EvalChoice(family=name) for name in shared)


def open_asked_domain(
    spec: MeasureSpec, session: Session, options: Mapping[str, BaseModel | None]
) -> OpenDomain | None:
    """Open the domain, if a family asks for it."""
    if f"domains:{spec.domain}" not in options:
        return None
    domain_spec = DomainSpec(options=options[f"domains:{spec.domain}"], data=session.data)
    return OpenDomain(name=spec.domain, domain=session.plugins.open_domain(spec.domain, domain_spec), problems=())


def _headline(subject: Subject, rows: Sequence[Measurement]) -> str:
    measured_rows = sum(row.status == "MEASURED" for row in rows)
    return f"{subject.model.name} was measured on {measured_rows} of {len(rows)} benchmarks."
