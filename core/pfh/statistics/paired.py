"""Paired statistics: what changed between two evaluations of the same samples, and whether it is more than noise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from pfh.hooks.comparison import CategoryComparison, ChangeVerdict, Comparison, IntervalMethod
from pfh.hooks.evaluation import Benchmark, Evaluation
from pfh.hooks.samples import Sample
from pfh.statistics.transitions import transitions

if TYPE_CHECKING:
    from numpy.typing import NDArray


CONFIDENCE = 0.95


RESAMPLES = 10_000


SIGNIFICANCE = 0.05
"""Level for the adjusted p-value below which a difference is called real."""


FEW_DISCORDANT = 10
"""Below this many discordant pairs the bootstrap interval of a binary metric is too short (it has no width at 0)."""


MINIMUM_PAIRS = 2


FEW_VALUES, FEW_SAMPLES, BINS = 64, 512, 32
"""Above the first two the bootstrap draws from so many groups of neighbouring differences: its cost stays bounded."""


def compare_evaluations(before: Evaluation, after: Evaluation, *, seed: int = 0) -> tuple[Comparison, ...]:
    """Compare a family's benchmarks pair by pair and adjust the p-values over the whole family.

    A comparative benchmark has no row where it was measured both times: the family's own tables tell of it.
    """
    later = {benchmark.name: benchmark for benchmark in after.benchmarks}
    rows = [
        _compare(benchmark, later.get(benchmark.name), seed)
        for benchmark in before.benchmarks
        if not _is_told_elsewhere(benchmark, later.get(benchmark.name))
    ]
    return adjust_family(rows)


def paired_interval(
    before: NDArray[np.float64], after: NDArray[np.float64], *, seed: int = 0
) -> tuple[float, float, IntervalMethod]:
    """Return a 95% interval of mean(after - before), and how it was made.

    Percentile bootstrap over pairs (Efron & Tibshirani 1993, ch. 13). Binary scores with fewer than `FEW_DISCORDANT`
    discordant pairs get the interval of Bonett & Price (2012, doi 10.3102/1076998611411915), which stays honest there.
    """
    difference = after - before
    if is_binary(before) and is_binary(after) and np.count_nonzero(difference) < FEW_DISCORDANT:
        low, high = _bonett_price(int(np.sum(difference < 0)), int(np.sum(difference > 0)), len(difference))
        return low, high, "Bonett-Price"
    means = bootstrap_means(difference, np.random.default_rng(seed))
    low, high = np.quantile(means, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return float(low), float(high), "paired bootstrap"


def paired_p_value(before: NDArray[np.float64], after: NDArray[np.float64]) -> float:
    """Return the two-sided p-value of no change: exact McNemar for binary scores, else Wilcoxon signed-rank."""
    from scipy.stats import binomtest, wilcoxon

    difference = after - before
    if is_binary(before) and is_binary(after):
        n10, n01 = int(np.sum(difference < 0)), int(np.sum(difference > 0))
        return float(binomtest(n10, n10 + n01).pvalue) if n10 + n01 else 1.0
    return float(wilcoxon(difference).pvalue) if np.any(difference) else 1.0


def adjust(p_values: Sequence[float]) -> list[float]:
    """Benjamini-Hochberg adjusted p-values (Benjamini & Hochberg 1995), in the order given."""
    from scipy.stats import false_discovery_control

    return [float(p) for p in false_discovery_control(p_values)] if p_values else []


def _is_told_elsewhere(before: Benchmark, after: Benchmark | None) -> bool:
    return before.comparative and after is not None and before.status == after.status == "MEASURED"


def _compare(before: Benchmark, after: Benchmark | None, seed: int) -> Comparison:
    row = Comparison(
        benchmark=before.name,
        version=before.version,
        metric=before.metric,
        higher_is_better=before.higher_is_better,
        judge=before.judge,
        source=before.source,
        status=before.status,
        reason=before.reason,
    )
    if before.status != "MEASURED":
        return row
    if after is None:
        return replace(row, status="NOT_RUN", reason="measured before, absent after")
    if after.status != "MEASURED":
        return replace(row, status=after.status, reason=after.reason)
    if after.version != before.version:
        return replace(row, status="ERROR", reason=f"version {before.version} before, {after.version} after")
    if after.metric != before.metric:
        return replace(row, status="ERROR", reason=f"metric {before.metric} before, {after.metric} after")
    if after.judge != before.judge:
        return replace(row, status="ERROR", reason=f"judged by {before.judge} before, by {after.judge} after")
    pairs = paired_samples(before, after)
    scored = [(x, y) for x, y in pairs if x.score is not None and y.score is not None]
    if len(scored) < MINIMUM_PAIRS:
        return replace(
            row, status="INSUFFICIENT", n=len(scored), reason=f"{len(scored)} samples were scored both times"
        )
    x, y = _scores(scored)
    low, high, method = paired_interval(x, y, seed=seed)
    binary = is_binary(x) and is_binary(y)
    return replace(
        row,
        n=len(scored),
        before=float(x.mean()),
        after=float(y.mean()),
        delta=float((y - x).mean()),
        ci_low=low,
        ci_high=high,
        ci_method=method,
        n10=int(np.sum(y < x)) if binary else None,
        n01=int(np.sum(y > x)) if binary else None,
        p_value=paired_p_value(x, y),
        **forgetting(x, y, [sample.choices for sample, _ in scored], before.higher_is_better),
        effect_size=effect_size(x, y),
        format_failures_before=sum(sample.status == "format_failure" for sample, _ in pairs),
        format_failures_after=sum(sample.status == "format_failure" for _, sample in pairs),
        truncated_before=sum(sample.status == "truncated" for sample, _ in pairs),
        truncated_after=sum(sample.status == "truncated" for _, sample in pairs),
        categories=_by_category(scored, before.higher_is_better, seed),
    )


def paired_samples(before: Benchmark, after: Benchmark) -> list[tuple[Sample, Sample]]:
    """Return the samples that both have, in the order of `before`."""
    later = {sample.id: sample for sample in after.samples}
    return [(sample, later[sample.id]) for sample in before.samples if sample.id in later]


def paired_benchmarks(before: Evaluation, after: Evaluation) -> list[tuple[Benchmark, Benchmark]]:
    """Pair the benchmarks of two evaluations by their names; those of one alone are left out."""
    later = {benchmark.name: benchmark for benchmark in after.benchmarks}
    return [(benchmark, later[benchmark.name]) for benchmark in before.benchmarks if benchmark.name in later]


def _by_category(
    pairs: Sequence[tuple[Sample, Sample]], higher_is_better: bool | None, seed: int
) -> tuple[CategoryComparison, ...]:
    groups: dict[str, list[tuple[Sample, Sample]]] = {}
    for pair in pairs:
        groups.setdefault(pair[0].category, []).append(pair)
    return tuple(_category(name, groups[name], higher_is_better, seed) for name in sorted(groups) if name)


def _category(
    name: str, pairs: Sequence[tuple[Sample, Sample]], higher_is_better: bool | None, seed: int
) -> CategoryComparison:
    x, y = _scores(pairs)
    low, high, _ = paired_interval(x, y, seed=seed)
    binary = is_binary(x) and is_binary(y)
    p_value = paired_p_value(x, y)
    return CategoryComparison(
        category=name,
        n=len(pairs),
        before=float(x.mean()),
        after=float(y.mean()),
        delta=float((y - x).mean()),
        ci_low=low,
        ci_high=high,
        n10=int(np.sum(y < x)) if binary else None,
        n01=int(np.sum(y > x)) if binary else None,
        p_value=p_value,
        p_adjusted=p_value,
        **without_ceilings(forgetting(x, y, [sample.choices for sample, _ in pairs], higher_is_better)),
    )


def forgetting(
    before: NDArray[np.float64],
    after: NDArray[np.float64],
    choices: Sequence[int | None],
    higher_is_better: bool | None,
) -> dict[str, Any]:
    """Return the fields of `Transitions`, none for scores that are not binary or of which 1 is not the good one."""
    if higher_is_better is not True or not (is_binary(before) and is_binary(after)):
        return {}
    return asdict(transitions(before, after, choices))


def without_ceilings(found: dict[str, Any]) -> dict[str, Any]:
    """Return what `forgetting` returned as far as categories have it."""
    return {name: share for name, share in found.items() if not name.endswith("_ceiling")}


def adjust_family(rows: Sequence[Comparison]) -> tuple[Comparison, ...]:
    """Return the rows of one family with their adjusted p-values and verdicts, categories adjusted among themselves."""
    benchmarks = iter(adjust([row.p_value for row in rows if row.p_value is not None]))
    categories = iter(adjust([category.p_value for row in rows for category in row.categories]))
    adjusted = []
    for row in rows:
        p_adjusted = next(benchmarks) if row.p_value is not None else None
        by_category = tuple(replace(category, p_adjusted=next(categories)) for category in row.categories)
        adjusted.append(replace(row, p_adjusted=p_adjusted, categories=by_category, verdict=_verdict(row, p_adjusted)))
    return tuple(adjusted)


def _verdict(row: Comparison, p_adjusted: float | None) -> ChangeVerdict:
    if p_adjusted is None or row.delta is None:
        return "not measured"
    if p_adjusted > SIGNIFICANCE:
        return "no evidence of change"
    if row.higher_is_better is None:
        return "changed"
    return "better" if (row.delta > 0) == row.higher_is_better else "worse"


def _scores(pairs: Sequence[tuple[Sample, Sample]]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    return np.array([x.score for x, _ in pairs], dtype=float), np.array([y.score for _, y in pairs], dtype=float)


def is_binary(scores: NDArray[np.float64]) -> bool:
    """Say whether every score is 0 or 1."""
    return bool(np.all((scores == 0) | (scores == 1)))


def bootstrap_means(difference: NDArray[np.float64], generator: np.random.Generator) -> NDArray[np.float64]:
    """Return the means of `RESAMPLES` samples of n differences, drawn with replacement from the n given."""
    n = len(difference)
    values, counts = np.unique(difference, return_counts=True)
    if len(values) <= FEW_VALUES:  # such a sample is a multinomial draw over the distinct differences
        draws = generator.multinomial(n, counts / n, size=RESAMPLES)
        return np.asarray(draws @ values / n, dtype=float)
    if n <= FEW_SAMPLES:
        return np.asarray(difference[generator.integers(0, n, size=(RESAMPLES, n))].mean(axis=1), dtype=float)
    # Neighbours in rank are drawn together: how many of them exactly, their sum by its mean and variance.
    bins = np.array_split(np.sort(difference), BINS)
    draws = generator.multinomial(n, [len(each) / n for each in bins], size=RESAMPLES)
    sums, variances = draws @ [each.mean() for each in bins], draws @ [each.var() for each in bins]
    return np.asarray((sums + np.sqrt(variances) * generator.standard_normal(RESAMPLES)) / n, dtype=float)


def _bonett_price(n10: int, n01: int, n: int) -> tuple[float, float]:
    from scipy.stats import norm

    p10, p01 = (n10 + 1) / (n + 2), (n01 + 1) / (n + 2)
    half = float(norm.ppf((1 + CONFIDENCE) / 2)) * float(np.sqrt((p10 + p01 - (p01 - p10) ** 2) / (n + 2)))
    return max(p01 - p10 - half, -1.0), min(p01 - p10 + half, 1.0)


def effect_size(before: NDArray[np.float64], after: NDArray[np.float64]) -> float:
    """Return Cohen's h for binary scores, d_z (mean difference over its standard deviation) for others."""
    if is_binary(before) and is_binary(after):
        return float(2 * np.arcsin(np.sqrt(after.mean())) - 2 * np.arcsin(np.sqrt(before.mean())))
    spread = float((after - before).std(ddof=1))
    return float((after - before).mean()) / spread if spread else 0.0
