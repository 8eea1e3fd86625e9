"""What a subject is asked, and its answers: measured now, or found in what is stored of it."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pfh.commands.requests import MeasureSpec
from pfh.commands.subjects import START, StoredFamily, Subject, open_subject, opened_family
from pfh.commands.template_arguments import under_arguments
from pfh.errors import UserError, did_you_mean
from pfh.hooks.datasets import DataSource
from pfh.hooks.domains import DomainSpec, description_of
from pfh.hooks.evals import Reference
from pfh.hooks.evaluation import Evaluation
from pfh.hooks.launchers import Request
from pfh.hooks.meanings import Wants, declares
from pfh.progress import Progress
from pfh.starts.settings import default_settings
from pfh.steps.domains import OpenDomain
from pfh.steps.evaluation import Question, evaluate_family
from pfh.steps.session import Session

if TYPE_CHECKING:
    from pydantic import BaseModel

    from pfh.hooks.domains import Domain


def open_asked(text: str, spec: Request, session: Session, options: Mapping[str, BaseModel | None]) -> Subject:
    """Find out what `text` names; readers of logs get those of `options` that are theirs.

    Raises:
        UserError: it names nothing that can be read; or an embedded model, which takes minutes to make, and nothing is
            to be measured of it; or the model's chat template lacks an argument that was given.
    """
    if text in ("safe", "base") and not spec.evals:
        raise _unasked(text)
    readers = {key.removeprefix("readers:"): value for key, value in options.items() if key.startswith("readers:")}
    subject = open_subject(text, session, revision=spec.revision, allow_pickle=spec.allow_pickle, readers=readers)
    among_others = isinstance(spec, MeasureSpec) and len(spec.models) > 1
    return under_arguments(subject, spec.chat_template_kwargs, among_others=among_others)


def _unasked(model: str) -> UserError:
    return UserError(f"Name what to measure of {model} with --eval, such as --eval safety.")


def open_domain(
    spec: Request,
    session: Session,
    options: Mapping[str, BaseModel | None],
    problems: int = 0,
    data: DataSource | None = None,
) -> OpenDomain:
    """Open the domain of `spec`, with so many training problems; from `data` in place of the session's."""
    chosen = options[f"domains:{spec.domain}"]
    domain = session.plugins.open_domain(spec.domain, DomainSpec(options=chosen, data=data or session.data))
    for line in description_of(domain):
        session.progress.say(line)
    opened = OpenDomain(name=spec.domain, domain=domain, problems=(), options=chosen)
    return draw_problems(opened, problems, spec.seed, session.progress)


def draw_problems(opened: OpenDomain, count: int, seed: int, progress: Progress) -> OpenDomain:
    """Return an open domain with `count` training problems, or with all that it has."""
    drawn = opened.domain.problems("train", count, seed) if count else ()
    if len(drawn) < count:
        progress.say(f"{len(drawn)} training problems in place of {count}: {opened.name} has no more")
    return dataclasses.replace(opened, problems=drawn)


def domain_for_divergence(
    spec: Request, session: Session, options: Mapping[str, BaseModel | None], questions: Sequence[Question]
) -> Domain | None:
    """Return the domain whose held-out prompts two models are taken along; None where it cannot be opened."""
    for question in questions:
        if question.domain is not None:
            return question.domain.domain
    key = f"domains:{spec.domain}"
    try:
        chosen = {**default_settings(key, *getattr(spec, "models", ())), **spec.options.get(key, {})}
        filled = {**options, key: options.get(key) or session.plugins.options("domains", spec.domain, chosen)}
        return open_domain(spec, session, filled).domain
    except UserError as error:
        session.progress.say(f"no divergence from the start: {error}")
        return None


