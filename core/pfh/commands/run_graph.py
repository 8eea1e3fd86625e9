"""The graph of one run, built from its start to its comparison, each step with its key and what makes it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pfh.commands.looks import Rule, looked_inputs
from pfh.commands.measuring import asked
from pfh.commands.run import keep_run
from pfh.commands.run_steps import RunSteps, drawn_on, trains, under_another_seed
from pfh.commands.stage_contracts import contents_of
from pfh.commands.stopping import stop_inputs
from pfh.commands.subjects import model_subject
from pfh.errors import DataUnavailableError, UserError
from pfh.hooks.budget import Account
from pfh.hooks.checkpoint import Checkpoint
from pfh.hooks.launchers import RunSpec
from pfh.hooks.meanings import Learns, Leaves, Names, Wants, declares, has_variable, name_of, names_of
from pfh.hooks.methods import Draw, StageSpec
from pfh.kit.training.general import general_draws
from pfh.kit.training.mitigations import MitigationOptions
from pfh.starts.embedded import EMBEDDED_NAME, SAFE_METHOD, SAFE_OPTIONS
from pfh.steps.divergence import TOKENS, completion_inputs, divergence_inputs
from pfh.steps.domains import NO_DOMAIN
from pfh.steps.evaluation import evaluation_inputs
from pfh.steps.graph import Step, StepKind
from pfh.steps.ranks.configuration import read_configuration
from pfh.steps.rollouts import rollout_inputs
from pfh.steps.starts import EMBEDDED_INPUTS, SAFE_SEED
from pfh.steps.training import merged_inputs, training_inputs
from pfh.steps.verifier import self_test_inputs
from pfh.store.store import artifact_key

if TYPE_CHECKING:
    from pydantic import BaseModel

    from pfh.commands.planning import Planner

Act = Callable[[RunSteps], object]
"""Makes the artifact of a step."""


class GraphOfRun:
    """The graph of one run, built from its start to its comparison."""

    def __init__(self, planner: Planner, spec: RunSpec, options: Mapping[str, BaseModel | None]) -> None:
        self.planner = planner
        self.spec = spec
        self.options = options
        self.session = planner.session(spec, options)
        self.domain = planner.domain(spec, self.session, options)
        self.ranks = None if spec.accelerate is None else read_configuration(Path(spec.accelerate))
        self.graph: dict[str, Step] = {}
        self.acts: dict[str, Act] = {}
        self.base = spec.model or EMBEDDED_NAME
        """The weights that everything is trained from, by whose size a plan counts."""
        self.begun: tuple[str, ...] = ()
        """Ids of the steps that make the start."""

    def plan(self) -> str:
        """Add every step; return the id of the comparison."""
        current, made = self._start()
        self.begun = made
        current = current.with_template_arguments(self.spec.chat_template_kwargs)
        start = current
        tested = self._add(
            "self-test",
            self_test_inputs(self.session, self.domain),
            f"verifier of {self.spec.domain}",
            "self-test",
            (),
            lambda steps: steps.verifier,
        )
        questions = asked(
            self.spec, self.session, [model_subject(current.name, current, "")], self.options, self.domain
        )
        prompts = self._prompts(current, made)
        before = self._evaluations(0, current, made, {}, again=False, questions=questions)
        answers, trainings = [*before.values()], []
        for place in range(1, len(self.spec.methods) + 1):
            method = self.spec.methods[place - 1]
            options = self.options[f"methods:{method}"]
            again = not trains(options)
            options = self.planner.fitted(self.session, start, method, options)
            if not again:
                current, trained = self._training(place, method, options, current, made, tested, start, questions)
                made = (trained,)
                trainings.append(trained)
            answers += self._evaluations(place, current, made, before, again=again, questions=questions).values()
            answers += self._divergence(place, start, current, (*made, *prompts)) if prompts else []
        from pfh import __version__

        inputs = {"answers": answers, "trainings": trainings, "run": repr(self.spec), "pfh": __version__}
        if self.spec.contracts:
            inputs["contracts"] = contents_of(self.spec.contracts)
        return self._add(
            "comparison",
            inputs,
            f"{' then '.join(self.spec.methods)} on {self.spec.domain}, from {self.base}, seed {self.spec.seed}",
            "comparison",
            (*answers, *trainings, tested),
            lambda steps: keep_run(steps, inputs),
        )

    def _start(self) -> tuple[Checkpoint, tuple[str, ...]]:
        """Return the start and the ids of the steps that make it."""
        spec, session = self.spec, self.session
        if spec.model not in (None, "safe", "base"):
            return self.planner.model(str(spec.model), revision=spec.revision, allow_pickle=spec.allow_pickle), ()

        def make(steps: RunSteps) -> object:
            return steps.start

        key = artifact_key("start", EMBEDDED_INPUTS)
        base = Checkpoint(
            name=EMBEDDED_NAME, path=session.store.root / "artifacts" / "start" / key, fingerprint=f"start-{key}"
        )
        first = self._add("start", EMBEDDED_INPUTS, EMBEDDED_NAME, "start", (), make)
        if (spec.model or spec.start or "safe") == "base":
            return base, (first,)
        options = session.plugins.options("methods", SAFE_METHOD, SAFE_OPTIONS)
        inputs = training_inputs(
            session,
            base,
            NO_DOMAIN,
            SAFE_METHOD,
            options=options,
            seed=SAFE_SEED,
            budget=None,
            ranks=None,
            teacher=None,
        )
        aligned = self._add("training", inputs, f"{SAFE_METHOD} of {EMBEDDED_NAME}", "start", (first,), make)
        safe = self._left(base, aligned, f"{EMBEDDED_NAME}-SAFE", adapter=True)
        return self._merged(safe, (aligned,), "start", make)

    def _training(
        self,
        place: int,
        method: str,
        options: BaseModel | None,
        current: Checkpoint,
        made: tuple[str, ...],
        tested: str,
        origin: Checkpoint,
        questions: Sequence[Any],
    ) -> tuple[Checkpoint, str]:
        """Add the training of a stage with what it draws; return the model that it leaves and its id."""
        if current.adapter:
            current, made = self._merged(current, made, "merge", lambda steps: steps.merged(place - 1))
        named = name_of(options, Names.MODEL)
        teacher = self.planner.teacher(named, current) if named else None
        others = tuple(self.planner.model(name) for name in names_of(options, Names.MODELS))
        stage = StageSpec(
            checkpoint=current,
            domain=self.domain.domain,
            problems=self.domain.problems,
            options=options,
            account=Account(self.spec.budget),
            teacher=teacher,
            origin=origin,
            others=others,
            data=self.session.data,
        )
        draws = self.session.plugins.draws(method, stage)
        asked = (*(draws or ()), *self._general_draws(stage))
        drawn = [self._rollouts(place, draw, stage, named, made, tested) for draw in asked]
        inputs = training_inputs(
            self.session,
            current,
            self.domain,
            method,
            options=options,
            seed=self.spec.seed,
            budget=self.spec.budget,
            ranks=self.ranks,
            teacher=teacher,
            keep_every=self.spec.match.every if self.spec.match else None,
            origin=origin,
            others=others,
            stop=self._stop(origin, options, questions),
        )
        trained = self._add(
            "training",
            inputs,
            f"{method} of {current.name} on {self.spec.domain}",
            "training",
            (*made, tested, *drawn),
            lambda steps: steps.train(place),
            model=current.fingerprint,
            method=method,
            options=options,
            budget=self.spec.budget,
            drawn=bool(drawn),
            may_draw=draws is None,
        )
        adapter = getattr(options, "adapter", "") == "lora" and not has_variable(type(options), Leaves.ALL_WEIGHTS)
        return self._left(current, trained, f"{current.name}+{method}", adapter=adapter), trained

    def _stop(self, start: Checkpoint, options: BaseModel | None, questions: Sequence[Any]) -> Mapping[str, str] | None:
        """Return what a training's key says of when it is stopped."""
        if self.spec.stop_when is None or declares(options, Learns.MERGES):
            return None
        return stop_inputs(self.session, start, self.spec.stop_when, questions)

    def _general_draws(self, stage: StageSpec) -> tuple[Draw, ...]:
        """Return what the run's start answers before the training; nothing where the rows are not here."""
        if not isinstance(stage.options, MitigationOptions):
            return ()
        try:
            return general_draws(stage, self.spec.seed)
        except DataUnavailableError:
            self.planner.missing(f"the rows {', '.join(stage.options.answered_rows)}")
            return ()

    def _rollouts(
        self, place: int, draw: Draw, stage: StageSpec, named: str, made: tuple[str, ...], tested: str
    ) -> str:
        problems = None if draw.problems is None else tuple(draw.problems)
        domain, teacher = drawn_on(self.domain, problems, draw.judged), stage.teacher
        asked = self.spec.domain if draw.judged else "its own prompts"
        by = teacher if draw.by_teacher and teacher else stage.beginning if draw.by_origin else stage.checkpoint
        sampling = draw.sampling or self.domain.domain.sampling
        inputs = rollout_inputs(self.session, by, domain, samples=draw.samples, sampling=sampling, seed=self.spec.seed)

        def make(steps: RunSteps) -> None:
            steps.rolled_out(
                place,
                teacher=steps.teacher(place) if draw.by_teacher else None,
                by_origin=draw.by_origin,
                samples=draw.samples,
                sampling=draw.sampling,
                problems=problems,
                judged=draw.judged,
            )

        return self._add(
            "rollouts",
            inputs,
            f"{draw.samples} rollouts a problem of {by.name} on {asked}",
            "teacher's rollouts" if by is teacher else "rollouts",
            (*(() if by is teacher else self.begun if draw.by_origin else made), tested),
            make,
            model=by.fingerprint,
            weights=named if by is teacher else self.base,
            prompts=self.spec.problems if problems is None else len(problems),
            samples=draw.samples,
            new_tokens=sampling.max_new_tokens,
        )

    def _evaluations(
        self,
        place: int,
        model: Checkpoint,
        made: tuple[str, ...],
        before: Mapping[str, str],
        *,
        again: bool,
        questions: Sequence[Any],
    ) -> dict[str, str]:
        """Add what a model is asked; return family to id."""
        session = self.planner.in_other_batches(self.session) if again else self.session
        found = {}
        for question in questions:
            family = question.family
            reference = before.get(family, "")
            inputs = evaluation_inputs(
                session, model, under_another_seed(question) if again else question, reference.partition("-")[2]
            )
            stops = self.spec.stop_early is not None and reference and not again
            if stops and self.spec.stop_early is not None:
                rule = Rule.over(len(questions), self.spec.stop_early, self.spec.margin)
                plain = evaluation_inputs(session, model, question)
                inputs = looked_inputs(rule, question, inputs, {0: reference.partition("-")[2], 1: plain})
            needed = stops or declares(question.options, Wants.REFERENCE)
            against = (reference,) if reference and needed else ()
            found[family] = self._add(
                "evaluation",
                inputs,
                f"{family} on {model.name}{' again' if again else ''}",
                "evaluation of the start" if place == 0 else "evaluation again" if again else "evaluation after",
                (*made, *against),
                _answering(place, family),
                model=f"{model.fingerprint} in other batches" if again else model.fingerprint,
                family=family,
                benchmarks=question.benchmarks,
                options=question.options,
                limit=question.limit,
                domain=self.spec.domain if question.domain else "",
            )
        return found

    def _prompts(self, start: Checkpoint, made: tuple[str, ...]) -> tuple[str, ...]:
        """Add the start's completions of held-out prompts, along which divergences are measured; none without any."""
        count = self.spec.divergence_prompts
        try:
            inputs = completion_inputs(self.session, start, self.domain.domain, count) if count else None
        except UserError:
            return ()
        if inputs is None:
            return ()
        completed = self._add(
            "rollouts",
            inputs,
            f"completions of {count} held-out prompts by {start.name}",
            "divergence",
            made,
            lambda steps: steps.prepare_divergence(),
            model=start.fingerprint,
            prompts=count,
            samples=1,
            new_tokens=TOKENS,
        )
        return (completed,)

    def _divergence(self, place: int, start: Checkpoint, after: Checkpoint, needs: tuple[str, ...]) -> list[str]:
        count = self.spec.divergence_prompts
        inputs = divergence_inputs(self.session, start, after, self.domain.domain, count)
        found = self._add(
            "divergence",
            inputs,
            f"divergence of {after.name}",
            "divergence",
            needs,
            lambda steps: steps.divergence(place),
            model=after.fingerprint,
            prompts=count,
        )
        return [found]

    def _merged(
        self, model: Checkpoint, made: tuple[str, ...], part: str, act: Act
    ) -> tuple[Checkpoint, tuple[str, ...]]:
        inputs = merged_inputs(self.session, model)
        step = self._add("merged", inputs, f"{model.name}, merged", part, made, act, model=model.fingerprint)
        merged = dataclasses.replace(model, path=Path(), adapter=None)
        return merged, (step,)

    def _left(self, current: Checkpoint, trained: str, name: str, *, adapter: bool) -> Checkpoint:
        """Return the model that a training will leave."""
        key = trained.partition("-")[2]
        weights = self.session.store.root / "artifacts" / "training" / key / "weights"
        if adapter:
            return current.with_adapter(weights, name=name, fingerprint=f"training-{key}")
        return dataclasses.replace(current, name=name, path=weights, fingerprint=f"training-{key}", adapter=None)

    def _add(
        self,
        kind: StepKind,
        inputs: Mapping[str, Any],
        label: str,
        part: str,
        needs: tuple[str, ...],
        act: Act,
        *,
        model: str = "",
        options: BaseModel | None = None,
        **about: Any,  # noqa: ANN401 - whatever decides how long it takes
    ) -> str:
        step = Step(
            kind=kind,
            key=artifact_key(kind, inputs),
            label=label,
            part=part,
            needs=tuple(dict.fromkeys(needs)),
            model=model,
            about={
                "weights": self.base,
                "domain": self.spec.domain,
                "problems": self.spec.problems,
                "options": options,
                **about,
            },
        )
        self.graph.setdefault(step.id, step)
        self.acts.setdefault(step.id, act)
        return step.id


def _answering(place: int, family: str) -> Act:
    return lambda steps: steps.answered(place, family)
