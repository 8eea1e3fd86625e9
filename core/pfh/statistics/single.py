"""One model by itself: mean scores with their intervals, where there is nothing yet to compare with."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal

import numpy as np

from pfh.hooks.evaluation import Benchmark, BenchmarkStatus, Evaluation
from pfh.hooks.samples import Sample
from pfh.statistics.change import finite, is_binary, mean_change
from pfh.statistics.paired import MINIMUM_PAIRS
from pfh.statistics.verdicts import CONFIDENCE

if TYPE_CHECKING:
    from numpy.typing import NDArray


ScoreInterval = Literal["Wilson", "t", ""]


@dataclass(frozen=True, kw_only=True)
class CategoryMeasurement:
    """One category of a benchmark."""

    category: str
    """Name of the category, as the benchmark has it."""
    n: int
    """Samples of the category that were scored."""
    score: float
    """Mean score over those n samples."""
    ci_low: float | None
    """Lower end of the 95% interval of the score; null where the samples are too few for one."""
    ci_high: float | None
    """Upper end of the 95% interval of the score; likewise."""


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """One benchmark put to one model."""

    benchmark: str
    """Name of the benchmark."""
    version: str
    """Changes whenever a prompt, a target or a score of the benchmark may."""
    metric: str
    """What a sample's score is, such as "refusal_rate"."""
    higher_is_better: bool | None
    """The metric's good direction; None where it has none."""
    status: BenchmarkStatus
    """MEASURED, or why there are no figures: NOT_RUN, ERROR, or INSUFFICIENT (too few samples were scored)."""
    reason: str = ""
    """Why the benchmark is not MEASURED, in one line."""
    judge: str = ""
    """The judge whose labels the scores rest on, with its version; empty where none is needed."""
    source: str = ""
    """Where the documents come from: hub id and split, or "built in"."""
    n: int = 0
    """Samples that were scored."""
    binary: bool = False
    """Every score is 0 or 1, so that the mean is a share."""
    score: float | None = None
    """Mean score over those n samples."""
    ci_low: float | None = None
    """Lower end of the 95% interval of the score."""
    ci_high: float | None = None
    """Upper end of the 95% interval of the score."""
    ci_method: ScoreInterval = ""
    """How the interval was made."""
    format_failures: int = 0
    """Samples in whose completion no answer was found."""
    truncated: int = 0
    """Completions that reached the length limit."""
    categories: tuple[CategoryMeasurement, ...] = field(default=())
    """The same figures by category."""


def measure_evaluation(evaluation: Evaluation) -> tuple[Measurement, ...]:
    """Return the figures of every benchmark of a family."""
    return tuple(_measurement(benchmark) for benchmark in evaluation.benchmarks)


def score_interval(
    scores: NDArray[np.float64], clusters: Sequence[object] | None = None
) -> tuple[float, float, ScoreInterval]:
    """Return a 95% interval of the mean: Wilson's (1927) for binary scores, a t-interval for others.

    Of clusters, Wilson's counts are divided by the design effect. The t-interval is corrected for skewness, as that of
    a change is.
    """
    mean = mean_change(np.zeros_like(scores), scores, clusters)
    if is_binary(scores):
        from statsmodels.stats.proportion import proportion_confint

        scale = 1 / mean.design_effect
        low, high = proportion_confint(scores.sum() * scale, len(scores) * scale, alpha=1 - CONFIDENCE, method="wilson")
        return float(low), float(high), "Wilson"
    return *mean.interval(CONFIDENCE), "t"


def _measurement(benchmark: Benchmark) -> Measurement:
    scored = [sample for sample in benchmark.samples if sample.score is not None and math.isfinite(sample.score)]
    scores = np.array([sample.score for sample in scored], dtype=float)
    enough = len(scored) >= MINIMUM_PAIRS
    status: BenchmarkStatus = "INSUFFICIENT" if benchmark.status == "MEASURED" and not enough else benchmark.status
    if benchmark.status == "MEASURED" and benchmark.comparative:
        benchmark = replace(benchmark, reason="it says something of two models: use pfh compare or pfh run")
        status = "NOT_RUN"
    measured = status == "MEASURED"
    low, high, method = score_interval(scores, _clusters(scored)) if measured else (None, None, "")
    return Measurement(
        benchmark=benchmark.name,
        version=benchmark.version,
        metric=benchmark.metric,
        higher_is_better=benchmark.higher_is_better,
        status=status,
        reason=benchmark.reason or ("" if measured else f"{len(scored)} samples were scored"),
        judge=benchmark.judge,
        source=benchmark.source,
        n=len(scored),
        binary=measured and is_binary(scores),
        score=float(scores.mean()) if measured else None,
        ci_low=low,
        ci_high=high,
        ci_method=method,  # type: ignore[arg-type]
        format_failures=sum(sample.status == "format_failure" for sample in benchmark.samples),
        truncated=sum(sample.cut for sample in benchmark.samples),
        categories=_by_category(scored) if measured else (),
    )


def _clusters(samples: Sequence[Sample]) -> list[str]:
    return [sample.cluster or f"document {sample.id}" for sample in samples]


def _by_category(samples: Sequence[Sample]) -> tuple[CategoryMeasurement, ...]:
    groups: dict[str, list[Sample]] = {}
    for sample in samples:
        groups.setdefault(sample.category, []).append(sample)
    rows = []
    for name in sorted(groups):
        scores = np.array([sample.score for sample in groups[name]], dtype=float)
        if name:
            low, high = finite(*score_interval(scores, _clusters(groups[name]))[:2])
            mean = float(scores.mean())
            rows.append(CategoryMeasurement(category=name, n=len(scores), score=mean, ci_low=low, ci_high=high))
    return tuple(rows)
