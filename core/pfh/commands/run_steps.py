"""The steps of one run, made when they are first asked for: what `pfh run`, a task of a study and a plan all go by."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from pfh.commands.equal_gain import at_equal_gain
from pfh.commands.looks import Rule, measured_in_looks
from pfh.commands.measuring import asked, measured, open_asked, open_domain
from pfh.commands.stopping import look_at, stop_inputs
from pfh.commands.subjects import Subject, model_subject
from pfh.errors import UserError
from pfh.hooks.launchers import RunSpec
from pfh.hooks.meanings import Draws, Learns, Wants, declares, values
from pfh.steps.checks import check_stage
from pfh.steps.divergence import divergence_from, prepare_divergence
from pfh.steps.domains import OpenDomain
from pfh.steps.evaluation import Question
from pfh.steps.fitting import fit_options
from pfh.steps.ranks.configuration import Configuration, read_configuration
from pfh.steps.rehearsal import rehearse_stage
from pfh.steps.rollouts import draw_rollouts
from pfh.steps.session import Session
from pfh.steps.training import Stopping, TrainedStage, merged, named_teacher, train_stage
from pfh.steps.verifier import SelfTest, self_test

if TYPE_CHECKING:
    from pydantic import BaseModel

    from pfh.hooks.backends import Sampling
    from pfh.hooks.checkpoint import Checkpoint
    from pfh.hooks.domains import Problem
    from pfh.results.records import MatchRecord
    from pfh.statistics.divergence import Divergence

OTHER_SEED = 1_000
"""Added to the seed of what samples, where the start is measured again for its noise."""
NOTHING_TRAINED = (
    "Nothing was trained: the start was measured again, in other batches, and under another seed where it samples."
)


class RunSteps:
    """One run in the making: each of its artifacts is made or found once, when it is first needed."""

    def __init__(self, spec: RunSpec, session: Session, options: Mapping[str, BaseModel | None]) -> None:
        self.spec = spec
        self.session = session
        self._given = options
        self.ranks: Configuration | None = (
            None if spec.accelerate is None else read_configuration(Path(spec.accelerate))
        )
        self._stages: dict[int, TrainedStage] = {}
        self._answered: dict[tuple[int, str], Subject] = {}
        self._matches: dict[int, MatchRecord] = {}

    @cached_property
    def start(self) -> Subject:
        """The model that the run begins with.

        Raises:
            UserError: it cannot be had, or cannot be trained.
        """
        return open_start(self.spec, self.session, self._given)

    @cached_property
    def options(self) -> dict[str, BaseModel | None]:
        """Options by plugin key, those of methods fitted to the start.

        Raises:
            UserError: one does not fit it.
        """
        start = checkpoint_of(self.start)
        keys = {f"methods:{name}": name for name in self.spec.methods}
        fitted = {key: fit_options(self.session, start, name, self._given[key]) for key, name in keys.items()}
        return {**self._given, **fitted}

    @cached_property
    def domain(self) -> OpenDomain:
        """The domain with the run's training problems."""
        return open_domain(self.spec, self.session, self.options, self.spec.problems)

    @cached_property
    def questions(self) -> tuple[Question, ...]:
        """What every model of the run is asked."""
        return asked(self.spec, self.session, [self.start], self.options, self.domain)

    @cached_property
    def verifier(self) -> SelfTest:
        """The outcome of the verifier's self-test."""
        return self_test(self.session, self.domain)

    def check(self) -> None:
        """Check that every stage can be trained, as far as that is known beforehand.

        Raises:
            PfhError: one cannot; says what to change.
        """
        for place in range(1, len(self.spec.methods) + 1):
            self.check_stage(place)

    def check_stage(self, place: int) -> None:
        """Check one stage, from 1.

        Raises:
            PfhError: it cannot be trained; says what to change.
        """
        method, options = self.method(place)
        if trains(options):
            check_stage(
                self.session,
                checkpoint_of(self.start),
                self.domain,
                method,
                options=options,
                budget=self.spec.budget,
                later=self._is_later(place),
            )

    def _is_later(self, place: int) -> bool:
        """Say whether an earlier stage than `place` trains."""
        return any(trains(self.method(before)[1]) for before in range(1, place))

    def rehearse(self) -> None:
        """Rehearse every stage, unless that is turned off or several processes train.

        Raises:
            UserError: what one trains could not be saved, loaded or asked.
        """
        for place in range(1, len(self.spec.methods) + 1):
            method, options = self.method(place)
            if self.spec.rehearsal and self.ranks is None and trains(options):
                rehearse_stage(self.session, checkpoint_of(self.start), self.domain, method, options=options)

    def train(self, place: int) -> TrainedStage:
        """Check a stage, from 1, and train it.

        Raises:
            PfhError: it cannot be trained; says what to change.
        """
        self.check_stage(place)
        return self.trained(place)

    def method(self, place: int) -> tuple[str, BaseModel | None]:
        """Return name and options of a stage's method, from 1."""
        name = self.spec.methods[place - 1]
        return name, self.options[f"methods:{name}"]

    def trained(self, place: int) -> TrainedStage:
        """Return what a stage left, from 1; at 0 it is the start, which no training led to."""
        if place not in self._stages:
            self._stages[place] = self._trained(place)
        return self._stages[place]

    def _trained(self, place: int) -> TrainedStage:
        if place == 0:
            return TrainedStage(checkpoint=checkpoint_of(self.start), phases=(), curves=(), notes=())
        before = self.trained(place - 1)
        method, options = self.method(place)
        if not trains(options):
            return dataclasses.replace(before, phases=(), curves=(), notes=(NOTHING_TRAINED,))
        match = self.spec.match
        stage = train_stage(
            self.session,
            before.checkpoint,
            self.domain,
            method,
            options=options,
            seed=self.spec.seed,
            budget=self.spec.budget,
            ranks=self.ranks,
            keep_every=match.every if match else None,
            origin=checkpoint_of(self.start),
            stopping=self._stopping(options),
        )
        if match is None:
            return stage
        stage, self._matches[place] = at_equal_gain(
            match, stage, self.session, self.questions, self.answered(0, match.family)
        )
        return stage

    def _stopping(self, options: BaseModel | None) -> Stopping | None:
        """Return who looks at a training on its way: nobody at a merge."""
        stop, start = self.spec.stop_when, checkpoint_of(self.start)
        if stop is None or declares(options, Learns.MERGES):
            return None
        look = look_at(self.session, start, stop, self.questions)
        inputs = stop_inputs(self.session, start, stop, self.questions)
        return Stopping(look=look, every=stop.every, inputs=inputs)

    def match(self, place: int) -> MatchRecord | None:
        """Return the way of a stage, from 1, to the gain that is matched; None where none is."""
        return self._matches.get(place)

    def teacher(self, place: int) -> Checkpoint | None:
        """Return the model that an option of a stage's method names.

        Raises:
            UserError: it cannot be had here.
        """
        return named_teacher(self.session, self.method(place)[1], self.trained(place - 1).checkpoint)

    def merged(self, place: int) -> Checkpoint:
        """Return the model that a stage left with its adapter merged, as the next stage trains it."""
        return merged(self.session, self.trained(place).checkpoint)

    def rolled_out(
        self,
        place: int,
        *,
        teacher: Checkpoint | None,
        by_origin: bool,
        samples: int,
        sampling: Sampling | None,
        problems: tuple[Problem, ...] | None,
        judged: bool,
    ) -> None:
        """Draw what the training of a stage will ask for, from 1; it then finds it in the store."""
        domain, sampling = drawn_on(self.domain, problems, judged), sampling or self.domain.domain.sampling
        before = checkpoint_of(self.start) if by_origin else self.trained(place - 1).checkpoint
        student = merged(self.session, before) if before.adapter else before
        draw_rollouts(self.session, teacher or student, domain, samples=samples, sampling=sampling, seed=self.spec.seed)

    def answered(self, place: int, family: str) -> Subject:
        """Return the start (0) or what a stage left, with its answers to one family."""
        if (place, family) not in self._answered:
            self._answered[place, family] = self._measured(place, family)
        return self._answered[place, family]

    def _measured(self, place: int, family: str) -> Subject:
        question = next(each for each in self.questions if each.family == family)
        if place == 0:
            return measured(self.start, self.session, [question])
        against = self.answered(0, family) if declares(question.options, Wants.REFERENCE) else None
        subject = _trained_subject(self.trained(place))
        if trains(self.method(place)[1]):
            if (alpha := self.spec.stop_early) is not None:
                pair = [self.answered(0, family), subject]
                answers = measured_in_looks(pair, self.session, question, self.rule(alpha))[1]
                return dataclasses.replace(subject, families={family: answers})
            return measured(subject, self.session, [question], against=against)
        self.session.release()
        other = self.session.in_other_batches()
        try:
            return measured(subject, other, [under_another_seed(question)], against=against)
        finally:
            other.release()

    def rule(self, alpha: float) -> Rule:
        """Return when the comparison of one family may stop."""
        return Rule.over(len(self.questions), alpha, self.spec.margin)

    def prepare_divergence(self) -> None:
        """Have the start complete the held-out prompts while it is resident."""
        prepare_divergence(self.session, checkpoint_of(self.start), self.domain.domain, self.spec.divergence_prompts)

    def divergence(self, place: int) -> Divergence:
        """Return how far what a stage left, from 1, is from the start."""
        return divergence_from(
            self.session,
            self.start.checkpoint,
            self.trained(place).checkpoint,
            self.domain.domain,
            self.spec.divergence_prompts,
        )

    def subject(self, place: int) -> Subject:
        """Return the start (0) or what a stage left, with its answers to every family."""
        parts = [self.answered(place, question.family) for question in self.questions]
        families = {name: family for part in parts for name, family in part.families.items()}
        return dataclasses.replace(parts[0], families=families)


