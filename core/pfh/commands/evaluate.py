"""`pfh eval`: one model, measured."""

from __future__ import annotations

from pathlib import Path

from pfh.commands.measuring import asked, measured, open_asked
from pfh.commands.outcomes import RunOutcome, check_writable, default_folder, provenance, write_outcome
from pfh.commands.requests import MeasureSpec, fill_options
from pfh.commands.subjects import Subject
from pfh.hooks.domains import description_of
from pfh.progress import Progress
from pfh.registry.plugins import Plugins
from pfh.results.records import MeasuredFamily, MeasuredModel, RunResults
from pfh.statistics.single import measure_evaluation
from pfh.steps.session import Session
from pfh.store.store import Store


def evaluate(
    spec: MeasureSpec, *, plugins: Plugins, store: Store, progress: Progress, output: Path | None = None
) -> RunOutcome:
    """Measure the one model of `spec`, taking from the store what is there; write results.json and report.html.

    Raises:
        UserError: the input or the environment is at fault.
        StepFailedError: a step could not finish; what was stored is kept.
    """
    check_writable(output)
    options = fill_options(spec, plugins)
    session = Session(
        plugins=plugins, store=store, progress=progress, backend=spec.backend, dtype=spec.dtype, options=options
    )
    try:
        subject = open_asked(spec.models[0], spec, session, options)
        questions = asked(spec, session, [subject], options)
        subject = measured(subject, session, questions)
    finally:
        session.release()
    domains = {question.domain.name: question.domain for question in questions if question.domain}
    described = [line for each in domains.values() for line in description_of(each.domain)]
    families = tuple(
        MeasuredFamily(family=name, benchmarks=measure_evaluation(stored.evaluation), artifact=stored.key)
        for name, stored in subject.families.items()
    )
    results = RunResults(
        title=f"{', '.join(subject.families)} of {subject.model.name}",
        headline=_headline(subject, families),
        start=subject.label,
        seed=spec.seed,
        limit=spec.limit,
        provenance=provenance(spec, session, [subject], questions),
        notes=(*subject.notes, *described),
        stages=(),
        measured=(MeasuredModel(model=subject.model, families=families),),
    )
    return write_outcome(spec, results, output or default_folder(spec, "eval", Path(subject.model.name).name))


def _headline(subject: Subject, families: tuple[MeasuredFamily, ...]) -> str:
    statuses = [row.status for family in families for row in family.benchmarks]
    return f"{subject.model.name} was measured on {statuses.count('MEASURED')} of {len(statuses)} benchmarks."
