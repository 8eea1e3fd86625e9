"""study.json: the schema that scripts read."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class EffectRecord(_Record):
    """A mean change of one method, towards the good: positive is better."""

    start: str
    """Name of the start in the study; empty: over all."""
    domain: str
    """Name of the domain; empty: over all."""
    method: str
    """As the study names it, with the values of its axes."""
    family: str
    """Benchmark family."""
    category: str
    """Category of benchmarks, or benchmark, or "benchmark: part"; empty: the family as a whole, in which categories of
    benchmarks count equally, and benchmarks within these."""
    level: Literal["family", "category", "benchmark", "part"] = "benchmark"
    """What `category` names; "part" is a category of the documents of one benchmark."""
    change: float
    """Mean change; 0.01 is a point."""
    low: float
    """Lower end of the 95% interval, over documents and seeds."""
    high: float
    """Upper end."""
    p_value: float
    """Two-sided, of no change."""
    p_adjusted: float
    """Benjamini-Hochberg over all effects of the study."""
    seeds: int
    """Seeds of training that it rests on; with one, nothing is known of how others would come out."""
    documents: int
    """Documents that it rests on."""
    seed_error: float
    """Part of the standard error that comes of the seeds."""
    document_error: float
    """Part of it that comes of the documents."""

    @property
    def significant(self) -> bool:
        """Say whether the change is real at 0.05, adjusted."""
        return self.p_adjusted < 0.05


class SecondOpinion(_Record):
    """The change of a family by a generalised estimating equation, clustered by document."""

    start: str
    domain: str
    method: str
    family: str
    change: float
    """Mean change; 0.01 is a point."""
    low: float
    """Lower end of the 95% interval, over documents; the seeds are taken as they are."""
    high: float
    """Upper end."""
    p_value: float
    """Two-sided, of no change."""
    same: bool
    """Whether this interval says what the effect's own does: above 0, below it, or neither."""


class Answer(_Record):
    """One question of the study."""

    question: str
    """As a reader asks it."""
    answer: str
    """In whole sentences, with the figures that they rest on."""
    state: Literal["answered", "not enough"]
    """Whether the data settle it."""
    p_value: float | None = None
    """Of its test; null where nothing is tested."""
    p_adjusted: float | None = None
    """Adjusted with all effects and questions of the study."""


class TradeOff(_Record):
    """One method's gain against what it costs."""

    method: str
    """As the study names it."""
    against: str
    """Family that is lost in."""
    gain: float
    """Change of the target, over starts and domains."""
    change: float
    """Change of the other family."""
    pareto: float
    """Probability that no other method is better in both."""
    gain_error: float = 0.0
    """Standard error of the gain."""
    change_error: float = 0.0
    """Standard error of the change."""
    correlation: float = 0.0
    """Of the two errors: with them it makes the ellipse."""


class Share(_Record):
    """How much of the spread between runs goes with one thing."""

    family: str
    """Benchmark family."""
    source: str
    """Method, hyper-parameter, domain, start, method by domain or by start, seed or documents; "seed and rest" with one
    seed."""
    share: float
    """Of the variance of a run's change, its documents' part counted."""
    deviation: float | None = None
    """Standard deviation between runs that goes with it."""
    low: float | None = None
    """Lower end of its 95% interval."""
    high: float | None = None
    """Upper end; null where the data do not bound it."""


class AdjustedRecord(_Record):
    """A method's change as it would be if all runs had spent the same of one thing."""

    method: str
    family: str
    amount: str
    """Compute, tokens, prompts or examples."""
    unadjusted: float
    """Mean over the same runs, as they are."""
    change: float
    """At the geometric mean of what all runs spent."""
    low: float
    """Lower end of its 95% interval."""
    high: float
    """Upper end."""
    inside: bool
    """Whether the method was run with less and with more than that; else it is carried on beyond what was run."""


class ErosionRecord(_Record):
    """How much oftener the model gives in after a method, over starts, domains and seeds; above 0 is worse."""

    method: str
    what: str
    """A benchmark, or a domain of harm over all benchmarks."""
    attack: str
    """"direct", or the attack's name."""
    before: float
    """Mean share that the starts gave in to."""
    change: float
    """after - before."""
    low: float
    """Lower end of its 95% interval."""
    high: float
    """Upper end."""
    prompts: int
    p_adjusted: float | None
    """Benjamini-Hochberg over all cells of all methods; null with fewer than 20 prompts."""


class HelpfulnessRecord(_Record):
    """Where a method moves the two errors of refusals; above 0 is worse in both."""

    method: str
    harm: float
    """Change of the share of harmful prompts that are given in to."""
    harm_low: float
    harm_high: float
    refused: float
    """Change of the share of benign prompts that are refused."""
    refused_low: float
    refused_high: float
    together: str
    """Such as "safer and more helpful", by the 95% intervals."""


class RunRow(_Record):
    """One run of the study."""

    name: str
    """Its folder."""
    start: str
    method: str
    domain: str
    seed: int
    phase: str
    headline: str
    gates: tuple[str, ...] = ()
    """What became of each contract, in a sentence."""


class StudyResults(_Record):
    """Everything that a study found out."""

    schema_version: Literal["1"] = "1"
    name: str
    """The study's."""
    runs: tuple[RunRow, ...]
    """Those that are finished."""
    missing: int
    """Runs of the study that are not."""
    contrasts: int
    """Effects and questions over which p-values were adjusted."""
    effects: tuple[EffectRecord, ...]
    answers: tuple[Answer, ...]
    trade_offs: tuple[TradeOff, ...]
    matched: tuple[str, ...]
    """What runs agree in that should, and what not, in whole sentences."""
    adjusted: tuple[AdjustedRecord, ...] = ()
    """Effects again, after adjusting for what was not matched."""
    not_adjusted: tuple[str, ...] = ()
    """What could not be adjusted for, in whole sentences."""
    stopped_early: str = ""
    """How many documents early stopping left unseen; empty where nothing stopped."""
    second_opinions: tuple[SecondOpinion, ...] = ()
    """On each effect of a whole family, in their order."""
    agreement: tuple[str, ...] = ()
    """How often they say the same as the effects, and where not, in whole sentences."""
    erosion: tuple[ErosionRecord, ...] = ()
    helpfulness: tuple[HelpfulnessRecord, ...] = ()
    shares: tuple[Share, ...]
    turning: tuple[str, ...]
    """Conclusions that turn with the seed."""
    recommendations: tuple[str, ...]
    """Whole sentences, each with its figure."""
