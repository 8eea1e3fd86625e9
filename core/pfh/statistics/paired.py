"""What changed between two evaluations of the same samples, and whether it is more than noise.

There is one way from scores to a `Comparison`: a matrix of seeds by documents (`pfh.statistics.matrices`), its mean
change with test and interval (`pfh.statistics.change`), and the verdict (`pfh.statistics.verdicts`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from pfh.hooks.comparison import CategoryComparison, Comparison, IntervalMethod
from pfh.hooks.evaluation import Benchmark, Evaluation
from pfh.statistics.adjustment import adjust, adjust_family
from pfh.statistics.change import Change, finite, is_binary, mean_change
from pfh.statistics.judged import held_against_judge
from pfh.statistics.matrices import Pair, PairedScores, paired_benchmarks, paired_samples, paired_scores
from pfh.statistics.transitions import Transitions, transitions
from pfh.statistics.verdicts import CONFIDENCE, SIGNIFICANCE, with_margin

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = [
    "CONFIDENCE",
    "MINIMUM_PAIRS",
    "RESAMPLES",
    "SIGNIFICANCE",
    "adjust",
    "adjust_family",
    "compare_evaluations",
    "compare_seeds",
    "effect_size",
    "is_binary",
    "paired_benchmarks",
    "paired_interval",
    "paired_p_value",
    "paired_samples",
]


MINIMUM_PAIRS = 2


RESAMPLES = 10_000
"""Draws of a bootstrap, where a figure has no interval of its own."""


def compare_evaluations(
    before: Evaluation, after: Evaluation, *, margin: float | None = None
) -> tuple[Comparison, ...]:
    """Compare a family's benchmarks pair by pair and adjust the p-values over the whole family.

    A comparative benchmark has no row where it was measured both times: the family's own tables tell of it.

    Args:
        before: the family before.
        after: the family after.
        margin: the largest change that counts as none, of scores between 0 and 1; None is the default of
            `pfh.statistics.verdicts.chosen_margin`, as it is for other scores.
    """
    return compare_seeds([(before, after)], margin=margin)


def compare_seeds(
    pairs: Sequence[tuple[Evaluation, Evaluation]], *, margin: float | None = None
) -> tuple[Comparison, ...]:
    """Compare a family that was measured before and after under several seeds, on the documents that all have.

    Means, transitions and counts are over all samples. Where every seed has models of its own, test and interval tell
    of other seeds and other documents. Where the same two models were sampled under several seeds, which the
    fingerprints say, no variance lies between seeds, and test and interval are those of each document's mean.

    Args:
        pairs: evaluations before and after, one pair a seed.
        margin: as in `compare_evaluations`.
    """
    named = [[{each.name: each for each in evaluation.benchmarks} for evaluation in pair] for pair in pairs]
    rows = []
    for first in pairs[0][0].benchmarks:
        found = [(before.get(first.name), after.get(first.name)) for before, after in named]
        if not _is_told_elsewhere(first, found[0][1]):
            row = _compare(first, found, margin, one_model=_same_models(pairs))
            rows.append(held_against_judge(row, pairs[0][0].arrays))
    return adjust_family(rows)


def paired_interval(
    before: NDArray[np.float64], after: NDArray[np.float64], *, clusters: Sequence[object] | None = None
) -> tuple[float, float, IntervalMethod]:
    """Return a 95% interval of mean(after - before), and how it was made."""
    change = mean_change(before, after, clusters)
    return *change.interval(CONFIDENCE), _method(change)


def paired_p_value(
    before: NDArray[np.float64], after: NDArray[np.float64], *, clusters: Sequence[object] | None = None
) -> float:
    """Return the two-sided p-value of no change in the mean."""
    return mean_change(before, after, clusters).p_value


def effect_size(before: NDArray[np.float64], after: NDArray[np.float64]) -> float:
    """Return Cohen's h for binary scores, d_z (mean difference over its standard deviation) for others."""
    if is_binary(before) and is_binary(after):
        return float(2 * np.arcsin(np.sqrt(after.mean())) - 2 * np.arcsin(np.sqrt(before.mean())))
    spread = float((after - before).std(ddof=1))
    return float((after - before).mean()) / spread if spread else 0.0


