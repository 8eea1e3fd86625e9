"""A budget for each stage of training, and the account of what a stage has spent of it."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from pfh.errors import UserError, did_you_mean

if TYPE_CHECKING:
    from pfh.hooks.ledger import Phase


Unit = Literal["seconds", "tokens", "updates", "samples", "flops"]


_SECONDS = {"s": 1, "second": 1, "m": 60, "min": 60, "minute": 60, "h": 3600, "hour": 3600}


_COUNTS: dict[str, Unit] = {"token": "tokens", "update": "updates", "sample": "samples", "flop": "flops"}


@dataclass(frozen=True, kw_only=True)
class Budget:
    """What one stage may spend."""

    amount: float
    unit: Unit
    """Device seconds or floating-point operations of all phases, or the tokens, updates or samples of training."""

    @classmethod
    def parse(cls, text: str) -> Budget:
        """Read "90s", "20m", "2h", "50000 tokens", "100 updates", "500 samples" or "5e15 flops".

        Raises:
            UserError: it is none of these, or nothing could be done with so little.
        """
        found = re.fullmatch(r"\s*(\d+(?:\.\d+)?(?:e[+-]?\d+)?)\s*([a-z]+)\s*", text.lower())
        word = found[2] if found else ""
        unit = word if word in _SECONDS else word.removesuffix("s")
        if not found or unit not in {*_SECONDS, *_COUNTS}:
            known = ("seconds", "minutes", "hours", "tokens", "updates", "samples", "flops")
            raise UserError(
                f"--budget got {text!r}.{did_you_mean(word, known) if word else ''} Write a number and a unit, such as "
                "20m, 90s, 50000tokens, 100updates, 500samples or 5e15flops."
            )
        amount = float(found[1]) * _SECONDS.get(unit, 1)
        if not math.isfinite(amount):
            raise UserError(f"--budget got {text[:40]!r}: leave it out to train without one.")
        if amount <= 0 or (unit in _COUNTS and amount < 1):
            raise UserError(f"--budget got {text!r}: nothing can be trained with that.")
        return cls(amount=amount, unit=_COUNTS.get(unit, "seconds"))

    def __str__(self) -> str:
        """Return the budget as a reader says it."""
        return f"{self.amount:,.6g} {'device seconds' if self.unit == 'seconds' else self.unit}"


@dataclass
class Account:
    """What a stage has spent of its budget so far, phase by phase."""

    budget: Budget | None = None
    phases: list[Phase] = field(default_factory=list)

    def add(self, phase: Phase) -> None:
        """Book a finished phase."""
        self.phases.append(phase)

    @property
    def left(self) -> float:
        """What the budget still holds, in its unit; infinite without a budget."""
        if self.budget is None:
            return float("inf")
        return max(0.0, self.budget.amount - spent(self.phases, self.budget.unit))

    def lasts(self, update_samples: int) -> bool:
        """Say whether what is left lasts for an update of so many samples, as far as that is known beforehand."""
        needed = {"updates": 1, "samples": update_samples}.get(self.budget.unit, 0) if self.budget else 0
        return self.left > 0 and self.left >= needed


def spent(phases: Sequence[Phase], unit: Unit) -> float:
    """Return what `phases` spent of a budget in `unit`: seconds or operations of all, or counts of training."""
    if unit == "seconds":
        return sum(phase.seconds * phase.devices for phase in phases)
    if unit == "flops":
        return sum(phase.flops for phase in phases)
    trained = [phase for phase in phases if phase.updates]
    return float(sum({"tokens": p.tokens, "updates": p.updates, "samples": p.samples}[unit] for p in trained))
