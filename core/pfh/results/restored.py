"""A run of several stages: what the last one restored of what was lost before it, and what it only masked.

Sample by sample: of those that the start answered right and the model before the last stage did not, how many are right
again, and whether that is more than the stage gains anywhere. Where the family `representation` was measured, whether
the inside of the model came nearer to the start as well: if it did not, what looks restored is a new answer to the same
questions, laid over a change that is still there.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from pfh.hooks.evaluation import Benchmark
from pfh.hooks.tables import Cell, Quantity, Table
from pfh.results.records import FamilyRecord, StageRecord
from pfh.results.stage_by_stage import PairsByStage
from pfh.results.verdict import stage_name
from pfh.statistics.change import mean_change
from pfh.statistics.single import score_interval

TITLE = "What the last stage restored"
COLUMNS = ("benchmark", "lost before it", "restored", "share restored", "gained of what was never right", "newly lost")
NOTE = (
    "Of the samples scored 0 or 1 of which 1 is good. Lost: right at the start, wrong before the last stage. Restored: "
    "right again after it. Where the share restored is no higher than the share gained of the samples that were right "
    "neither at the start nor before, the stage teaches as much anywhere, and nothing speaks for a recovery of what "
    "was there. Newly lost: right at the start and before the stage, wrong after it. Intervals are Wilson's, 95%."
)
INSIDE = "Whether the inside came back"
INSIDE_COLUMNS = ("benchmark", "distance before the stage", "distance after it", "change of the distance", "nearer")
INSIDE_NOTE = (
    "The mean distance of each sample's figure from the start's, before and after the last stage, with the 95% "
    "interval of its change. Nearer to the start: the interval lies below 0."
)
REPRESENTATION = "representation"
FEWEST = 5
"""Samples; of fewer that were lost no sentence is made."""


@dataclass(frozen=True, kw_only=True)
class Restored:
    """What became of a benchmark's samples in the last stage."""

    benchmark: str
    lost: int
    """Right at the start, wrong before the last stage."""
    restored: int
    """Right again after it."""
    never: int
    """Right neither at the start nor before the last stage."""
    gained: int
    """Of those, right after it."""
    newly: int
    """Right at the start and before the last stage, wrong after it."""

    @property
    def share(self) -> Quantity | None:
        """Share of the lost that was restored."""
        return _share(self.restored, self.lost)

    @property
    def elsewhere(self) -> Quantity | None:
        """Share gained of what was never right."""
        return _share(self.gained, self.never)


def add_restored(stages: Sequence[StageRecord], pairs: PairsByStage) -> tuple[StageRecord, ...]:
    """Return `stages`, the last one's families with what it restored; a single stage is returned as it is.

    Args:
        stages: a run's, in their order.
        pairs: their samples.
    """
    if len(stages) < 2:
        return tuple(stages)
    last = len(stages) - 1
    before, after = stage_name(stages[-2]), stage_name(stages[-1])
    inside = _inside(pairs, last)
    families = tuple(
        _with_inside(record, inside)
        if record.family == REPRESENTATION
        else _with_restored(record, pairs, last, (before, after), inside)
        for record in stages[-1].families
    )
    return (*stages[:-1], stages[-1].model_copy(update={"families": families}))


def _with_restored(
    record: FamilyRecord, pairs: PairsByStage, last: int, names: tuple[str, str], inside: Sequence[Inside]
) -> FamilyRecord:
    found = [each for each in _restored(pairs, record.family, last) if each.lost or each.newly]
    if not found:
        return record
    rows: list[tuple[Cell, ...]] = [
        (each.benchmark, each.lost, each.restored, each.share, each.elsewhere, each.newly) for each in found
    ]
    table = Table(title=TITLE, columns=COLUMNS, rows=tuple(rows), note=NOTE)
    findings = (*record.findings, *_sentences(found, names, inside))
    return record.model_copy(update={"tables": (*record.tables, table), "findings": findings})


