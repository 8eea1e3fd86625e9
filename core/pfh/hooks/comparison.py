"""A benchmark before and after, compared: the figures and the verdict."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from pfh.hooks.evaluation import BenchmarkStatus

ChangeVerdict = Literal[
    "better", "worse", "changed", "equivalent", "no loss above the margin", "undecided", "not measured"
]


FOUND_CHANGES: tuple[ChangeVerdict, ...] = ("better", "worse", "changed")
"""The verdicts that say of a change that it is real."""


IntervalMethod = Literal["Tango", "clustered Tango", "t", "clustered t", "betting", ""]


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
    ci_low: float | None
    """Lower end of the 95% interval of delta; null where the samples are too few for one."""
    ci_high: float | None
    """Upper end of the 95% interval of delta; likewise."""
    n10: int | None
    """Binary metrics: samples that scored 1 before and 0 after."""
    n01: int | None
    """Binary metrics: samples that scored 0 before and 1 after."""
    judge_low: float | None = None
    """Lowest change that people might find in place of delta, as for the benchmark."""
    judge_high: float | None = None
    """Likewise, the highest."""
    p_value: float
    """By the same test as the benchmark's; of the worst case where scores are missing."""
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
class Looked:
    """What a comparison saw that looked at its samples as they came and could stop at any look.

    Its p-value is 1 over the evidence, and its interval that of bets: both hold however often one looked. The mean
    itself lies a little too far from 0 where the comparison stopped for it.
    """

    level: float
    """Chance of a false stop over all looks and benchmarks of the family; the run's, shared out over its families."""
    out_of: int | None
    """Documents that there were; null where the family does not tell."""
    e_change: float
    """Evidence (an e-value) against no change."""
    e_margin: float
    """Evidence against a change as large as the margin, of the direction that has less."""
    within_margin: bool
    """A change as large as the margin is excluded both ways, by e-BH over the benchmarks of the family."""


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
    judge_low: float | None = None
    """Lowest change that people might find in place of delta, given the judge's error rates on models that people
    labelled; null where no judge is used or its errors are not known."""
    judge_high: float | None = None
    """Likewise, the highest; where 0 lies between the two, a change is provisional and the verdict "undecided"."""
    people_n: int | None = None
    """Prompts of which people labelled both completions (`pfh label`); null where too few were."""
    people_delta: float | None = None
    """The change that people would find, from those labels; the verdict is about it where it is known."""
    people_low: float | None = None
    """Lower end of its 95% interval."""
    people_high: float | None = None
    """Upper end of its 95% interval."""
    people_error: float | None = None
    """Its standard error."""
    people_p: float | None = None
    """Two-sided p-value of no change by people's labels; it takes the place of `p_value` in what is adjusted."""
    p_value: float | None = None
    """Two-sided, of no change in the mean: McNemar's test (mid-p) for binary scores, a t-test otherwise, both of
    clusters where samples belong together or there are several seeds."""
    p_adjusted: float | None = None
    """Benjamini-Hochberg over the measured benchmarks of the family, and over the families of the run; of `p_worst`
    where scores are missing."""
    clusters: int | None = None
    """Independent groups of samples; n where every sample stands alone, null where there are no figures."""
    documents: int = 0
    """Samples that were put to both models and scored at least once; above n, scores are missing."""
    scored_before: int = 0
    """Those of the documents that were scored before."""
    scored_after: int = 0
    """Those of the documents that were scored after."""
    scored_p: float | None = None
    """p-value of no change in whether a sample can be scored; null where none is missing."""
    worst_low: float | None = None
    """Where scores are missing: delta if every missing one spoke for a loss (of a metric of which more is better)."""
    worst_high: float | None = None
    """Likewise, if every missing score spoke for a gain."""
    p_worst: float | None = None
    """Where scores are missing: the p-value that holds whatever they are; 1 where they decide the direction."""
    standard_error: float | None = None
    """Of delta, with clusters and seeds counted."""
    shrunken: float | None = None
    """Where a family has many benchmarks: delta shrunk towards theirs, by a hierarchical model."""
    shrunken_low: float | None = None
    """Lower end of the 95% interval of the shrunken delta."""
    shrunken_high: float | None = None
    """Upper end of that interval."""
    margin: float | None = None
    """Changes of at most this size count as none; null where the scores have no scale to measure one by."""
    margin_low: float | None = None
    """Lower end of the 90% interval of delta, whatever the missing scores are: what is compared with the margin."""
    margin_high: float | None = None
    """Upper end of that interval."""
    detectable: float | None = None
    """Smallest change that n samples such as these show in four runs of five."""
    n_to_decide: int | None = None
    """Samples that would show, in four runs of five, whether there is a change as large as the margin."""
    same_documents_as: str = ""
    """Name of the benchmark of whose documents this is another metric: it is shown, and not counted a second time."""
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
    noise_excess: float | None = None
    """Mean absolute difference between before and after, less the noise floor: what training added to it."""
    noise_excess_low: float | None = None
    """Lower end of the 95% interval of the excess."""
    noise_excess_high: float | None = None
    """Upper end of the 95% interval of the excess."""
    noise_p: float | None = None
    """p-value of no excess, two-sided."""
    within_noise: bool | None = None
    """No more samples differ between before and after than when the model before is measured again, as far as the test
    of the excess can tell. The verdict, which is about the direction, does not depend on it."""
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
    looked: Looked | None = None
    """Where the comparison could stop early: what it saw; null where it looked once, at everything."""
    verdict: ChangeVerdict = "not measured"
    """"better", "worse" or "changed" where p_adjusted is at most 0.05 ("changed" where no direction is good); else by
    the 90% interval: "equivalent" if it lies within the margin, "no loss above the margin", or "undecided"."""
    categories: tuple[CategoryComparison, ...] = field(default=())
    """The same figures by category."""


@dataclass(frozen=True, kw_only=True)
class FamilyChange:
    """A family of benchmarks as a whole, its changes turned towards the good: above 0 is better."""

    benchmarks: int
    """Benchmarks that were tested; a second metric of the same documents is not counted."""
    pooled: int
    """Those of them that score 0 or 1 and have a good direction, where there are two or more: what is pooled."""
    n: int = 0
    """Samples of those."""
    change: float | None = None
    """Mean change over all samples."""
    low: float | None = None
    """Lower end of its 95% interval."""
    high: float | None = None
    """Upper end of its 95% interval."""
    mean: float | None = None
    """Mean of the benchmarks' changes, each counted once."""
    mean_low: float | None = None
    """Lower end of its 95% interval."""
    mean_high: float | None = None
    """Upper end of its 95% interval."""
    pooled_p: float | None = None
    """p-value of no change over all samples; 1 where scores are missing."""
    judge_low: float | None = None
    """Lowest change over all samples that people might find, given the judge's error rates; null where no judge is
    used or its errors are not known."""
    judge_high: float | None = None
    """Likewise, the highest; where 0 lies between the two, the pooled change is no finding."""
    heterogeneity_p: float | None = None
    """p-value (Cochran's Q) of all benchmarks having changed by the same."""
    p_value: float
    """Twice the smaller of the pooled p-value and Simes's over all benchmarks."""
    p_adjusted: float
    """Benjamini-Hochberg over the families of the run."""
