"""One benchmark family put to one model."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

from pfh.hooks.checkpoint import Checkpoint
from pfh.hooks.evals import EvaluationSpec, Reference
from pfh.hooks.evaluation import Evaluation
from pfh.hooks.meanings import Names, Wants, declares, name_of
from pfh.steps.domains import OpenDomain
from pfh.steps.session import Session
from pfh.store.evaluations import read_evaluation, write_evaluation
from pfh.store.journal import JournaledEngine
from pfh.store.store import Artifact

if TYPE_CHECKING:
    from pydantic import BaseModel

    from pfh.registry.catalogue import Kind


def evaluate_family(
    session: Session,
    checkpoint: Checkpoint,
    family: str,
    *,
    benchmarks: tuple[str, ...],
    options: BaseModel | None,
    ground: OpenDomain | None,
    limit: int | None,
    seed: int,
    reference: Reference | None = None,
) -> tuple[Artifact, Evaluation]:
    """Put one benchmark family to one model; benchmarks that could not run last time are tried again.

    The judge that an option names, the domain and the reference, if the options want them, enter the key.
    """
    plugin = session.plugins.load("evals", family)
    chosen = options.model_dump(mode="json") if options else {}
    domain = ground.domain if ground and declares(options, Wants.DOMAIN) else None
    against = reference if declares(options, Wants.REFERENCE) else None
    judge = name_of(options, Names.JUDGE)
    used: list[tuple[Kind, str]] = [("evals", family)]
    used += [("judges", judge)] if judge else []
    used += [("domains", ground.name)] if ground and domain else []
    inputs = {
        "family": plugin.code_version,
        "benchmarks": benchmarks,
        "options": chosen,
        "judge": session.judge_inputs(judge) if judge else {},
        "domain": ground.identity(session.plugins) if ground and domain else {},
        "limit": limit,
        "seed": seed,
        "model": checkpoint.fingerprint,
        "environment": session.environment(checkpoint, plugins=used),
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


def _merge(stored: Evaluation, again: Evaluation) -> Evaluation:
    measured = {benchmark.name: benchmark for benchmark in again.benchmarks}
    return dataclasses.replace(
        stored,
        benchmarks=tuple(measured.get(benchmark.name, benchmark) for benchmark in stored.benchmarks),
        arrays={**stored.arrays, **again.arrays},
    )