def _restored(pairs: PairsByStage, family: str, last: int) -> Iterator[Restored]:
    earlier = {after.name: after for _, after in pairs.get((last - 1, family), ())}
    for start, after in pairs.get((last, family), ()):
        before = earlier.get(start.name)
        if before is None or start.higher_is_better is None or start.comparative or start.same_documents_as:
            continue
        scores = [_good(each) for each in (start, before, after)]
        common = [name for name in scores[0] if name in scores[1] and name in scores[2]]
        if not common or any(score[name] not in (0, 1) for score in scores for name in common):
            continue
        counted = [tuple(int(score[name]) for score in scores) for name in common]
        yield Restored(
            benchmark=start.name,
            lost=sum(was and not then for was, then, _ in counted),
            restored=sum(was and not then and now for was, then, now in counted),
            never=sum(not was and not then for was, then, _ in counted),
            gained=sum(not was and not then and now for was, then, now in counted),
            newly=sum(was and then and not now for was, then, now in counted),
        )


def _good(benchmark: Benchmark) -> dict[str, float]:
    """Return the scores turned so that 1 is good."""
    turned = benchmark.higher_is_better
    return {
        sample.id: sample.score if turned else 1 - sample.score
        for sample in benchmark.samples
        if sample.score is not None
    }


def _share(count: int, of: int) -> Quantity | None:
    if not of:
        return None
    low, high, _ = score_interval(np.array([1.0] * count + [0.0] * (of - count)))
    return Quantity(value=count / of, unit="share", low=low, high=high)


@dataclass(frozen=True, kw_only=True)
class Inside:
    """How far the inside of the model is from the start by one figure, before and after the last stage."""

    benchmark: str
    before: float
    after: float
    low: float
    """Of after - before, at 95%."""
    high: float

    @property
    def nearer(self) -> bool:
        """Say whether the last stage brought it nearer to the start."""
        return self.high < 0


def _inside(pairs: PairsByStage, last: int) -> list[Inside]:
    earlier = {after.name: after for _, after in pairs.get((last - 1, REPRESENTATION), ())}
    found = []
    for start, after in pairs.get((last, REPRESENTATION), ()):
        before = earlier.get(start.name)
        if before is None or start.comparative:
            continue
        scores = [{s.id: s.score for s in each.samples if s.score is not None} for each in (start, before, after)]
        common = [name for name in scores[0] if name in scores[1] and name in scores[2]]
        if len(common) < FEWEST:
            continue
        then, now = (np.array([abs(score[name] - scores[0][name]) for name in common]) for score in scores[1:])
        if not then.any():  # nothing had moved that could come back
            continue
        low, high = mean_change(then, now).interval(0.95)
        found.append(
            Inside(benchmark=start.name, before=float(then.mean()), after=float(now.mean()), low=low, high=high)
        )
    return found


def _with_inside(record: FamilyRecord, inside: Sequence[Inside]) -> FamilyRecord:
    if not inside:
        return record
    rows: list[tuple[Cell, ...]] = [
        (
            each.benchmark,
            Quantity(value=each.before, unit="number"),
            Quantity(value=each.after, unit="number"),
            Quantity(value=each.after - each.before, unit="difference", low=each.low, high=each.high),
            "yes" if each.nearer else "no",
        )
        for each in inside
    ]
    table = Table(title=INSIDE, columns=INSIDE_COLUMNS, rows=tuple(rows), note=INSIDE_NOTE)
    return record.model_copy(update={"tables": (*record.tables, table)})


def _sentences(found: Sequence[Restored], names: tuple[str, str], inside: Sequence[Inside]) -> Iterator[str]:
    before, after = names
    back = False
    for each in found:
        share, elsewhere = each.share, each.elsewhere
        if each.lost < FEWEST or share is None or share.low is None or share.high is None:
            continue
        more = elsewhere is None or elsewhere.high is None or share.low > elsewhere.high
        back = back or (more and each.restored >= FEWEST)
        yield (
            f"{each.benchmark}: {after} restored {each.restored} of the {each.lost} samples that were lost after "
            f"{before} ({share.value:.0%} [{share.low:.0%}, {share.high:.0%}]); {each.lost - each.restored} are still "
            f"lost, {each.newly} more were lost."
            + ("" if more else " That is not known to be more than it gains of what was never right.")
        )
    if back and inside:
        came = [each.benchmark for each in inside if each.nearer]
        stayed = ", ".join(each.benchmark for each in inside)
        yield (
            f"Inside, {after} brought {', '.join(came)} nearer to the start."
            if came
            else f"Inside, {after} brought nothing nearer to the start ({stayed}): "
            "what it restored in the answers masks a change that is still there."
        )
