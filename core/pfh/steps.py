"""The steps of a run. Each makes one artifact, or finds it in the store and says so."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pfh import selftest
from pfh.budget import Account, Budget
from pfh.errors import StepFailedError
from pfh.evaluation import Evaluation, read_evaluation, write_evaluation
from pfh.journal import JournaledEngine
from pfh.ledger import Phase, read_ledger, write_ledger
from pfh.models import Checkpoint, resolve
from pfh.ranks.launch import train_in_ranks
from pfh.rollouts import read_rollouts, write_rollouts
from pfh.session import Session
from pfh.specs import EvaluationSpec, GenerationSpec, Reference, TrainingResult, TrainingSpec
from pfh.starts.embedded import EMBEDDED_NAME, build_embedded
from pfh.starts.safe import build_safe
from pfh.store import Artifact

if TYPE_CHECKING:
    from pydantic import BaseModel

    from pfh.domain import Domain, Problem, Rollout
    from pfh.engine import Sampling
    from pfh.ranks.configuration import Configuration


@dataclass(frozen=True, kw_only=True)
class Ground:
    """The domain of a run, opened, with the training problems that all its methods share."""

    name: str
    domain: Domain
    problems: tuple[Problem, ...]
    options: BaseModel | None = None
    """What the domain was opened with."""

    @property
    def inputs(self) -> dict[str, Any]:
        """What a step's key says of the domain."""
        ids = hashlib.sha256("\n".join(problem.id for problem in self.problems).encode()).hexdigest()
        return {"domain": self.name, "version": self.domain.version, "problems": ids}


def embedded_start(session: Session) -> Checkpoint:
    """Return the embedded model as it comes: the BASE start."""

    def build(work: Path, folder: Path) -> None:
        build_embedded(folder, session.progress)

    artifact = session.store.make("start", {"model": EMBEDDED_NAME, "recipe": 1}, build)
    return Checkpoint(name=EMBEDDED_NAME, path=artifact.path, fingerprint=f"start-{artifact.key}")


def safe_start(session: Session) -> Checkpoint:
    """Return the embedded model after pfh's refusal tuning: the SAFE start."""
    base = embedded_start(session)

    def build(work: Path, folder: Path) -> None:
        session.progress.say("making the SAFE start: a short refusal tuning of the embedded model, once")
        engine = JournaledEngine(session.engine(base), work / "journal.jsonl", session.progress, "own answers")
        build_safe(base, engine, work, folder, session.progress)

    inputs = {"model": base.fingerprint, "recipe": folder_code("starts"), "environment": session.environment()}
    artifact = session.store.make("start", inputs, build)
    session.release()
    return Checkpoint(name=f"{EMBEDDED_NAME}-SAFE", path=artifact.path, fingerprint=f"start-{artifact.key}")


def self_test(session: Session, ground: Ground) -> selftest.SelfTest:
    """Try the domain's verifier before anything is trained on what it rewards; one that passed is not tried again.

    Raises:
        StepFailedError: it rewards what says nothing, or does not reward what is right.
    """
    inputs = {"ground": ground.inputs, "probes": hashlib.sha256(Path(selftest.__file__).read_bytes()).hexdigest()[:12]}

    def build(work: Path, folder: Path) -> None:
        outcome = selftest.check_verifier(ground.domain, ground.problems, session.progress)
        selftest.write_self_test(folder / "outcome.json", outcome)

    return selftest.read_self_test(session.store.make("self-test", inputs, build).path / "outcome.json")


