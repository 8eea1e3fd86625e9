"""What a training may spend and what it spent, over all attempts."""

from __future__ import annotations

import json
import math
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pfh.errors import StepFailedError
from pfh.hooks.budget import Account
from pfh.kit.training.passes import spent_on
from pfh.kit.training.sharing import is_first, of_the_first, processes

if TYPE_CHECKING:
    from transformers import Trainer


_FILE = "spent.json"


@dataclass(frozen=True, kw_only=True)
class Allowance:
    """What one training may spend: None where it has no limit."""

    seconds: float | None = None
    """Wall-clock."""
    tokens: float | None = None
    flops: float | None = None
    updates: int | None = None
    overdraft: float = math.inf
    """Seconds, tokens or operations that the first update must not take: the whole budget of a stage that has trained
    nothing yet. A round that overdraws only its own part ends."""

    @classmethod
    def of(cls, account: Account, rounds: int, effective: int, name: str) -> Allowance:
        """Return what the stage's budget leaves for the next of `rounds` trainings.

        Raises:
            StepFailedError: that is less than one update.
        """
        if account.budget is None:
            return cls()
        unit, left = account.budget.unit, account.left
        if not account.lasts(effective):
            takes = f"; an update takes {effective}" if unit == "samples" else ""
            raise StepFailedError(
                f"The budget of {account.budget} leaves {left:,.6g} for {name}, less than one update{takes}: raise "
                "--budget, or lower what the method spends; what was measured and drawn is kept."
            )
        if unit in ("updates", "samples"):
            # A round whose part is less than an update makes one, and later rounds go without.
            return cls(updates=max(1, int(left / rounds / (effective if unit == "samples" else 1))))
        left /= processes() if unit in ("seconds", "flops") else 1
        overdraft = math.inf if any(phase.updates for phase in account.phases) else left
        if unit == "seconds":
            return cls(seconds=left / rounds, overdraft=overdraft)
        if unit == "flops":
            return cls(flops=left / rounds, overdraft=overdraft)
        return cls(tokens=left / rounds, overdraft=overdraft)

    def share(self, spent: Spent, tokens: int) -> float:
        """Return which share is spent of what has a limit; 0 where nothing has."""
        taken = ((self.seconds, spent.seconds), (self.tokens, tokens), (self.flops, spent.flops))
        return max((amount / limit for limit, amount in taken if limit), default=0.0)

    def is_spent(self, spent: Spent, tokens: int, update: int, name: str) -> bool:
        """Say whether training must end after `update`, with what is `spent` and `tokens` of the sequences trained on.

        Raises:
            StepFailedError: the first update of the stage alone took more than all of the budget.
        """
        for unit, limit, taken in (
            ("seconds", self.seconds, spent.seconds),
            ("tokens", self.tokens, tokens),
            ("flops", self.flops, spent.flops),
        ):
            if limit is not None and taken >= limit:
                if update == 1 and taken > self.overdraft:
                    raise StepFailedError(
                        f"The budget leaves {self.overdraft:,.6g} {unit} for {name}, and one update took {taken:,.6g}: "
                        "raise --budget, or lower batch_size or gradient_accumulation; what was measured and drawn is "
                        "kept."
                    )
                return True
        return False


@dataclass
class Spent:
    """What all attempts spent together, on disk after every update.

    Of several processes the first writes it, and the seconds are the first's: all must end with the same update.
    """

    seconds: float = 0.0
    tokens: int = 0
    updates: int = 0
    epochs: float = 0.0
    attempts: int = 0
    batch_size: int = 0
    passed: float = 0.0
    """Tokens of all passes through the model, in one process."""
    flops: float = 0.0
    """Floating-point operations of these passes."""

    @classmethod
    def read(cls, folder: Path) -> Spent:
        """Return what earlier attempts left in `folder`: nothing spent where there were none."""
        path = folder / _FILE
        return cls(**json.loads(path.read_text())) if path.exists() else cls()

    def start(self, folder: Path) -> None:
        """Count the time from now on, and keep what is spent in `folder`."""
        self._path, self._last = folder / _FILE, time.monotonic()
        self._trainer: Trainer | None = None
        self._counted = (0.0, 0.0)
        self.write()

    def count(self, trainer: Trainer) -> None:
        """Count the passes through the models of `trainer` too, those of the first of its processes for all."""
        self._trainer = trainer
        self.write()

    def write(self) -> None:
        """Count the time that has passed, and write all to the disk."""
        now = time.monotonic()
        self.seconds, self._last = self.seconds + now - self._last, now
        if self._trainer is not None:
            counted = spent_on(self._trainer)
            self.passed += counted[0] - self._counted[0]
            self.flops += counted[1] - self._counted[1]
            self._counted = counted
            accelerator = self._trainer.accelerator
            if accelerator.num_processes > 1:
                self.seconds = of_the_first(self.seconds, accelerator)
                self.flops = of_the_first(self.flops, accelerator)
        if not is_first():
            return
        beside = self._path.with_suffix(".part")
        beside.write_text(json.dumps(asdict(self)))
        beside.replace(self._path)


def samples_of(epochs: float, examples: int, per_update: int) -> int:
    """Return how many examples `epochs` passes took: an epoch that was begun, by its updates."""
    whole = int(epochs)
    updates = round((epochs - whole) * math.ceil(examples / per_update))
    return whole * examples + min(updates * per_update, examples)