def trains(options: BaseModel | None) -> bool:
    """Say whether the method with these options trains anything."""
    return not declares(options, Learns.NOTHING)


def under_another_seed(question: Question) -> Question:
    """Return the question as it is asked again for the noise: under another seed where its completions are sampled."""
    samples = bool(values(question.options, Draws.COMPLETIONS))
    return dataclasses.replace(question, seed=question.seed + OTHER_SEED) if samples else question


def drawn_on(domain: OpenDomain, problems: tuple[Problem, ...] | None, judged: bool) -> OpenDomain:
    """Return what rollouts are drawn on: the run's domain with its problems or with others, or none that judges."""
    from pfh.steps.domains import NO_DOMAIN

    on = domain if judged else NO_DOMAIN
    return on if problems is None else dataclasses.replace(on, problems=problems)


def checkpoint_of(subject: Subject) -> Checkpoint:
    """Return the weights of a model that is no stored result."""
    assert subject.checkpoint is not None
    return subject.checkpoint


def open_start(spec: RunSpec, session: Session, options: Mapping[str, BaseModel | None]) -> Subject:
    """Open the model that a run begins with.

    Raises:
        UserError: it cannot be had, or cannot be trained.
    """
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
    return dataclasses.replace(subject, label=label)


def _trained_subject(trained: TrainedStage) -> Subject:
    name = trained.checkpoint.name
    return dataclasses.replace(model_subject(name, trained.checkpoint, f"custom: {name}"), curves=trained.curves)
