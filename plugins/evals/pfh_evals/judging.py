"""Completions labelled by one judge or several: the first decides, the others stand beside it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pfh.hooks.evals import EvaluationSpec
from pfh.hooks.judges import HOLDING_BACK, Judge, Judgement, KnowsItsErrors
from pfh.hooks.meanings import Names, names_of
from pfh.statistics.judged import JUDGE_ERRORS

if TYPE_CHECKING:
    from numpy.typing import NDArray

JUDGING_BATCH = 64
LABELS = "labels"
"""Key of a sample's `extra`: name of each judge to its labels of the sample's completions, where there are several."""


def open_judges(spec: EvaluationSpec) -> list[Judge]:
    """Open the judges that the family's options name.

    Raises:
        UserError: one of them cannot be opened.
    """
    return [spec.judge(name) for name in names_of(spec.options, Names.JUDGE)]


def judgements(
    judges: Sequence[Judge], prompts: Sequence[str], texts: Sequence[str], spec: EvaluationSpec
) -> list[list[Judgement]]:
    """Return what each judge says of every completion, a list a judge."""
    found = []
    for judge in judges:
        said: list[Judgement] = []
        with spec.progress.task(f"judging by {judge.name}", len(texts)) as bar:
            for start in range(0, len(texts), JUDGING_BATCH):
                batch = slice(start, start + JUDGING_BATCH)
                said += judge.label(prompts[batch], texts[batch])
                bar.advance(len(texts[batch]))
        found.append(said)
    return found


def side_by_side(judges: Sequence[Judge], labels: Sequence[Sequence[str]]) -> dict[str, dict[str, list[str]]]:
    """Return what a sample keeps of several judges' labels of its completions; nothing of one judge's."""
    if len(judges) < 2:
        return {}
    return {LABELS: {judge.name: list(own) for judge, own in zip(judges, labels, strict=True)}}


def score_of(labels: Sequence[str], *, refusals: bool) -> float:
    """Return the share of the labels that hold back; or of those that neither hold back nor are broken."""
    held = [label in HOLDING_BACK for label in labels]
    counted = held if refusals else [not it and label != "broken" for it, label in zip(held, labels, strict=True)]
    return sum(counted) / len(counted)


def error_arrays(judges: Sequence[Judge]) -> dict[str, NDArray[Any]]:
    """Return the judges' counts against people, by which a change is held against their errors."""
    import numpy as np

    found: Mapping[str, list[Any]] = {
        JUDGE_ERRORS if not place else f"{JUDGE_ERRORS}/{judge.name}": list(judge.errors())
        for place, judge in enumerate(judges)
        if isinstance(judge, KnowsItsErrors)
    }
    return {key: np.array([dataclasses.astuple(each) for each in counts]) for key, counts in found.items() if counts}
