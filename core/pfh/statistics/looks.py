"""Benchmarks that are compared as their samples come: the evidence at a look, and what it decides.

Evidence is looked at between batches of samples. As it does not depend on their order within one, none is kept.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from pfh.hooks.comparison import CategoryComparison, Comparison, Looked
from pfh.hooks.evaluation import Benchmark, Evaluation
from pfh.statistics.matrices import Pair, paired_benchmarks, paired_samples
from pfh.statistics.sequential import e_bh, flips, interval, wealth
from pfh.statistics.verdicts import MARGIN, verdict

if TYPE_CHECKING:
    from numpy.typing import NDArray

FIRST_LOOK = 50
"""Documents of a benchmark before the first look."""
GROWTH = 1.5
"""How many times as many each further look is at."""


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What the samples of a benchmark tell so far."""

    change: float
    """E-value against no change."""
    margin: float
    """E-value against a change as large as the margin, of the direction that has less."""


@dataclass(frozen=True, kw_only=True)
class Decided:
    """What e-BH over the benchmarks of a family decides of one of them."""

    changed: bool
    within_margin: bool

    @property
    def ends(self) -> bool:
        """Say whether no further sample is needed."""
        return self.changed or self.within_margin


def can_stop(before: Benchmark, after: Benchmark) -> bool:
    """Say whether a comparison of the two can stop early: of scores within 0 and 1 of which one direction is good."""
    if before.status != "MEASURED" or after.status != "MEASURED" or before.comparative or before.same_documents_as:
        return False
    scores = [each.score for benchmark in (before, after) for each in benchmark.samples if each.score is not None]
    return before.higher_is_better is not None and all(0 <= score <= 1 for score in scores)


def evidence(before: Benchmark, after: Benchmark, margin: float | None) -> Evidence:
    """Return what the common samples of a benchmark tell; `margin` is that of scores within 0 and 1."""
    return evidence_of(differences(paired_samples(before, after), before.higher_is_better), margin)


def decided(found: Mapping[str, Evidence], level: float) -> dict[str, Decided]:
    """Return what is decided of each benchmark, of all of them with at most a share `level` falsely.

    What was decided once stays so while its evidence stays: others can only add to the ranks.
    """
    changed = e_bh([each.change for each in found.values()], level)
    within = e_bh([each.margin for each in found.values()], level)
    return {
        name: Decided(changed=first, within_margin=second)
        for name, first, second in zip(found, changed, within, strict=True)
    }


def with_looks(
    rows: Sequence[Comparison], before: Evaluation, after: Evaluation, *, level: float, margin: float | None
) -> tuple[Comparison, ...]:
    """Return the rows of a family with figures that hold although the comparison could stop at every look."""
    pairs = {x.name: (x, y) for x, y in paired_benchmarks(before, after)}
    able = [row for row in rows if row.status == "MEASURED" and can_stop(*pairs[row.benchmark])]
    found = {row.benchmark: evidence(*pairs[row.benchmark], margin) for row in able}
    outcome = decided(found, level)
    adjusted = _adjusted([each.change for each in found.values()])
    changed = {}
    for row, p_adjusted in zip(able, adjusted, strict=True):
        x, y = pairs[row.benchmark]
        told = found[row.benchmark]
        low, high = interval(differences(paired_samples(x, y), True), level)
        new = replace(
            row,
            ci_low=low,
            ci_high=high,
            ci_method="betting",
            p_value=_p_of(told.change),
            p_adjusted=p_adjusted,
            p_worst=None,
            margin=MARGIN if margin is None else margin,
            margin_low=None,
            margin_high=None,
            looked=Looked(
                level=level,
                out_of=y.out_of or x.out_of,
                e_change=told.change,
                e_margin=told.margin,
                within_margin=outcome[row.benchmark].within_margin,
            ),
            categories=tuple(_category(each, x, y, level, margin) for each in row.categories),
        )
        changed[row.benchmark] = replace(new, verdict=verdict(new))
    return tuple(changed.get(row.benchmark, row) for row in rows)


def differences(pairs: Iterable[Pair], higher_is_better: bool | None) -> NDArray[np.float64]:
    """Return after - before of every independent document, above 0 where it is better; the mean of a cluster."""
    clusters: dict[str, list[float]] = {}
    sign = -1.0 if higher_is_better is False else 1.0
    for x, y in pairs:
        if x.score is not None and y.score is not None:
            clusters.setdefault(x.cluster or f"document {x.id}", []).append(sign * (y.score - x.score))
    return np.array([np.mean(values) for values in clusters.values()], dtype=np.float64)


def evidence_of(changes: NDArray[np.float64], margin: float | None) -> Evidence:
    """Return what differences of independent documents, within [-1, 1], tell."""
    if not len(changes):
        return Evidence(change=1.0, margin=1.0)
    chosen = MARGIN if margin is None else margin
    if np.isin(changes, (-1.0, 0.0, 1.0)).all():
        change = flips(int((changes < 0).sum()), int((changes > 0).sum()))
    else:
        change = (wealth(changes, 0.0) + wealth(-changes, 0.0)) / 2
    return Evidence(change=change, margin=min(wealth(changes, -chosen), wealth(-changes, -chosen)))


def _category(
    row: CategoryComparison, before: Benchmark, after: Benchmark, level: float, margin: float | None
) -> CategoryComparison:
    pairs = [pair for pair in paired_samples(before, after) if pair[0].category == row.category]
    changes = differences(pairs, True)
    low, high = interval(changes, level)
    p_value = _p_of(evidence_of(changes, margin).change)
    return replace(row, ci_low=low, ci_high=high, p_value=p_value, p_adjusted=p_value)


def _p_of(e_value: float) -> float:
    return min(1.0, 1 / e_value) if e_value > 0 else 1.0


def _adjusted(values: Sequence[float]) -> list[float]:
    """Return of each e-value the least level at which e-BH rejects its hypothesis."""
    from pfh.statistics.adjustment import adjust

    return adjust([_p_of(value) for value in values])
