"""One stage of post-training."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pfh.errors import DataUnavailableError, StepFailedError, UserError
from pfh.hooks.budget import Account, Budget
from pfh.hooks.checkpoint import Checkpoint
from pfh.hooks.domains import why_unverified
from pfh.hooks.ledger import Phase, read_ledger, write_ledger
from pfh.hooks.meanings import Learns, Names, declares, name_of, names_of
from pfh.hooks.methods import TrainingResult, TrainingSpec
from pfh.hooks.stopping import Look
from pfh.kit.rows import rows_fingerprint
from pfh.kit.tokens.loading import arguments_of
from pfh.kit.training.along import FOLDER, Cost, kept_along
from pfh.kit.training.colocated import undistributed
from pfh.kit.training.held_near import NOTES
from pfh.kit.training.looking import told_of_stop
from pfh.kit.training.models import free_memory
from pfh.kit.update_resolution import update_left
from pfh.kit.weights import restore_defaults
from pfh.registry.files import file_hashes
from pfh.registry.libraries import TRAINING, library_versions
from pfh.sources.models import OPENAI_URL, resolve
from pfh.steps.domains import NO_DOMAIN, OpenDomain
from pfh.steps.ranks.launch import train_in_ranks
from pfh.steps.resolution import UPDATE_LEFT
from pfh.steps.rollouts import draw_rollouts
from pfh.steps.session import Session
from pfh.store.store import Artifact

if TYPE_CHECKING:
    from pydantic import BaseModel

    from pfh.hooks.backends import Sampling
    from pfh.hooks.domains import Problem, Rollout
    from pfh.steps.ranks.configuration import Configuration


@dataclass(frozen=True, kw_only=True)
class KeptAlong:
    """A checkpoint along the way, and what the stage had cost by then."""

    checkpoint: Checkpoint
    cost: Cost


@dataclass(frozen=True, kw_only=True)
class Stopping:
    """Who looks at a training on its way."""

    look: Look
    every: int
    """Updates between two looks."""
    inputs: Mapping[str, str]
    """What decides when it stops, for the key."""


@dataclass(frozen=True, kw_only=True)
class TrainedStage:
    """A stage's checkpoint and its records."""

    checkpoint: Checkpoint
    phases: tuple[Phase, ...]
    curves: tuple[dict[str, float], ...]
    notes: tuple[str, ...]
    along: tuple[KeptAlong, ...] = ()
    """Checkpoints along the way, by their updates; the last of all is among them."""


def train_stage(
    session: Session,
    checkpoint: Checkpoint,
    open_domain: OpenDomain,
    method: str,
    *,
    options: BaseModel | None,
    seed: int,
    budget: Budget | None = None,
    ranks: Configuration | None = None,
    keep_every: int | None = None,
    origin: Checkpoint | None = None,
    stopping: Stopping | None = None,
) -> TrainedStage:
    """Post-train `checkpoint` with one method, within `budget`, in this process or in those of `ranks`.

    What an option names enters the key: a model (`Names.MODEL`), several (`Names.MODELS`), rows (`Names.ROWS`), a file
    (`Names.FILE`); so does `origin`, what the run began with, in a later stage.
    """
    teacher = named_teacher(session, options, checkpoint)
    others = tuple(without_adapter(session, other) for other in named_others(session, options))
    start = without_adapter(session, checkpoint)
    began = None if origin is None or origin.fingerprint == start.fingerprint else without_adapter(session, origin)
    inputs = training_inputs(
        session,
        start,
        open_domain,
        method,
        options=options,
        seed=seed,
        budget=budget,
        ranks=ranks,
        teacher=teacher,
        keep_every=keep_every,
        origin=began,
        others=others,
        stop=stopping.inputs if stopping else None,
    )

    def build(work: Path, folder: Path) -> None:
        drawn_phases: list[Phase] = []
        account = Account(budget)

        def draw(
            *,
            samples: int,
            sampling: Sampling | None = None,
            checkpoint: Checkpoint | None = None,
            problems: Sequence[Problem] | None = None,
            judged: bool = True,
        ) -> tuple[Rollout, ...]:
            if judged and (unverified := why_unverified(open_domain.domain)):
                raise UserError(f"{method} draws completions that are to be judged, and {unverified}.")
            drawn, phase = draw_rollouts(
                session,
                checkpoint or start,
                _asked(open_domain if judged else NO_DOMAIN, problems),
                samples=samples,
                sampling=sampling or open_domain.domain.sampling,
                seed=seed,
            )
            by_teacher = teacher is not None and checkpoint == teacher
            booked = dataclasses.replace(phase, name="teacher generation") if by_teacher else phase
            if booked not in drawn_phases:  # the same rollouts asked for again cost nothing
                drawn_phases.append(booked)
                account.add(booked)
            session.release()
            return drawn

        session.release()
        spec = TrainingSpec(
            checkpoint=start,
            domain=open_domain.domain,
            problems=open_domain.problems,
            rollouts=draw,
            seed=seed,
            output_dir=work,
            options=options,
            account=account,
            progress=session.progress,
            teacher=teacher,
            keep_every=keep_every,
            origin=began,
            others=others,
            data=session.data,
            look=stopping.look if stopping else None,
            look_every=stopping.every if stopping else 0,
        )
        clock = time.monotonic()
        with undistributed():
            if ranks and not declares(options, Learns.MERGES):
                opened_with = open_domain.options.model_dump(mode="json") if open_domain.options else None
                result = train_in_ranks(method, spec, open_domain.name, opened_with, ranks)
            else:
                result = session.plugins.train(method, spec)
        free_memory()  # trainer and model hold each other
        if not result.phases:
            drawn_phases.append(Phase(name="training", seconds=time.monotonic() - clock))
        _keep(result, [*drawn_phases, *result.phases], start, work, folder, method)

    artifact = session.store.make("training", inputs, build)
    if artifact.reused:
        session.progress.say(f"reusing the stored {method} training ({artifact.key})")
    return _trained(artifact, start, method)


