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
from pfh.kit.training.sharing import is_first, of_the_first, processes

if TYPE_CHECKING:
    from accelerate import Accelerator


_FILE = "spent.json"


@dataclass(frozen=True, kw_only=True)
class Allowance:
    """What one training may spend: None where it has no limit."""

    seconds: float | None = None
    """Wall-clock."""
    tokens: float | None = None
    updates: int | None = None
    overdraft: float = math.inf
    """Seconds or tokens that the first update must not take: the whole budget of a stage that has trained nothing yet.
    A round that overdraws only its own part ends."""

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
        left /= processes() if unit == "seconds" else 1
        overdraft = math.inf if any(phase.updates for phase in account.phases) else left
        if unit == "seconds":
            return cls(seconds=left / rounds, overdraft=overdraft)
        return cls(tokens=left / rounds, overdraft=overdraft)

    def is_spent(self, seconds: float, tokens: int, update: int, name: str) -> bool:
        """Say whether training must end after `update`, having taken `seconds` and `tokens` so far.

        Raises:
            StepFailedError: the first update of the stage alone took more than all of the budget.
        """
        for unit, limit, taken in (("seconds", self.seconds, seconds), ("tokens", self.tokens, tokens)):
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

    @classmethod
    def read(cls, folder: Path) -> Spent:
        """Return what earlier attempts left in `folder`: nothing spent where there were none."""
        path = folder / _FILE
        return cls(**json.loads(path.read_text())) if path.exists() else cls()

    def start(self, folder: Path) -> None:
        """Count the time from now on, and keep what is spent in `folder`."""
        self._path, self._last = folder / _FILE, time.monotonic()
        self._accelerator: Accelerator | None = None
        self.write()

    def agree(self, accelerator: Accelerator) -> None:
        """Take the seconds of the first of the processes of `accelerator` from now on."""
        self._accelerator = accelerator
        self.write()

    def write(self) -> None:
        """Count the time that has passed, and write all to the disk."""
        now = time.monotonic()
        self.seconds, self._last = self.seconds + now - self._last, now
        if self._accelerator is not None and self._accelerator.num_processes > 1:
            self.seconds = of_the_first(self.seconds, self._accelerator)
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
