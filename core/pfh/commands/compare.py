"""`pfh compare`: a model before and one or more after, each measured now, stored, or logged by another tool."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pfh.commands.comparison import Compared, by_stage, compare_subjects
from pfh.commands.looks import Rule, looks_note, measured_in_looks
from pfh.commands.measuring import asked, domain_for_divergence, measured, open_asked
from pfh.commands.outcomes import RunOutcome, check_writable, default_folder, provenance, write_outcome
from pfh.commands.requests import CompareSpec, fill_options
from pfh.commands.subjects import Subject
from pfh.commands.template_arguments import check_taken
from pfh.errors import UserError
from pfh.hooks.meanings import Draws, values
from pfh.progress import Progress
from pfh.registry.plugins import Plugins
from pfh.results.records import RunResults
from pfh.results.verdict import headline
from pfh.steps.divergence import divergence_from, prepare_divergence
from pfh.steps.evaluation import Question
from pfh.steps.session import Session
from pfh.store.store import Store

if TYPE_CHECKING:
    from pydantic import BaseModel

    from pfh.statistics.divergence import Divergence


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
    check_writable(output)
    options = fill_options(spec, plugins)
    session = Session(
        plugins=plugins, store=store, progress=progress, backend=spec.backend, dtype=spec.dtype, options=options
    )
    try:
        opened = _opened(spec, session, options)
        questions = asked(spec, session, opened, options)
        by_seed = [_all_measured(opened, session, _under(seed, questions), spec) for seed in _seeds(spec)]
        again = _measured_again(by_seed, questions, session) if spec.noise_floor else None
        divergences = _divergences(spec, session, options, opened, questions)
    finally:
        session.release()
    for note in dict.fromkeys(note for subject in by_seed[0] for note in subject.notes):
        progress.say(note)
    compared = [
        compare_subjects(
            [(subjects[0], subjects[place]) for subjects in by_seed],
            plugins,
            questions,
            again=again,
            allow_mismatch=spec.allow_mismatch,
            margin=spec.margin,
            stop_early=spec.stop_early,
        )
        for place in range(1, len(opened))
    ]
    stages = tuple(
        each.stage.model_copy(update={"divergence": divergence})
        for each, divergence in zip(compared, divergences, strict=True)
    )
    results = RunResults(
        title=f"{', '.join(subject.model.name for subject in opened[1:])} against {opened[0].model.name}",
        headline=" ".join(headline((stage,)) for stage in stages),
        start=opened[0].label,
        seed=_seeds(spec)[0],
        limit=spec.limit,
        provenance=provenance(spec, session, by_seed[0], questions),
        notes=_notes(spec, by_seed, compared),
        stages=stages,
    )
    names = [Path(subject.model.name).name for subject in opened]
    folder = output or default_folder(spec, "compare", *names[:3])
    return write_outcome(spec, results, folder, *by_stage(compared))


def _divergences(
    spec: CompareSpec,
    session: Session,
    options: Mapping[str, BaseModel | None],
    subjects: Sequence[Subject],
    questions: Sequence[Question],
) -> list[Divergence]:
    """Return how far each of the models after is from the one before."""
    first, *later = (subject.checkpoint for subject in subjects)
    count, domain = spec.divergence_prompts, None
    if count and first is not None and any(later):
        domain = domain_for_divergence(spec, session, options, questions)
        if domain is not None:
            prepare_divergence(session, first, domain, count)
    return [divergence_from(session, first, each, domain, count) for each in later]


def _seeds(spec: CompareSpec) -> tuple[int, ...]:
    return tuple(dict.fromkeys(spec.seeds)) or (spec.seed,)


def _opened(spec: CompareSpec, session: Session, options: Mapping[str, BaseModel | None]) -> list[Subject]:
    subjects = [open_asked(text, spec, session, options) for text in spec.models]
    check_taken(spec.chat_template_kwargs, subjects)
    if spec.noise_floor and subjects[0].checkpoint is None:
        raise UserError(f"--noise-floor measures the first model once more, so {subjects[0].text} must be a model.")
    stored = [subject.text for subject in subjects if subject.checkpoint is None]
    if spec.stop_early is not None and len(stored) == len(subjects):
        raise UserError("--stop-early saves samples that are not measured yet: name at least one model.")
    if len(_seeds(spec)) > 1 and stored:
        raise UserError(f"--seeds measures every model under every seed, so {stored[0]} must be a model.")
    return [_named(subject, [other for other in subjects if other is not subject]) for subject in subjects]


def _named(subject: Subject, others: Sequence[Subject]) -> Subject:
    """Name a model that is not the only one of its name also by the part of its path that tells it from the others."""
    name = subject.model.name
    paths = [_parts(other) for other in others if other.model.name == name]
    if not paths:
        return subject
    parts = _parts(subject)
    while len(parts) > 1 and all(path[-1:] == parts[-1:] for path in paths):
        parts, paths = parts[:-1], [path[:-1] for path in paths]
    width = next((width for width in range(1, len(parts)) if parts[-width:] not in [p[-width:] for p in paths]), 1)
    place = "/".join(parts[-width:])
    return dataclasses.replace(subject, model=subject.model.model_copy(update={"name": f"{name} ({place})"}))


def _parts(subject: Subject) -> tuple[str, ...]:
    path = Path(subject.text.partition(":")[2] or subject.text)
    return (*path.parts[:-1], path.stem)


def _under(seed: int, questions: Sequence[Question]) -> list[Question]:
    return [dataclasses.replace(question, seed=seed) for question in questions]


def _all_measured(
    subjects: Sequence[Subject], session: Session, questions: Sequence[Question], spec: CompareSpec
) -> list[Subject]:
    """Measure every subject against the first, those that share a base one after the other: it is loaded once.

    What is stored comes before that: if it lacks what was asked for, nothing is measured in vain.
    """
    if spec.stop_early is not None:
        return _measured_as_needed(subjects, session, questions, spec.stop_early, spec.margin)
    bases = [subject.checkpoint.path if subject.checkpoint else None for subject in subjects]
    order = sorted(range(len(subjects)), key=lambda place: (bases[place] is not None, bases.index(bases[place])))
    done: dict[int, Subject] = {}
    for place in order:  # of the models the first subject comes first: its base does
        done[place] = measured(subjects[place], session, questions, against=done.get(0))
    return [done[place] for place in range(len(subjects))]


def _measured_as_needed(
    subjects: Sequence[Subject], session: Session, questions: Sequence[Question], alpha: float, margin: float | None
) -> list[Subject]:
    """Measure every subject as far as its comparison with the first needs it, family by family."""
    rule = Rule.over(len(questions), alpha, margin)
    held = [measured(each, session, questions) if each.checkpoint is None else each for each in subjects]
    for question in questions:
        found = measured_in_looks(held, session, question, rule)
        held = [
            dataclasses.replace(each, families={**each.families, question.family: answers})
            for each, answers in zip(held, found, strict=True)
        ]
    return held


def _measured_again(by_seed: Sequence[Sequence[Subject]], questions: Sequence[Question], session: Session) -> Subject:
    """Measure the first model once more: under another seed where its completions are sampled, else other batches."""
    first = by_seed[0][0]
    if len(by_seed) > 1:
        return by_seed[1][0]
    if any(values(question.options, Draws.COMPLETIONS) for question in questions):
        session.progress.say(f"noise floor: measuring {first.model.name} again with another seed")
        return measured(first, session, [dataclasses.replace(each, seed=each.seed + 1) for each in questions])
    session.release()
    session.progress.say(f"noise floor: measuring {first.model.name} again in other batches")
    other = session.in_other_batches()
    try:
        return measured(first, other, questions)
    finally:
        other.release()


def _notes(spec: CompareSpec, by_seed: Sequence[Sequence[Subject]], compared: Sequence[Compared]) -> tuple[str, ...]:
    notes = [f"{subject.model.name}: {note}" for subject in by_seed[0] for note in subject.notes]
    several = len(compared) > 1
    notes += [f"{each.stage.after.name}: {note}" if several else note for each in compared for note in each.notes]
    if len(by_seed) > 1:
        listed = ", ".join(map(str, _seeds(spec)))
        notes.append(
            f"Every model was measured under the seeds {listed}; counts are over all of them, the test is of each "
            "document's mean: it speaks of these models under other seeds of sampling, and of other documents. The "
            "samples shown are those of the first seed."
        )
        notes += _unsampled(by_seed)
    notes += looks_note(compared)
    if spec.noise_floor:
        notes.append(
            "The noise floor is how much the scores of the first model differ when it is measured again; a test of its "
            "own says whether more samples changed than that. The verdicts are about the direction of the change."
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
