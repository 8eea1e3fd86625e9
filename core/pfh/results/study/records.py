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
    """Category or benchmark within it; empty: the family as a whole, its benchmarks counted equally."""
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


class Answer(_Record):
    """One question of the study."""

    question: str
    """As a reader asks it."""
    answer: str
    """In whole sentences, with the figures that they rest on."""
    state: Literal["answered", "not enough"]
    """Whether the data settle it."""


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


class Share(_Record):
    """How much of the spread between runs goes with one thing."""

    family: str
    """Benchmark family."""
    source: str
    """Method, domain, start, seed or hyper-parameter; what is left is "rest"."""
    share: float
    """Of the sum of squares."""


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
    """Effects over which p-values were adjusted."""
    effects: tuple[EffectRecord, ...]
    answers: tuple[Answer, ...]
    trade_offs: tuple[TradeOff, ...]
    matched: tuple[str, ...]
    """What runs agree in that should, and what not, in whole sentences."""
    shares: tuple[Share, ...]
    turning: tuple[str, ...]
    """Conclusions that turn with the seed."""
    recommendations: tuple[str, ...]
    """Whole sentences, each with its figure."""
