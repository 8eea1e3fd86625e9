"""What became of one clause of a contract, as results.json keeps it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

State = Literal["holds", "broken", "undecided", "not measured", "may change"]
STATES: tuple[State, ...] = ("broken", "undecided", "not measured", "holds")
Kind = Literal["must_hold", "must_improve", "must_stay", "floors", "may_change", "otherwise"]


@dataclass(frozen=True, kw_only=True)
class Judged:
    """One clause on one benchmark."""

    kind: Kind
    """Which list of the contract it stands in; "otherwise" for what no clause names."""
    name: str
    """family/benchmark, or with a category."""
    demand: str
    """What is asked, such as "not worse by 0.02"."""
    state: State
    """What became of it."""
    said: str
    """The figure, its limit, n, and what would decide: one line."""
    status: str
    """Of the benchmark: MEASURED, or why it is not."""
    p_value: float | None = None
    """One-sided, of the hypothesis that the demand is met; None where that was not tested."""
    significant: bool = False
    """Broken, after Holm's adjustment over the clauses."""
    chance: float | None = None
    """That an unchanged model passes it, whose samples flip each way as often as they did in the rarer one."""