def _same_models(pairs: Sequence[tuple[Evaluation, Evaluation]]) -> bool:
    models = [tuple(evaluation.model for evaluation in pair) for pair in pairs]
    return all(models[0]) and len(set(models)) == 1


def _is_told_elsewhere(before: Benchmark, after: Benchmark | None) -> bool:
    return before.comparative and after is not None and before.status == after.status == "MEASURED"


def _compare(
    first: Benchmark,
    found: Sequence[tuple[Benchmark | None, Benchmark | None]],
    margin: float | None,
    *,
    one_model: bool,
) -> Comparison:
    row = Comparison(
        benchmark=first.name,
        version=first.version,
        metric=first.metric,
        higher_is_better=first.higher_is_better,
        judge=first.judge,
        source=first.source,
        status=first.status,
        reason=first.reason,
        same_documents_as=first.same_documents_as,
    )
    if first.status != "MEASURED":
        later = found[0][1]
        differs = later is not None and later.status != "MEASURED" and later.reason != first.reason
        return replace(row, reason=f"{first.reason}; after: {later.reason}") if later and differs else row
    if found[0][1] is None:
        return replace(row, status="NOT_RUN", reason="measured before, absent after")
    for before, after in found:
        if before is None or after is None or before.status != "MEASURED":
            return replace(row, status="NOT_RUN", reason="not measured under every seed")
        if after.status != "MEASURED":
            why = after.reason if len(found) == 1 else "not measured under every seed"
            return replace(row, status=after.status if len(found) == 1 else "NOT_RUN", reason=why)
        for what in ("version", "metric", "judge"):
            old, new = getattr(before, what), getattr(after, what)
            if old != new:
                told = (
                    f"judged by {old} before, by {new} after"
                    if what == "judge"
                    else f"{what} {old} before, {new} after"
                )
                return replace(row, status="ERROR", reason=told)
    by_seed = [paired_samples(before, after) for before, after in found if before and after]
    return _with_figures(row, by_seed, margin, one_model=one_model)


def _with_figures(
    row: Comparison, by_seed: Sequence[Sequence[Pair]], margin: float | None, *, one_model: bool
) -> Comparison:
    scores = paired_scores(by_seed)
    seen, complete = scores.seen(), scores.complete()
    if complete.before.shape[1] < MINIMUM_PAIRS:
        of = len(by_seed[0])
        return replace(
            row,
            status="INSUFFICIENT",
            n=complete.before.size,
            reason=f"{complete.before.shape[1]} of {of} samples were scored both times"
            f"{' under every seed' if len(by_seed) > 1 else ''}, and a comparison takes {MINIMUM_PAIRS}",
        )
    x, y = complete.before, complete.after
    change = _change(complete, one_model=one_model)
    low, high = change.interval(CONFIDENCE)
    shares = forgetting(complete, row.higher_is_better)
    every = [pair for pairs in by_seed for pair in pairs]
    several = len(by_seed) > 1 and change.counts is not None
    row = replace(
        row,
        seeds=len(by_seed),
        n=x.size,
        before=float(x.mean()),
        after=float(y.mean()),
        delta=float((y - x).mean()),
        ci_low=low,
        ci_high=high,
        ci_method=_method(change),
        n10=change.counts.lost if change.counts else None,
        n01=change.counts.gained if change.counts else None,
        n10_every_seed=int(np.all(y < x, axis=0).sum()) if several else None,
        n01_every_seed=int(np.all(y > x, axis=0).sum()) if several else None,
        p_value=change.p_value,
        clusters=change.clusters if change.clusters < x.shape[1] else x.size,
        documents=seen.before.size,
        scored_before=int(np.isfinite(seen.before).sum()),
        scored_after=int(np.isfinite(seen.after).sum()),
        forgetting=shares.forgetting if shares else None,
        backward_transfer=shares.backward_transfer if shares else None,
        forgetting_corrected=shares.forgetting_corrected if shares else None,
        backward_transfer_corrected=shares.backward_transfer_corrected if shares else None,
        forgetting_ceiling=shares.forgetting_ceiling if shares else None,
        backward_transfer_ceiling=shares.backward_transfer_ceiling if shares else None,
        effect_size=effect_size(x.mean(axis=0), y.mean(axis=0)),
        format_failures_before=sum(sample.status == "format_failure" for sample, _ in every),
        format_failures_after=sum(sample.status == "format_failure" for _, sample in every),
        truncated_before=sum(sample.cut for sample, _ in every),
        truncated_after=sum(sample.cut for _, sample in every),
        categories=_by_category(seen, row.higher_is_better, one_model=one_model),
    )
    worst = (
        [_change(filled, one_model=one_model) for filled in seen.filled()] if seen.before.size > x.size else [change]
    )
    return with_margin(_with_bounds(row, seen, worst), change, worst, complete.before, margin)


