"""A benchmark before and after, compared: the figures and the verdict."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from pfh.hooks.evaluation import BenchmarkStatus

if TYPE_CHECKING:
    pass


ChangeVerdict = Literal["better", "worse", "changed", "no evidence of change", "not measured"]


IntervalMethod = Literal["paired bootstrap", "Bonett-Price", "hierarchical bootstrap", ""]


@dataclass(frozen=True, kw_only=True)
class CategoryComparison:
    """One category of a benchmark before and after."""

    category: str
    """Name of the category, as the benchmark has it."""
    n: int
    """Samples of the category scored both before and after."""
    before: float
    """Mean score before, over those n samples."""
    after: float
    """Mean score after, over the same samples."""
    delta: float
    """after - before."""
    ci_low: float
    """Lower end of the 95% interval of delta."""
    ci_high: float
    """Upper end of the 95% interval of delta."""
    n10: int | None
    """Binary metrics: samples that scored 1 before and 0 after."""
    n01: int | None
    """Binary metrics: samples that scored 0 before and 1 after."""
    p_value: float
    """By the same test as the benchmark's."""
    p_adjusted: float
    """Benjamini-Hochberg over the categories of all benchmarks of the family."""
    forgetting: float | None = None
    """Binary scores of which 1 is the good one: share of the samples that went from 1 to 0."""
    backward_transfer: float | None = None
    """Likewise, share of the samples that went from 0 to 1."""
    forgetting_corrected: float | None = None
    """Forgetting beyond what guessing explains, at least 0; null where a sample is no multiple choice."""
    backward_transfer_corrected: float | None = None
    """Backward transfer beyond what guessing explains, at least 0; null where a sample is no multiple choice."""


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """One benchmark before and after, on the samples that both have."""

    benchmark: str
    """Name of the benchmark."""
    version: str
    """Changes whenever a prompt, a target or a score of the benchmark may."""
    metric: str
    """What a sample's score is, such as "refusal_rate"."""
    higher_is_better: bool | None
    """The metric's good direction; None where it has none."""
    status: BenchmarkStatus
    """MEASURED, or why there are no figures: NOT_RUN, ERROR, or INSUFFICIENT (too few samples scored both times)."""
    reason: str = ""
    """Why the benchmark is not MEASURED, in one line."""
    judge: str = ""
    """The judge whose labels the scores rest on, with its version; empty where none is needed."""
    source: str = ""
    """Where the documents come from: hub id and split, or "built in"."""
    n: int = 0
    """Samples scored both before and after."""
    before: float | None = None
    """Mean score before, over those n samples."""
    after: float | None = None
    """Mean score after, over the same samples."""
    delta: float | None = None
    """after - before."""
    ci_low: float | None = None
    """Lower end of the 95% interval of delta."""
    ci_high: float | None = None
    """Upper end of the 95% interval of delta."""
    ci_method: IntervalMethod = ""
    """How the interval was made."""
    n10: int | None = None
    """Binary metrics: samples that scored 1 before and 0 after."""
    n01: int | None = None
    """Binary metrics: samples that scored 0 before and 1 after."""
    p_value: float | None = None
    """Exact McNemar test for binary scores, Wilcoxon signed-rank test otherwise; two-sided."""
    p_adjusted: float | None = None
    """Benjamini-Hochberg over the measured benchmarks of the family."""
    forgetting: float | None = None
    """Binary scores of which 1 is the good one: share of the samples that went from 1 to 0."""
    backward_transfer: float | None = None
    """Likewise, share of the samples that went from 0 to 1."""
    forgetting_corrected: float | None = None
    """Forgetting beyond what guessing explains, at least 0; null where a sample is no multiple choice."""
    backward_transfer_corrected: float | None = None
    """Backward transfer beyond what guessing explains, at least 0; null where a sample is no multiple choice."""
    forgetting_ceiling: float | None = None
    """The most that could have been forgotten beyond guessing; null where a sample is no multiple choice."""
    backward_transfer_ceiling: float | None = None
    """The most that could have been gained beyond guessing; null where a sample is no multiple choice."""
    noise_floor: float | None = None
    """Mean absolute difference of scores when the model before is measured again; null where it was measured once."""
    within_noise: bool | None = None
    """The mean absolute difference between before and after is not above the noise floor: no finding."""
    seeds: int = 1
    """Seeds that the models were sampled under; with more than one, n, n10 and n01 count samples of all seeds."""
    n10_every_seed: int | None = None
    """With several seeds: documents that scored 1 before and 0 after under every seed."""
    n01_every_seed: int | None = None
    """With several seeds: documents that scored 0 before and 1 after under every seed."""
    effect_size: float | None = None
    """Cohen's h for a binary metric, the mean difference over its standard deviation (d_z) otherwise."""
    format_failures_before: int = 0
    """Samples before in whose completion no answer was found."""
    format_failures_after: int = 0
    """Samples after in whose completion no answer was found."""
    truncated_before: int = 0
    """Completions before that reached the length limit."""
    truncated_after: int = 0
    """Completions after that reached the length limit."""
    verdict: ChangeVerdict = "not measured"
    """"better", "worse" or "changed" where p_adjusted is at most 0.05; "changed" where no direction is good."""
    categories: tuple[CategoryComparison, ...] = field(default=())
    """The same figures by category."""