def asked(
    spec: Request,
    session: Session,
    subjects: Sequence[Subject],
    options: Mapping[str, BaseModel | None],
    domain: OpenDomain | None = None,
) -> tuple[Question, ...]:
    """Return what to ask the subjects: what `spec` names, else every family that all of them hold.

    Args:
        spec: what the user wants.
        session: whose plugins open the domain, where a family asks for it and it is not given.
        subjects: models and what is stored of others.
        options: by plugin key.
        domain: of a run, already open.

    Raises:
        UserError: a model is among them, and no family was named; or they hold no family in common.
    """
    models = [subject.text for subject in subjects if subject.checkpoint is not None]
    if not spec.evals and models:
        raise _unasked(models[0])
    shared = [name for name in subjects[0].families if all(name in subject.families for subject in subjects)]
    if not spec.evals and not shared:
        held = "; ".join(f"{subject.text} holds {', '.join(subject.families)}" for subject in subjects)
        raise UserError(f"They have no benchmark family in common: {held}.")
    wanted = [(choice.family, choice.benchmarks) for choice in spec.evals] or [(name, ()) for name in shared]
    wanting = {family for family, _ in wanted if declares(options.get(f"evals:{family}"), Wants.DOMAIN)}
    if wanting and domain is None:
        domain = open_domain(spec, session, options)
    return tuple(
        Question(
            family=family,
            benchmarks=benchmarks,
            options=options.get(f"evals:{family}"),
            domain=domain if family in wanting else None,
            limit=spec.limit,
            seed=spec.seed,
        )
        for family, benchmarks in wanted
    )


def measured(
    subject: Subject, session: Session, questions: Sequence[Question], against: Subject | None = None
) -> Subject:
    """Return `subject` with its answers, measured now or found in the store; those of a stored subject as they are.

    `against` is the measured subject that this one will be compared with.

    Raises:
        UserError: a stored subject lacks a family or a benchmark that was asked for.
    """
    families = {}
    for question in questions:
        if subject.checkpoint is None:
            families[question.family] = _held(subject, question)
        else:
            reference = _reference(against, question.family)
            artifact, evaluation = evaluate_family(session, subject.checkpoint, question, reference)
            families[question.family] = opened_family(artifact, evaluation)
    return dataclasses.replace(subject, families=families)


def _reference(against: Subject | None, family: str) -> Reference | None:
    stored = against.families.get(family) if against else None
    return None if against is None or stored is None else reference_of(against, stored.evaluation, stored.key)


def reference_of(against: Subject, evaluation: Evaluation, key: str) -> Reference:
    """Return a measured subject as another one is held against it."""
    return Reference(evaluation=evaluation, artifact=key, checkpoint=against.checkpoint)


def _held(subject: Subject, question: Question) -> StoredFamily:
    """Return what a stored subject holds of the family, cut down to the benchmarks that were asked for."""
    if question.family not in subject.families:
        model = Path(subject.text.removesuffix(START)).expanduser() / "model"
        hint = f" To measure the model that is in it, name {model}." if model.exists() else ""
        raise UserError(
            f"{subject.text} holds no evaluation of {question.family!r}."
            f"{did_you_mean(question.family, subject.families)} It holds {', '.join(subject.families)}.{hint}"
        )
    family = subject.families[question.family]
    if not question.benchmarks:
        return family
    names = [benchmark.name for benchmark in family.evaluation.benchmarks]
    for wanted in question.benchmarks:
        if not any(_is_part(name, wanted) for name in names):
            raise UserError(
                f"{subject.text} holds no benchmark {wanted!r} of {question.family}.{did_you_mean(wanted, names)} "
                f"It holds {', '.join(names)}."
            )
    kept = tuple(
        benchmark
        for benchmark in family.evaluation.benchmarks
        if any(_is_part(benchmark.name, wanted) for wanted in question.benchmarks)
    )
    return dataclasses.replace(family, evaluation=dataclasses.replace(family.evaluation, benchmarks=kept))


def _is_part(name: str, wanted: str) -> bool:
    """Say whether a benchmark was asked for: by its name, or by what its name begins with."""
    return name == wanted or re.match(re.escape(wanted) + r"[^\w]", name) is not None
