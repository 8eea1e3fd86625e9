"""The options of the family, and which benchmarks they make of a domain's held-out sets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar

from pfh.errors import UserError, did_you_mean
from pfh.hooks.backends import Sampling
from pfh.hooks.domains import Domain, LimitsHoldouts, why_unverified
from pfh.hooks.meanings import Draws, Wants
from pydantic import BaseModel, ConfigDict, Field, model_validator

USUAL_K = (1, 10)
"""As published for code: pass@1 and pass@10."""
LOSS, PREFERENCE = "loss", "preference accuracy"
"""Metrics of a held-out set whose completions nothing judges."""


class Options(BaseModel):
    """Which held-out sets, and how often each problem is tried."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    wants: ClassVar[Wants] = Wants.DOMAIN

    holdouts: tuple[str, ...] = Field((), description="held-out sets; unset: all that the domain has")
    samples: int = Field(1, ge=1, description="completions a problem: 1 gives the accuracy, more give pass@k")
    k: tuple[int, ...] = Field(
        (), description="the k of pass@k, each at most `samples`; unset: 1 and, with 10 samples or more, 10"
    )
    temperature: Annotated[float | None, Draws.COMPLETIONS] = Field(
        None, ge=0, description="softmax temperature; unset: 0 for one sample, the domain's for several"
    )
    max_new_tokens: int | None = Field(
        None, ge=1, description="length limit of a completion; unset: the domain's, which differs from set to set"
    )

    @model_validator(mode="after")
    def _enough_samples(self) -> Options:
        if self.k and min(self.k) < 1:
            raise ValueError(f"k is at least 1, not {min(self.k)}")
        if self.k and max(self.k) > self.samples:
            raise ValueError(f"pass@{max(self.k)} needs at least {max(self.k)} samples a problem, not {self.samples}")
        if self.samples > 1 and self.temperature == 0:
            raise ValueError(f"at temperature 0 all {self.samples} samples are the same: raise it, or take one sample")
        return self

    def sampling(self, domain: Domain, seed: int, holdout: str = "") -> Sampling:
        """Return how completions are drawn: at least as long as the right answers of the held-out set are."""
        usual = domain.sampling
        needed = domain.holdout_tokens(holdout) if isinstance(domain, LimitsHoldouts) else None
        temperature = usual.temperature if self.samples > 1 else 0.0
        return Sampling(
            max_new_tokens=self.max_new_tokens or max(usual.max_new_tokens, needed or 0),
            temperature=temperature if self.temperature is None else self.temperature,
            top_p=usual.top_p,
            stop=usual.stop,
            seed=seed,
        )


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One figure of one held-out set, which is a benchmark."""

    holdout: str
    k: int
    name: str
    metric: str


def chosen_figures(domain: Domain, options: Options, names: Sequence[str]) -> dict[str, list[Figure]]:
    """Return held-out set to its figures, as the options and the benchmarks asked for by `names` say.

    Raises:
        UserError: the domain has no held-out set, or none of a name that was asked for.
    """
    if not domain.holdouts:
        raise UserError(f"The domain {domain.name} has no held-out set, so the family target cannot measure it.")
    for holdout in options.holdouts:
        _known(holdout, domain.holdouts, domain)
    every: list[Figure] = []
    for holdout in options.holdouts or domain.holdouts:
        every += [_figure(holdout, k, options) for k in options.k or [k for k in USUAL_K if k <= options.samples]]
        if why_unverified(domain):
            every.append(Figure(holdout=holdout, k=1, name=f"{holdout}-loss", metric=LOSS))
            every.append(Figure(holdout=holdout, k=1, name=f"{holdout}-preference", metric=PREFERENCE))
    asked = {name for each in every for name in (each.holdout, each.name)}
    for name in names:
        _known(name, asked, domain)
    chosen: dict[str, list[Figure]] = {}
    for each in every:
        if not names or each.name in names or each.holdout in names:
            chosen.setdefault(each.holdout, []).append(each)
    return chosen


def _figure(holdout: str, k: int, options: Options) -> Figure:
    if options.samples == 1:
        return Figure(holdout=holdout, k=1, name=holdout, metric="accuracy")
    return Figure(holdout=holdout, k=k, name=f"{holdout}-pass@{k}", metric=f"pass@{k}")


def _known(name: str, known: Sequence[str] | set[str], domain: Domain) -> None:
    if name not in known:
        listed = ", ".join(sorted(known))
        raise UserError(
            f"the family target has no benchmark {name!r} of the domain {domain.name}.{did_you_mean(name, known)} "
            f"It has {listed}."
        )
