"""`--match`: compare methods where they gained the same on one family, at checkpoints along the way."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING

from pfh.commands.measuring import measured
from pfh.commands.subjects import Subject, model_subject
from pfh.errors import StepFailedError
from pfh.hooks.launchers import Match
from pfh.results.records import AlongRecord, MatchRecord
from pfh.statistics.paired import compare_evaluations
from pfh.steps.evaluation import Question
from pfh.steps.session import Session

if TYPE_CHECKING:
    from pfh.hooks.evaluation import Evaluation
    from pfh.steps.training import KeptAlong, TrainedStage


def at_equal_gain(
    match: Match, trained: TrainedStage, session: Session, questions: Sequence[Question], before: Subject
) -> tuple[TrainedStage, MatchRecord]:
    """Return the stage as it was when it had gained what `match` asks for, and the way there.

    Checkpoints are measured in their order, up to the first that reaches the gain; without one asked for, all are
    measured and the stage stays as it ended. So it does where the gain is never reached.

    Raises:
        StepFailedError: the family could not be measured, or the method kept no checkpoints.
    """
    if not trained.along:
        raise StepFailedError(
            f"--match {match.family}: the method kept no checkpoints along the way (it does not train with "
            "pfh.kit.training.train_resumably); leave --match out, what was trained is kept."
        )
    asked = [question for question in questions if question.family == match.family]
    points: list[AlongRecord] = []
    found: KeptAlong | None = None
    for kept in trained.along:
        name = kept.checkpoint.name
        subject = measured(model_subject(name, kept.checkpoint, name), session, asked, against=before)
        gain = gain_in_points(
            before.families[match.family].evaluation, subject.families[match.family].evaluation, match.family
        )
        points.append(
            AlongRecord(**vars(kept.cost), gain=gain, path=str(kept.checkpoint.adapter or kept.checkpoint.path))
        )
        session.progress.say(f"update {kept.cost.update}: {gain:+.1f} points on {match.family}")
        if match.gain is not None and gain >= match.gain:
            found = kept
            break
    record = MatchRecord(
        family=match.family, wanted=match.gain, along=tuple(points), matched=found.cost.update if found else None
    )
    if found is not None:
        trained = dataclasses.replace(trained, checkpoint=found.checkpoint)
    return dataclasses.replace(trained, notes=(*trained.notes, _told(record, trained.along[-1].cost.update))), record


def gain_in_points(before: Evaluation, after: Evaluation, family: str) -> float:
    """Return the mean change of a family's benchmarks towards the good, each counted once, in points.

    Only shares have points: a loss or a length counts for nothing here.

    Raises:
        StepFailedError: no benchmark that scores 0 or 1 has a figure.
    """
    changes = [
        row.delta if row.higher_is_better else -row.delta
        for row in compare_evaluations(before, after)
        if row.delta is not None
        and row.n10 is not None
        and row.higher_is_better is not None
        and not row.same_documents_as
    ]
    if not changes:
        raise StepFailedError(
            f"--match {family}: no benchmark of {family} that scores 0 or 1 was scored both before and after, so there "
            "is no gain to match; see why with pfh eval, or leave --match out."
        )
    return 100 * sum(changes) / len(changes)


def _told(record: MatchRecord, last: int) -> str:
    best = max(record.along, key=lambda point: point.gain)
    if record.wanted is None:
        return (
            f"Along the way {len(record.along)} checkpoints were measured on {record.family}: the best, of update "
            f"{best.update}, gained {best.gain:+.1f} points. Compared is the model as it ended."
        )
    if record.matched is None:
        return (
            f"Warning: no checkpoint gained {record.wanted:+g} points on {record.family}; the best, of update "
            f"{best.update}, gained {best.gain:+.1f}. Compared is the model as it ended."
        )
    point = record.along[-1]
    return (
        f"Compared is the checkpoint of update {point.update} of {last}, the first that gained {record.wanted:+g} "
        f"points on {record.family} ({point.gain:+.1f}); by then the stage had spent {point.device_seconds:,.0f} "
        f"device seconds, {point.tokens:,} tokens trained on and {point.flops:.2g} FLOPs. It was chosen by the scores "
        f"that it is compared by, so its gain on {record.family} is somewhat optimistic. What was spent is told of the "
        "whole training."
    )