def _with_bounds(row: Comparison, seen: PairedScores, worst: Sequence[Change]) -> Comparison:
    """Return the row with what the missing scores may hide; as it is where none is missing."""
    if len(worst) == 1:
        return row
    scored = mean_change(
        np.isfinite(seen.before).astype(float), np.isfinite(seen.after).astype(float), list(seen.clusters)
    )
    return replace(
        row,
        worst_low=worst[0].estimate,
        worst_high=worst[1].estimate,
        p_worst=_worst_p(row.p_value or 0.0, worst),
        scored_p=scored.p_value,
    )


def _worst_p(p_value: float, worst: Sequence[Change]) -> float:
    """Return the p-value that holds whatever the missing scores are: 1 where they decide the direction."""
    one_way = all(each.estimate > 0 for each in worst) or all(each.estimate < 0 for each in worst)
    return max(p_value, *(each.p_value for each in worst)) if one_way else 1.0


def _change(scores: PairedScores, *, one_model: bool) -> Change:
    """Return the mean change of scores without gaps; of one model the seeds are repetitions of every document."""
    return mean_change(scores.before, scores.after, scores.clusters, crossed=not one_model)


def _method(change: Change) -> IntervalMethod:
    if change.counts is not None:
        return "Tango" if change.independent else "clustered Tango"
    return "t" if change.independent else "clustered t"


def _by_category(
    scores: PairedScores, higher_is_better: bool | None, *, one_model: bool
) -> tuple[CategoryComparison, ...]:
    found = []
    for name in sorted(set(scores.categories) - {""}):
        members = scores.of_category(name)
        complete = members.complete()
        if complete.before.size:
            found.append(_category(name, members, complete, higher_is_better, one_model=one_model))
    return tuple(found)


def _category(
    name: str, members: PairedScores, complete: PairedScores, higher_is_better: bool | None, *, one_model: bool
) -> CategoryComparison:
    change = _change(complete, one_model=one_model)
    low, high = finite(*change.interval(CONFIDENCE))
    shares = forgetting(complete, higher_is_better)
    p_value = change.p_value
    if members.before.size > complete.before.size:
        p_value = _worst_p(p_value, [_change(filled, one_model=one_model) for filled in members.filled()])
    return CategoryComparison(
        category=name,
        n=complete.before.size,
        before=float(complete.before.mean()),
        after=float(complete.after.mean()),
        delta=change.estimate,
        ci_low=low,
        ci_high=high,
        n10=change.counts.lost if change.counts else None,
        n01=change.counts.gained if change.counts else None,
        p_value=p_value,
        p_adjusted=p_value,
        forgetting=shares.forgetting if shares else None,
        backward_transfer=shares.backward_transfer if shares else None,
        forgetting_corrected=shares.forgetting_corrected if shares else None,
        backward_transfer_corrected=shares.backward_transfer_corrected if shares else None,
    )


def forgetting(scores: PairedScores, higher_is_better: bool | None) -> Transitions | None:
    """Return what was forgotten and gained; None for scores that are not binary or of which 1 is not the good one."""
    if higher_is_better is not True or not (is_binary(scores.before) and is_binary(scores.after)):
        return None
    return transitions(scores.before.ravel(), scores.after.ravel(), scores.choices * scores.seeds)
