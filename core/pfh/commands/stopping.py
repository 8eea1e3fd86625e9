"""`--stop-when`: a training looked at on documents that the run does not report, and stopped where it lost too much."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from pfh.commands.subjects import StoredFamily, Subject
from pfh.hooks.checkpoint import Checkpoint
from pfh.hooks.evaluation import Evaluation
from pfh.hooks.stopping import Look, StopWhen
from pfh.sources.models import resolve
from pfh.statistics.paired import paired_benchmarks
from pfh.statistics.stopping import exceeds
from pfh.steps.evaluation import Question, evaluate_family, evaluation_inputs
from pfh.steps.session import Session
from pfh.store.store import artifact_key


def probe(stop: StopWhen, questions: Sequence[Question]) -> Question:
    """Return what is asked at every look: the family's question, of few documents."""
    asked = next(question for question in questions if question.family == stop.family)
    return dataclasses.replace(asked, limit=stop.documents)


def stop_inputs(session: Session, start: Checkpoint, stop: StopWhen, questions: Sequence[Question]) -> dict[str, str]:
    """Return what a training's key says of when it is stopped."""
    asked = evaluation_inputs(session, start, probe(stop, questions))
    return {"rule": str(stop), "probe": artifact_key("evaluation", asked)}


def look_at(session: Session, start: Checkpoint, stop: StopWhen, questions: Sequence[Question]) -> Look:
    """Return what looks at a training: it measures the probe, compares it with the start, and says whether to stop."""
    asked = probe(stop, questions)

    def look(weights: Path, update: int) -> bool:
        _, before = evaluate_family(session, start, asked)
        found = dataclasses.replace(
            resolve(str(weights), cache_dir=session.store.cache),
            name=f"{start.name}@{update}",
            chat_template_kwargs=start.chat_template_kwargs,
        )
        _, after = evaluate_family(session, found, asked)
        session.release()
        losses = losses_of(before, after)
        stops, evidence = exceeds(losses, stop.points / 100, update // stop.every)
        mean = 100 * sum(losses) / max(len(losses), 1)
        session.progress.say(
            f"update {update}: {stop.family} lost {mean:+.1f} points on {len(losses)} documents, evidence "
            f"{evidence:.3g} that it is more than {stop.points:g}"
        )
        return stops

    return look


def losses_of(before: Evaluation, after: Evaluation) -> list[float]:
    """Return before - after of each document that both scored 0 or 1, above 0 where it is worse, in a fixed order."""
    found: dict[str, float] = {}
    for x, y in paired_benchmarks(before, after):
        if x.higher_is_better is None or x.comparative or x.same_documents_as:
            continue
        later = {sample.id: sample.score for sample in y.samples}
        sign = 1.0 if x.higher_is_better else -1.0
        for sample in x.samples:
            score = later.get(sample.id)
            if sample.score in (0, 1) and score in (0, 1):
                found[f"{x.name}/{sample.id}"] = sign * (float(sample.score or 0) - float(score or 0))
    order = sorted(found, key=lambda name: hashlib.sha256(name.encode()).digest())
    return [found[name] for name in order]


def probed(session: Session, start: Checkpoint, stop: StopWhen, questions: Sequence[Question]) -> dict[str, set[str]]:
    """Return the ids of the samples that the looks were taken on, by benchmark."""
    _, before = evaluate_family(session, start, probe(stop, questions))
    return {benchmark.name: {sample.id for sample in benchmark.samples} for benchmark in before.benchmarks}


def without(subject: Subject, family: str, ids: Mapping[str, Collection[str]]) -> Subject:
    """Return the subject without the samples that a training was stopped by."""
    held: StoredFamily = subject.families[family]
    benchmarks = tuple(
        dataclasses.replace(
            benchmark,
            samples=tuple(sample for sample in benchmark.samples if sample.id not in ids.get(benchmark.name, ())),
        )
        for benchmark in held.evaluation.benchmarks
    )
    kept = dataclasses.replace(held, evaluation=dataclasses.replace(held.evaluation, benchmarks=benchmarks))
    return dataclasses.replace(subject, families={**subject.families, family: kept})