def training_inputs(
    session: Session,
    start: Checkpoint,
    open_domain: OpenDomain,
    method: str,
    *,
    options: BaseModel | None,
    seed: int,
    budget: Budget | None,
    ranks: Configuration | None,
    teacher: Checkpoint | None,
    keep_every: int | None = None,
    origin: Checkpoint | None = None,
    others: Sequence[Checkpoint] = (),
    stop: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Return what decides the key of a training; of `start`, where it stands with an adapter or merged, all the same.

    Raises:
        UserError: a file that an option names cannot be read.
    """
    plugin = session.plugins.load("methods", method)
    learned_from = open_domain if learns_from_problems(options) else NO_DOMAIN
    return {
        "method": plugin.code_version,
        "options": options.model_dump(mode="json") if options else {},
        **({"teacher": [teacher.fingerprint, session.environment(teacher)["backend"]]} if teacher else {}),
        **({"budget": str(budget)} if budget else {}),
        **({"ranks": ranks.inputs} if ranks else {}),
        **({"keep_every": keep_every} if keep_every else {}),
        **({"origin": origin.fingerprint} if origin and origin.fingerprint != start.fingerprint else {}),
        **({"stop": dict(stop)} if stop else {}),
        **({"others": [other.fingerprint for other in others]} if others else {}),
        **({"rows": rows} if (rows := _row_hashes(session, options)) else {}),
        "domain": learned_from.inputs(session.plugins),
        "code": session.code("pfh.kit.conversations", "pfh.kit.update_resolution").digest,
        **({"files": files} if (files := file_hashes(options)) else {}),
        "seed": seed,
        "model": start.fingerprint,
        "environment": session.environment(plugins=[("methods", method), *learned_from.plugins], libraries=TRAINING),
    }


def learns_from_problems(options: BaseModel | None) -> bool:
    """Say whether the run's problems decide what a method with these options leaves."""
    return not (declares(options, Learns.OWN_PROMPTS) or declares(options, Learns.MERGES))


def _row_hashes(session: Session, options: BaseModel | None) -> list[str]:
    """Return the hashes of the rows that options name; what cannot be had here has none, and no training uses it."""
    hashes = []
    for name in names_of(options, Names.ROWS):
        try:
            hashes.append(rows_fingerprint(name, session.data))
        except DataUnavailableError:
            hashes.append(f"not-here-{name}")
    return hashes


def _asked(open_domain: OpenDomain, problems: Sequence[Problem] | None) -> OpenDomain:
    return open_domain if problems is None else dataclasses.replace(open_domain, problems=tuple(problems))


def named_teacher(session: Session, options: BaseModel | None, student: Checkpoint) -> Checkpoint | None:
    """Return the model that an option of a method names, or None.

    Of the arguments of the student's chat template it takes those that its own has. A remote one is sent all, since its
    template cannot be seen and servers pass over what it does not read; OpenAI itself takes none.

    Raises:
        UserError: it cannot be had here.
    """
    name = name_of(options, Names.MODEL)
    if not name:
        return None
    teacher, arguments = resolve(name, cache_dir=session.store.cache), student.chat_template_kwargs
    if not arguments or (teacher.endpoint is not None and teacher.endpoint.url == OPENAI_URL):
        return teacher
    if teacher.endpoint is not None:
        return teacher.with_template_arguments(arguments)
    known = arguments_of(teacher)
    return teacher.with_template_arguments({name: value for name, value in arguments.items() if name in known})


def named_others(session: Session, options: BaseModel | None) -> tuple[Checkpoint, ...]:
    """Return the models that an option of a method names, of which it takes several.

    Raises:
        UserError: one cannot be had here, or its weights cannot.
    """
    found = tuple(resolve(name, cache_dir=session.store.cache) for name in names_of(options, Names.MODELS))
    for each in found:
        if each.endpoint is not None:
            raise UserError(f"{each.name} answers through an endpoint: its weights are needed, so name a model.")
    return found


def _keep(
    result: TrainingResult, phases: Sequence[Phase], start: Checkpoint, work: Path, folder: Path, method: str
) -> None:
    if not result.path.resolve().is_relative_to(work.resolve()) or not result.path.is_dir():
        raise StepFailedError(
            f"methods:{method} returned the path {result.path}, which is no folder of its output_dir."
        )
    left = update_left(start, result.path)
    held = work / NOTES
    told = json.loads(held.read_text()) if held.exists() else []
    notes = [*result.notes, *told, *told_of_stop(phases)]
    if left is not None:
        phases = [*phases[:-1], dataclasses.replace(phases[-1], notes=phases[-1].notes | {UPDATE_LEFT: round(left, 4)})]
    restore_defaults(start, result.path)
    result.path.rename(folder / "weights")
    for kept, _ in kept_along(work / FOLDER):
        restore_defaults(start, kept)
    if (work / FOLDER).is_dir():
        (work / FOLDER).rename(folder / FOLDER)
    write_ledger(folder / "ledger.json", phases)
    (folder / "curves.json").write_text(json.dumps([dict(row) for row in result.curves]))
    (folder / "notes.json").write_text(json.dumps(notes))


def _trained(artifact: Artifact, start: Checkpoint, method: str) -> TrainedStage:
    name, fingerprint = f"{start.name}+{method}", f"training-{artifact.key}"
    return TrainedStage(
        checkpoint=checkpoint_of(artifact.path / "weights", start, name=name, fingerprint=fingerprint),
        phases=read_ledger(artifact.path / "ledger.json"),
        curves=tuple(json.loads((artifact.path / "curves.json").read_text())),
        notes=tuple(json.loads((artifact.path / "notes.json").read_text())),
        along=tuple(
            KeptAlong(
                checkpoint=checkpoint_of(
                    path, start, name=f"{name}@{cost.update}", fingerprint=f"{fingerprint}@{cost.update}"
                ),
                cost=cost,
            )
            for path, cost in kept_along(artifact.path / FOLDER)
        ),
    )


def checkpoint_of(trained: Path, start: Checkpoint, *, name: str, fingerprint: str) -> Checkpoint:
    """Return what a training left in the folder `trained`: an adapter over `start`, or all weights."""
    if (trained / "adapter_config.json").exists():
        return start.with_adapter(trained, name=name, fingerprint=fingerprint)
    arguments = start.chat_template_kwargs
    return Checkpoint(name=name, path=trained, fingerprint=fingerprint, chat_template_kwargs=arguments)


def without_adapter(session: Session, checkpoint: Checkpoint) -> Checkpoint:
    """Return the checkpoint as plain weights, its adapter merged."""
    return merged(session, checkpoint) if checkpoint.adapter else checkpoint


def merged(session: Session, checkpoint: Checkpoint) -> Checkpoint:
    """Merge a stage's adapter into its base, so that the next stage can train an adapter of its own."""

    def build(work: Path, folder: Path) -> None:
        from pfh.kit.training import load_for_training
        from pfh.kit.training.models import save_tokenizer

        session.release()
        model, tokenizer = load_for_training(checkpoint)
        model.save_pretrained(folder)
        save_tokenizer(tokenizer, folder)
        restore_defaults(checkpoint, folder)

    artifact = session.store.make("merged", merged_inputs(session, checkpoint), build)
    return Checkpoint(
        name=checkpoint.name,
        path=artifact.path,
        fingerprint=checkpoint.fingerprint,
        chat_template_kwargs=checkpoint.chat_template_kwargs,
    )


def merged_inputs(session: Session, checkpoint: Checkpoint) -> dict[str, Any]:
    """Return what decides the key of a merged model."""
    code = session.code("pfh.kit.training.models", "pfh.kit.weights")
    libraries = library_versions(code.libraries, session.versions)
    return {"model": checkpoint.fingerprint, "code": code.digest, "libraries": libraries}
