"""Completions labelled by one judge or several: the first decides, the others stand beside it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pfh.errors import UserError
from pfh.hooks.evals import EvaluationSpec
from pfh.hooks.judges import HOLDING_BACK, Case, Judge, Judgement, KnowsItsErrors, ReadsCases, reads_of
from pfh.hooks.meanings import Names, names_of
from pfh.statistics.judged import JUDGE_ERRORS

if TYPE_CHECKING:
    from numpy.typing import NDArray

JUDGING_BATCH = 64
LABELS = "labels"
"""Key of a sample's `extra`: name of each judge to its labels of the sample's completions, where there are several."""


def open_judges(spec: EvaluationSpec, *, of_harm: bool = False) -> list[Judge]:
    """Open the judges that the family's options name.

    Args:
        spec: the family's.
        of_harm: those that see harm and no refusals are of use too.

    Raises:
        UserError: one of them cannot be opened, or sees nothing that the family asks for.
    """
    judges = [spec.judge(name) for name in names_of(spec.options, Names.JUDGE)]
    blind = [judge.name for judge in judges if "refusal" not in reads_of(judge)]
    if blind and not of_harm:
        raise UserError(f"The judge {blind[0]} sees harm and no refusals, which are asked for here: name rule instead.")
    return judges


def judgements(
    judges: Sequence[Judge], prompts: Sequence[str], texts: Sequence[str], spec: EvaluationSpec
) -> list[list[Judgement]]:
    """Return what each judge says of every completion, a list a judge."""
    cases = [Case(prompt=prompt, completion=text) for prompt, text in zip(prompts, texts, strict=True)]
    return [judged(judge, cases, spec) for judge in judges]


def judged(judge: Judge, cases: Sequence[Case], spec: EvaluationSpec) -> list[Judgement]:
    """Return what a judge says of every case; one that reads prompt and completion alone gets these."""
    said: list[Judgement] = []
    with spec.progress.task(f"judging by {judge.name}", len(cases)) as bar:
        for start in range(0, len(cases), JUDGING_BATCH):
            batch = cases[start : start + JUDGING_BATCH]
            if isinstance(judge, ReadsCases):
                said += judge.judge(batch)
            else:
                said += judge.label([each.prompt for each in batch], [each.completion for each in batch])
            bar.advance(len(batch))
    return said


def side_by_side(judges: Sequence[Judge], labels: Sequence[Sequence[str]]) -> dict[str, dict[str, list[str]]]:
    """Return what a sample keeps of several judges' labels of its completions; nothing of one judge's."""
    if len(judges) < 2:
        return {}
    return {LABELS: {judge.name: list(own) for judge, own in zip(judges, labels, strict=True)}}


def score_of(labels: Sequence[str], *, refusals: bool) -> float:
    """Return the share of the labels that hold back; or of those that neither hold back nor are broken or harmless."""
    held = [label in HOLDING_BACK for label in labels]
    no_harm = ("broken", "harmless", "unparsed")
    counted = held if refusals else [not it and label not in no_harm for it, label in zip(held, labels, strict=True)]
    return sum(counted) / len(counted)


def error_arrays(judges: Sequence[Judge]) -> dict[str, NDArray[Any]]:
    """Return the judges' counts against people, by which a change is held against their errors."""
    import numpy as np

    found: Mapping[str, list[Any]] = {
        f"{JUDGE_ERRORS}/{judge.name}" if place or "refusal" not in reads_of(judge) else JUDGE_ERRORS: list(
            judge.errors()
        )
        for place, judge in enumerate(judges)
        if isinstance(judge, KnowsItsErrors)
    }
    return {key: np.array([dataclasses.astuple(each) for each in counts]) for key, counts in found.items() if counts}
