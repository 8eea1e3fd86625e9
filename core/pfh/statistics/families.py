"""The families of a run: first whether a family changed as a whole, then which of its benchmarks.

Adjusting within each family alone lets the chance of a false headline grow with the number of families. So families are
tested first, adjusted over the run; a benchmark counts only in a family that was found to change, at the level that is
left (Benjamini & Bogomolov 2014, JRSS B 76:297). Further metrics of documents that were counted (acc_norm beside acc, a
refusal margin beside its rate) go through the same in a line of their own: a family whose counted metrics did not
change does not silence them, and they add nothing to a headline.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from pfh.hooks.comparison import Comparison, FamilyChange
from pfh.statistics.adjustment import adjust, counted_p, first_line, further_line
from pfh.statistics.change import mid_p
from pfh.statistics.shrinkage import shrunken
from pfh.statistics.verdicts import CONFIDENCE, SIGNIFICANCE, verdict

SHRUNKEN_FROM = 4
"""From so many benchmarks on their estimates are shrunk towards each other."""


def adjust_run(
    families: Mapping[str, Sequence[Comparison]],
) -> dict[str, tuple[tuple[Comparison, ...], FamilyChange | None]]:
    """Return for each family its rows, their p-values and verdicts adjusted over the run, and its change as a whole.

    Args:
        families: name to rows that were adjusted within their family; a family without a measured row has no change.
    """
    whole = {name: family_change(rows) for name, rows in families.items()}
    counted = _levels({name: change.p_value for name, change in whole.items() if change is not None})
    further = _levels({name: _simes(line) for name, rows in families.items() if (line := further_line(rows))})
    found: dict[str, tuple[tuple[Comparison, ...], FamilyChange | None]] = {}
    for name, rows in families.items():
        change = whole[name]
        if change is None:
            found[name] = (tuple(rows), None)
            continue
        at_level = [_at_level(row, (further if row.same_documents_as else counted).get(name)) for row in rows]
        found[name] = (with_shrunken(at_level), replace(change, p_adjusted=counted[name].p_adjusted))
    return found


@dataclass(frozen=True, kw_only=True)
class _Level:
    """At which level the rows of one family are tested."""

    p_adjusted: float
    """That nothing changed in the family, adjusted over the families."""
    scale: float
    """What the p-values of its rows are multiplied by: families that were looked into for those found to change."""
    floor: float
    """Least p-value of its rows; none where no other family was tested."""


def _levels(p_values: Mapping[str, float]) -> dict[str, _Level]:
    """Return the level of each family from the p-values of the families."""
    adjusted = dict(zip(p_values, adjust(list(p_values.values())), strict=True))
    changed = sum(p <= SIGNIFICANCE for p in adjusted.values())
    return {
        name: _Level(
            p_adjusted=p,
            scale=len(adjusted) / changed if p <= SIGNIFICANCE else 1.0,
            floor=p if len(adjusted) > 1 else 0.0,
        )
        for name, p in adjusted.items()
    }


def family_change(rows: Sequence[Comparison]) -> FamilyChange | None:
    """Return how a family changed as a whole; None where no row of it was measured.

    Rows of scores of 0 and 1 with a good direction are pooled, each turned towards the good: over all their samples
    (for independent samples McNemar's test on the summed flips), and as the mean of the benchmarks. The p-value of the
    family is twice the smaller of the pooled one and Simes's over all its rows, so that changes either way count too.
    """
    counted = first_line(rows)
    if not counted:
        return None
    simes = _simes(counted)
    known = [row for row in counted if row.n10 is not None and row.higher_is_better is not None and row.standard_error]
    if len(known) < 2:
        return FamilyChange(benchmarks=len(counted), pooled=0, p_value=simes, p_adjusted=simes)
    changes = [_sign(row) * _change(row)[0] for row in known]
    variances = [_change(row)[1] ** 2 for row in known]
    weights = [row.n / sum(each.n for each in known) for row in known]
    pooled = math.fsum(weight * change for weight, change in zip(weights, changes, strict=True))
    error = math.sqrt(math.fsum(weight**2 * each for weight, each in zip(weights, variances, strict=True)))
    macro = math.fsum(changes) / len(changes)
    macro_error = math.sqrt(math.fsum(variances)) / len(changes)
    looked = any(row.looked is not None for row in counted)
    missing = looked or any(row.p_worst is not None for row in known)
    judged = _judged_ends(known, weights) if any(row.judge_low is not None for row in known) else (None, None)
    pooled_p = 1.0 if missing else _pooled_p(known, pooled, error)
    p_value = simes if looked else min(1.0, 2 * min(simes, pooled_p))  # a fixed test of what was stopped is none
    z = _quantile((1 + CONFIDENCE) / 2)
    return FamilyChange(
        benchmarks=len(counted),
        pooled=len(known),
        n=sum(row.n for row in known),
        change=pooled,
        low=pooled - z * error,
        high=pooled + z * error,
        mean=macro,
        mean_low=macro - z * macro_error,
        mean_high=macro + z * macro_error,
        pooled_p=pooled_p,
        judge_low=judged[0],
        judge_high=judged[1],
        heterogeneity_p=_heterogeneity(changes, variances),
        p_value=p_value,
        p_adjusted=p_value,
    )


def _judged_ends(rows: Sequence[Comparison], weights: Sequence[float]) -> tuple[float, float]:
    """Return between which ends the pooled change lies, if the judge errs on all benchmarks the same way."""
    low = high = 0.0
    for row, weight in zip(rows, weights, strict=True):
        known = row.people_delta is None and row.judge_low is not None and row.judge_high is not None
        ends = (row.judge_low, row.judge_high) if known else (_change(row)[0],) * 2
        turned = sorted(_sign(row) * (end or 0.0) for end in ends)
        low, high = low + weight * turned[0], high + weight * turned[1]
    return low, high


def with_shrunken(rows: Sequence[Comparison]) -> tuple[Comparison, ...]:
    """Return the rows with shrunken estimates beside the raw ones, where there are many of one unit and direction."""
    known = [
        row
        for row in rows
        if row.n10 is not None and row.higher_is_better is not None and row.standard_error and not row.same_documents_as
    ]
    if len(known) < SHRUNKEN_FROM:
        return tuple(rows)
    estimates = shrunken([_sign(row) * _change(row)[0] for row in known], [_change(row)[1] ** 2 for row in known])
    found = {}
    for row, (mean, low, high) in zip(known, estimates, strict=True):
        ends = sorted((_sign(row) * low, _sign(row) * high))
        found[row.benchmark] = replace(row, shrunken=_sign(row) * mean, shrunken_low=ends[0], shrunken_high=ends[1])
    return tuple(found.get(row.benchmark, row) for row in rows)


def _simes(rows: Sequence[Comparison]) -> float:
    """Return the p-value of Simes's test (1986) that none of the rows changed."""
    return min(adjust([counted_p(row) for row in rows]))


def _at_level(row: Comparison, level: _Level | None) -> Comparison:
    if row.p_adjusted is None or row.looked is not None or level is None:
        return row
    changed = replace(row, p_adjusted=max(min(row.p_adjusted * level.scale, 1.0), level.floor))
    return replace(changed, verdict=verdict(changed))


def _change(row: Comparison) -> tuple[float, float]:
    """Return the change that counts, by people's labels where they are known, and its standard error."""
    if row.people_delta is not None and row.people_error is not None:
        return row.people_delta, row.people_error
    return row.delta or 0.0, row.standard_error or 0.0


def _sign(row: Comparison) -> int:
    return 1 if row.higher_is_better else -1


def _pooled_p(rows: Sequence[Comparison], change: float, error: float) -> float:
    if all(row.clusters == row.n and row.seeds == 1 and row.people_delta is None for row in rows):
        lost = sum((row.n10 if row.higher_is_better else row.n01) or 0 for row in rows)
        gained = sum((row.n01 if row.higher_is_better else row.n10) or 0 for row in rows)
        return mid_p(lost, gained)
    from scipy.special import ndtr

    return float(2 * ndtr(-abs(change / error))) if error else 1.0


def _heterogeneity(changes: Sequence[float], variances: Sequence[float]) -> float:
    """Return the p-value of Cochran's Q: that all benchmarks changed by the same."""
    from scipy.stats import chi2

    weights = [1 / each for each in variances]
    mean = math.fsum(w * c for w, c in zip(weights, changes, strict=True)) / math.fsum(weights)
    q = math.fsum(w * (c - mean) ** 2 for w, c in zip(weights, changes, strict=True))
    return float(chi2.sf(q, len(changes) - 1))


def _quantile(probability: float) -> float:
    from scipy.special import ndtri

    return float(ndtri(probability))
