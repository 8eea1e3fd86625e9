"""One benchmark family put to one model."""

from __future__ import annotations

import dataclasses
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pfh.hooks.checkpoint import Checkpoint
from pfh.hooks.evals import EvaluationSpec, Part, PlanSpec, Reference
from pfh.hooks.evaluation import Evaluation
from pfh.hooks.ledger import Phase, write_ledger
from pfh.hooks.meanings import Names, Wants, decisive, declares, names_of
from pfh.steps.domains import OpenDomain
from pfh.steps.session import Session
from pfh.store.evaluations import read_evaluation, write_evaluation
from pfh.store.journal import JournaledEngine
from pfh.store.store import Artifact

if TYPE_CHECKING:
    from pydantic import BaseModel

    from pfh.registry.catalogue import Kind


@dataclass(frozen=True, kw_only=True)
class Question:
    """What is asked of a model: one benchmark family, with everything but the model that decides its samples."""

    family: str
    benchmarks: tuple[str, ...] = ()
    """Asked for by name; empty is the family's default set."""
    options: BaseModel | None = None
    """An instance of the family's options model."""
    domain: OpenDomain | None = None
    """Whose problems are put to the model; None for a family that asks for no domain."""
    limit: int | None = None
    """At most this many documents a benchmark."""
    part: Part | None = None
    """Only these of the documents within the limit."""
    default_set: bool = False
    """`benchmarks` are some of the default set, which nobody named."""
    seed: int = 0


def evaluate_family(
    session: Session,
    checkpoint: Checkpoint,
    question: Question,
    reference: Reference | None = None,
    answers: Path | None = None,
) -> tuple[Artifact, Evaluation]:
    """Put one benchmark family to one model; benchmarks that could not run last time are tried again.

    The judges that an option names, the domain and the reference, if the options want them, enter the key. Parts of one
    question may share a file of `answers`: what a smaller part was asked is not asked again.
    """
    family, benchmarks, options = question.family, question.benchmarks, question.options
    domain = question.domain.domain if question.domain else None
    against = reference if declares(options, Wants.REFERENCE) else None
    inputs = evaluation_inputs(session, checkpoint, question, reference.artifact if reference else "")

    def measure(work: Path, names: tuple[str, ...]) -> Evaluation:
        label = f"{family} on {checkpoint.name}"
        engine = JournaledEngine(
            session.engine(checkpoint),
            answers or work / "journal.jsonl",
            session.progress,
            label,
            session.completions,
            one_by_one=answers is not None,
        )
        spec = EvaluationSpec(
            engine=engine,
            options=options,
            data=session.data,
            judge=session.judge,
            attack=session.attack,
            domain=domain,
            reference=against,
            benchmarks=names,
            default_set=question.default_set or not benchmarks,
            limit=question.limit,
            part=question.part,
            seed=question.seed,
            progress=session.progress,
        )
        measured = session.plugins.evaluate(family, spec)
        return dataclasses.replace(
            measured, model=checkpoint.fingerprint, reference=against.evaluation.model if against else ""
        )

    def build(work: Path, folder: Path) -> None:
        began = time.monotonic()
        measured = measure(work, benchmarks)
        write_evaluation(folder, measured)
        count = sum(len(benchmark.samples) for benchmark in measured.benchmarks)
        write_ledger(
            folder / "ledger.json", [Phase(name="evaluation", seconds=time.monotonic() - began, samples=count)]
        )

    artifact = session.store.make("evaluation", inputs, build)
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


def evaluation_inputs(
    session: Session, checkpoint: Checkpoint, question: Question, reference: str = ""
) -> dict[str, Any]:
    """Return what decides the key of an evaluation; `reference` is the key of the one that it is measured against."""
    options, judges = question.options, names_of(question.options, Names.JUDGE)
    used: list[tuple[Kind, str]] = [("evals", question.family)]
    attacks = names_of(options, Names.ATTACK)
    used += [("judges", judge) for judge in judges]
    used += [("attacks", attack) for attack in attacks]
    used += [("domains", question.domain.name)] if question.domain else []
    return {
        "family": session.plugins.load("evals", question.family).code_version,
        "benchmarks": question.benchmarks,
        "options": decisive(options),
        "judge": session.judge_inputs(judges[0]) if judges else {},
        **({"other judges": {name: session.judge_inputs(name) for name in judges[1:]}} if judges[1:] else {}),
        **({"attacks": {name: session.plugin_inputs("attacks", name) for name in attacks}} if attacks else {}),
        "domain": question.domain.identity(session.plugins) if question.domain else {},
        "limit": question.limit,
        **({"default set": True} if question.default_set else {}),
        **({"part": [question.part.seed, question.part.count]} if question.part else {}),
        "seed": question.seed,
        "model": checkpoint.fingerprint,
        "environment": session.environment(checkpoint, plugins=used),
        **({"reference": reference} if reference and declares(options, Wants.REFERENCE) else {}),
    }


def documents_of(question: Question, session: Session) -> dict[str, int]:
    """Return how many documents each benchmark has within the limit, as far as its family tells."""
    spec = PlanSpec(
        options=question.options,
        data=session.data,
        benchmarks=question.benchmarks,
        domain=question.domain.domain if question.domain else None,
        limit=question.limit,
        seed=question.seed,
    )
    table = session.plugins.plan(question.family, spec)
    rows = [dict(zip(table.columns, row, strict=True)) for row in table.rows] if table else []
    told = [(str(row.get("benchmark")), row.get("documents")) for row in rows]
    return {name: count for name, count in told if isinstance(count, int)}


def _merge(stored: Evaluation, again: Evaluation) -> Evaluation:
    measured = {benchmark.name: benchmark for benchmark in again.benchmarks}
    return dataclasses.replace(
        stored,
        benchmarks=tuple(measured.get(benchmark.name, benchmark) for benchmark in stored.benchmarks),
        arrays={**stored.arrays, **again.arrays},
    )
