"""A contract: what a post-training may and must not change, read from YAML and held against results."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from pfh.errors import UserError, did_you_mean
from pfh.hooks.evals import Claim
from pfh.kit.yaml_files import read_yaml
from pfh.results.records import RunResults, StageRecord

Policy = Literal["fail", "warn"]
_SMALLEST_BASE = 0.1
"""A relative margin of a score below this says nothing."""


@dataclass(frozen=True)
class Margin:
    """A difference of scores: in the metric's units, or relative to the score before."""

    amount: float
    relative: bool = False

    def of(self, before: float) -> float:
        """Return the difference in the metric's units."""
        return self.amount * abs(before) if self.relative else self.amount


def _margin(value: object) -> Margin:
    if isinstance(value, Margin):
        return value
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(pp|%)?\s*", str(value))
    if isinstance(value, bool) or not found:
        raise ValueError('a margin is a number such as 0.02, points such as "2pp", or a share of the base such as "5%"')
    amount = float(found[1]) / (100 if found[2] else 1)
    return Margin(amount, relative=found[2] == "%")


_Margin = Annotated[Margin, BeforeValidator(_margin)]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)


class Hold(_Model):
    """It may not be worse by the margin (non-inferiority)."""

    what: str
    margin: _Margin | None = None
    """None: what the benchmark promises by itself, such as an invariant; 0.02 where it promises nothing."""
    category: Literal["", "worst"] = ""
    """"worst": each category of the benchmark must hold by itself."""


class Improve(_Model):
    """It must be better by more than `by`."""

    what: str
    by: _Margin = Margin(0.0)


class Stay(_Model):
    """It may neither rise nor fall by the margin (equivalence, two one-sided tests)."""

    what: str
    within: _Margin


class Floor(_Model):
    """The share after, by itself."""

    what: str
    at_least: float | None = Field(None, ge=0, le=1)
    at_most: float | None = Field(None, ge=0, le=1)


class Scope(_Model):
    """Which stages of a run the contract speaks of."""

    stages: tuple[str, ...] = ()
    """Names of methods, each held to it by what it changed itself; empty is the whole run."""


class Contract(_Model):
    """What a team promises of every version that goes out."""

    contract: Literal[1]
    scope: Scope = Field(Scope(), alias="for")
    may_change: tuple[str, ...] = ()
    must_improve: tuple[Improve, ...] = ()
    must_hold: tuple[Hold, ...] = ()
    must_stay: tuple[Stay, ...] = ()
    floors: tuple[Floor, ...] = ()
    otherwise: Literal["report", "fail_if_worse"] = "report"
    when_broken: Literal["go_on", "stop"] = "go_on"
    """What a run does after a stage that broke it."""
    undecided: Policy = "fail"
    not_measured: Policy = "fail"


def patterns(contract: Contract) -> tuple[str, ...]:
    """Return what the clauses speak of."""
    named = [
        *(clause.what for clause in contract.must_improve),
        *(clause.what for clause in contract.must_hold),
        *(clause.what for clause in contract.must_stay),
        *(clause.what for clause in contract.floors),
    ]
    return (*contract.may_change, *named)


def named_families(contract: Contract) -> tuple[str, ...]:
    """Return the families that the clauses speak of by name, without globs."""
    families = [pattern.partition("/")[0] for pattern in patterns(contract)]
    return tuple(dict.fromkeys(family for family in families if not set("*?[") & set(family)))


def read_contract(file: Path, *, reports: bool = False) -> Contract:
    """Read a contract.

    Args:
        file: YAML.
        reports: it may say what is told of a stage and test nothing, as what a gate holds may not.

    Raises:
        UserError: the file cannot be read, is no YAML, or says what no contract says.
    """
    content = read_yaml(file, f"The contract {file}", "give a YAML file as docs/how-to/gate.md shows")
    if not isinstance(content, dict):
        raise UserError(f"The contract {file} holds no clauses: it is a YAML mapping that begins with contract: 1.")
    try:
        contract = Contract.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        known = [field.alias or name for name, field in Contract.model_fields.items()]
        hint = did_you_mean(str(first["loc"][-1]), known) if first["type"] == "extra_forbidden" else ""
        raise UserError(f"The contract {file} is at fault at {place}: {first['msg']}.{hint}") from None
    tested = (contract.must_improve, contract.must_hold, contract.must_stay, contract.floors)
    if not reports and not any(tested) and contract.otherwise == "report":
        raise UserError(
            f"The contract {file} tests nothing: name a benchmark under must_hold, must_improve, must_stay or floors, "
            "or say otherwise: fail_if_worse."
        )
    for floor in contract.floors:
        if (floor.at_least is None) == (floor.at_most is None):
            raise UserError(f"The contract {file}: the floor of {floor.what} takes either at_least or at_most.")
    return contract