def evaluation(
    session: Session,
    checkpoint: Checkpoint,
    family: str,
    *,
    benchmarks: tuple[str, ...],
    options: BaseModel | None,
    ground: Ground | None,
    limit: int | None,
    seed: int,
    reference: Reference | None = None,
) -> tuple[Artifact, Evaluation]:
    """Put one benchmark family to one model; benchmarks that could not run last time are tried again.

    An option called `judge` names a judge, one called `domain` asks for the run's domain, one called `reference` for
    the model that is compared with: all enter the key.
    """
    plugin = session.plugins.load("evals", family)
    chosen = options.model_dump(mode="json") if options else {}
    domain = ground.domain if ground and "domain" in chosen else None
    against = reference if chosen.get("reference") is True else None
    inputs = {
        "family": plugin.code_version,
        "benchmarks": benchmarks,
        "options": chosen,
        "judge": session.plugins.load("judges", chosen["judge"]).code_version if "judge" in chosen else "",
        "domain": domain.version if domain else "",
        "limit": limit,
        "seed": seed,
        "model": checkpoint.fingerprint,
        "environment": session.environment(checkpoint),
        **({"reference": against.artifact} if against else {}),
    }

    def measure(work: Path, names: tuple[str, ...]) -> Evaluation:
        label = f"{family} on {checkpoint.name}"
        journal = work / "journal.jsonl"
        engine = JournaledEngine(session.engine(checkpoint), journal, session.progress, label, session.completions)
        spec = EvaluationSpec(
            engine=engine,
            options=options,
            data=session.data,
            judge=session.judge,
            domain=domain,
            reference=against,
            benchmarks=names,
            default_set=not benchmarks,
            limit=limit,
            seed=seed,
            progress=session.progress,
        )
        measured = session.plugins.evaluate(family, spec)
        return dataclasses.replace(
            measured, model=checkpoint.fingerprint, reference=against.evaluation.model if against else ""
        )

    artifact = session.store.make(
        "evaluation", inputs, lambda work, folder: write_evaluation(folder, measure(work, benchmarks))
    )
    stored = read_evaluation(artifact.path)
    if not artifact.reused:
        return artifact, stored
    session.progress.say(f"reusing the stored evaluation of {family} on {checkpoint.name} ({artifact.key})")
    absent = tuple(row.name for row in stored.benchmarks if row.status in ("NOT_RUN", "ERROR"))
    if not absent:
        return artifact, stored
    session.progress.say(f"trying again what could not run then: {', '.join(absent)}")
    merged = _merge(stored, measure(session.store.scratch("evaluation", inputs), absent))
    if merged == stored:
        return artifact, stored
    session.store.discard(artifact)
    return session.store.make("evaluation", inputs, lambda work, folder: write_evaluation(folder, merged)), merged


def rollouts(
    session: Session, checkpoint: Checkpoint, ground: Ground, *, samples: int, sampling: Sampling, seed: int
) -> tuple[tuple[Rollout, ...], Phase]:
    """Roll a model out on the training problems, `samples` times each."""
    sampling = dataclasses.replace(sampling, seed=seed)
    inputs = {
        "ground": ground.inputs,
        "samples": samples,
        "sampling": dataclasses.asdict(sampling),
        "model": checkpoint.fingerprint,
        "environment": session.environment(checkpoint),
    }

    def build(work: Path, folder: Path) -> None:
        label = f"rollouts on {ground.name}"
        engine = JournaledEngine(session.engine(checkpoint), work / "journal.jsonl", session.progress, label)
        spec = GenerationSpec(
            domain=ground.domain, engine=engine, problems=ground.problems, samples=samples, sampling=sampling
        )
        drawn = session.plugins.generate(ground.name, spec).rollouts
        write_rollouts(folder / "rollouts.parquet", drawn)
        phase = Phase(
            name="rollouts",
            seconds=engine.seconds,
            tokens=sum(rollout.tokens for rollout in drawn),
            samples=len(drawn),
            notes={
                "mean_reward": sum(rollout.verdict.reward for rollout in drawn) / max(len(drawn), 1),
                "prompt_tokens": engine.prompt_tokens,
            },
        )
        write_ledger(folder / "ledger.json", [phase])

    artifact = session.store.make("rollouts", inputs, build)
    if artifact.reused:
        session.progress.say(f"reusing the stored rollouts of {checkpoint.name} on {ground.name} ({artifact.key})")
    return read_rollouts(artifact.path / "rollouts.parquet"), read_ledger(artifact.path / "ledger.json")[0]


@dataclass(frozen=True, kw_only=True)
class Trained:
    """A stage's checkpoint and its records."""

    checkpoint: Checkpoint
    phases: tuple[Phase, ...]
    curves: tuple[dict[str, float], ...]
    notes: tuple[str, ...]