@dataclass(frozen=True, kw_only=True)
class Target:
    """What a clause is held against: one benchmark of one stage, or one of its categories."""

    stage: StageRecord
    family: str
    row: Any
    """A `Comparison`, or a `CategoryComparison` of it."""
    benchmark: Any
    """The `Comparison`."""
    claims: tuple[Claim, ...] = ()
    """What became of the promises that it makes by itself."""

    @property
    def name(self) -> str:
        """family/benchmark, with the category behind a second slash."""
        category = getattr(self.row, "category", "")
        return f"{self.family}/{self.benchmark.benchmark}" + (f"/{category}" if category else "")


def chosen_stages(contract: Contract, results: RunResults) -> list[StageRecord]:
    """Return the stages that the contract speaks of: those of the methods that it names, else the last.

    A stage that it names is compared with the one before where the results hold that, else with the start.

    Raises:
        UserError: the results compare nothing, or have no stage of that method.
    """
    if not results.stages:
        raise UserError(
            "These results hold one model measured by itself: a contract speaks of a model before and after."
        )
    if not contract.scope.stages:
        return [results.stages[-1]]
    methods = [stage.method for stage in results.stages]
    for wanted in contract.scope.stages:
        if wanted not in methods:
            there = ", ".join(method or "a comparison of two models" for method in methods)
            raise UserError(
                f"The contract speaks of a stage {wanted!r}.{did_you_mean(wanted, methods)} There is {there}."
            )
    chosen = [stage for stage in results.stages if stage.method in contract.scope.stages]
    return [stage.model_copy(update={"families": stage.alone}) if stage.alone else stage for stage in chosen]


def matched(pattern: str, stages: Sequence[StageRecord], *, categories: bool = False) -> list[Target]:
    """Return what `pattern` names, as family/benchmark or family/benchmark/category, with globs.

    Raises:
        UserError: nothing: a benchmark that was renamed must not pass a gate.
    """
    everything = list(_targets(stages))
    found = [target for target in everything if fnmatch.fnmatchcase(target.name, pattern)]
    if not found and "/" not in pattern:
        found = [target for target in everything if target.family == pattern and target.row is target.benchmark]
    if pattern.count("/") < 2:
        found = [target for target in found if target.row is target.benchmark]
    if categories:
        found = [part for target in found for part in _categories(target) or [target]]
    if not found:
        family, measured = pattern.partition("/")[0], {target.family for target in everything}
        if family not in measured and not set("*?[") & set(family):
            raise UserError(
                f"The contract's {pattern!r} matches nothing that was measured here: there is nothing of the family "
                f"{family}.{did_you_mean(family, sorted(measured))} Measure it (--eval {family}), or drop the clause."
            )
        names = sorted({target.name for target in everything if target.row is target.benchmark})
        raise UserError(
            f"The contract's {pattern!r} matches nothing that was measured here.{did_you_mean(pattern, names)} "
            f"There is {', '.join(names[:8])}{' and more' if len(names) > 8 else ''}."
        )
    return found


def _targets(stages: Sequence[StageRecord]) -> Iterator[Target]:
    for stage in stages:
        for record in stage.families:
            for row in record.comparisons:
                own = tuple(claim for claim in record.claims if claim.benchmark == row.benchmark)
                target = Target(stage=stage, family=record.family, row=row, benchmark=row, claims=own)
                yield target
                yield from _categories(target)


def _categories(target: Target) -> list[Target]:
    return [
        Target(stage=target.stage, family=target.family, row=row, benchmark=target.benchmark)
        for row in target.benchmark.categories
    ]


def check_relative(margin: Margin, target: Target) -> None:
    """Refuse a relative margin of a base near 0.

    Raises:
        UserError: the score before is below a tenth.
    """
    if margin.relative and (target.row.before is None or abs(target.row.before) < _SMALLEST_BASE):
        raise UserError(
            f"A margin relative to {target.name} says nothing, as its score before is {target.row.before}: "
            'give points, such as "2pp".'
        )