def training(
    session: Session,
    checkpoint: Checkpoint,
    ground: Ground,
    method: str,
    *,
    options: BaseModel | None,
    seed: int,
    budget: Budget | None = None,
    ranks: Configuration | None = None,
) -> Trained:
    """Post-train `checkpoint` with one method, within `budget`, in this process or in those of `ranks`.

    An option called `teacher` names a model, which enters the key.
    """
    teacher = named_teacher(session, options)
    start = _merged(session, checkpoint) if checkpoint.adapter else checkpoint
    plugin = session.plugins.load("methods", method)
    inputs = {
        "method": plugin.code_version,
        "options": options.model_dump(mode="json") if options else {},
        **({"teacher": teacher.fingerprint} if teacher else {}),
        **({"budget": str(budget)} if budget else {}),
        **({"ranks": ranks.inputs} if ranks else {}),
        "ground": ground.inputs,
        "seed": seed,
        "model": start.fingerprint,
        "environment": session.environment(),
    }

    def build(work: Path, folder: Path) -> None:
        drawn_phases: list[Phase] = []
        account = Account(budget)

        def draw(
            *,
            samples: int,
            sampling: Sampling | None = None,
            checkpoint: Checkpoint | None = None,
            problems: Sequence[Problem] | None = None,
        ) -> tuple[Rollout, ...]:
            drawn, phase = rollouts(
                session,
                checkpoint or start,
                ground if problems is None else dataclasses.replace(ground, problems=tuple(problems)),
                samples=samples,
                sampling=sampling or ground.domain.sampling,
                seed=seed,
            )
            by_teacher = teacher is not None and checkpoint == teacher
            drawn_phases.append(dataclasses.replace(phase, name="teacher generation") if by_teacher else phase)
            account.add(drawn_phases[-1])
            session.release()
            return drawn

        session.release()
        spec = TrainingSpec(
            checkpoint=start,
            domain=ground.domain,
            problems=ground.problems,
            rollouts=draw,
            seed=seed,
            output_dir=work,
            options=options,
            account=account,
            progress=session.progress,
            teacher=teacher,
        )
        began = time.monotonic()
        if ranks:
            opened_with = ground.options.model_dump(mode="json") if ground.options else None
            result = train_in_ranks(method, spec, ground.name, opened_with, ranks)
        else:
            result = session.plugins.train(method, spec)
        if not result.phases:
            drawn_phases.append(Phase(name="training", seconds=time.monotonic() - began))
        _keep(result, [*drawn_phases, *result.phases], work, folder, method)

    artifact = session.store.make("training", inputs, build)
    if artifact.reused:
        session.progress.say(f"reusing the stored {method} training ({artifact.key})")
    return _trained(artifact, start, method)


def named_teacher(session: Session, options: BaseModel | None) -> Checkpoint | None:
    """Return the model that a method's option called `teacher` names, or None.

    Raises:
        UserError: it cannot be had here.
    """
    name = getattr(options, "teacher", "")
    return resolve(name, cache_dir=session.store.cache) if name else None


def _keep(result: TrainingResult, phases: Sequence[Phase], work: Path, folder: Path, method: str) -> None:
    if not result.path.is_relative_to(work) or not result.path.is_dir():
        raise StepFailedError(
            f"methods:{method} returned the path {result.path}, which is no folder of its output_dir."
        )
    result.path.rename(folder / "weights")
    write_ledger(folder / "ledger.json", phases)
    (folder / "curves.json").write_text(json.dumps([dict(row) for row in result.curves]))
    (folder / "notes.json").write_text(json.dumps(list(result.notes)))


def _trained(artifact: Artifact, start: Checkpoint, method: str) -> Trained:
    weights = artifact.path / "weights"
    name, fingerprint = f"{start.name}+{method}", f"training-{artifact.key}"
    if (weights / "adapter_config.json").exists():
        checkpoint = start.with_adapter(weights, name=name, fingerprint=fingerprint)
    else:
        checkpoint = Checkpoint(name=name, path=weights, fingerprint=fingerprint)
    return Trained(
        checkpoint=checkpoint,
        phases=read_ledger(artifact.path / "ledger.json"),
        curves=tuple(json.loads((artifact.path / "curves.json").read_text())),
        notes=tuple(json.loads((artifact.path / "notes.json").read_text())),
    )


def _merged(session: Session, checkpoint: Checkpoint) -> Checkpoint:
    """Merge a stage's adapter into its base, so that the next stage can train an adapter of its own."""

    def build(work: Path, folder: Path) -> None:
        from pfh.training import load_for_training

        session.release()
        model, tokenizer = load_for_training(checkpoint)
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)

    artifact = session.store.make("merged", {"model": checkpoint.fingerprint}, build)
    return Checkpoint(name=checkpoint.name, path=artifact.path, fingerprint=checkpoint.fingerprint)


def _merge(stored: Evaluation, again: Evaluation) -> Evaluation:
    measured = {benchmark.name: benchmark for benchmark in again.benchmarks}
    return dataclasses.replace(
        stored,
        benchmarks=tuple(measured.get(benchmark.name, benchmark) for benchmark in stored.benchmarks),
        arrays={**stored.arrays, **again.arrays},
    )


def folder_code(name: str) -> str:
    """Return a hash of the files of a folder of the core: what a step's key says of its code."""
    digest = hashlib.sha256()
    for file in sorted((Path(__file__).parent / name).iterdir()):
        if file.is_file():
            digest.update(file.name.encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()[:12]
