"""A training while it goes on, and what it leaves when it is finished."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from pfh.hooks.budget import Account
from pfh.hooks.ledger import Phase
from pfh.hooks.stopping import Look
from pfh.kit.training.held_near import Near
from pfh.kit.training.spending import Allowance, Spent
from pfh.progress import Progress

if TYPE_CHECKING:
    from transformers import Trainer


class Stage(Protocol):
    """What a training needs of its stage; a `pfh.hooks.methods.TrainingSpec` has it."""

    @property
    def options(self) -> Any:  # noqa: ANN401 - a `TrainingOptions`, and what its method adds
        """A `TrainingOptions`."""
        ...

    @property
    def seed(self) -> int:
        """Decides every random choice."""
        ...

    @property
    def output_dir(self) -> Path:
        """A folder that outlives a killed process."""
        ...

    @property
    def account(self) -> Account:
        """The stage's budget, and what is spent of it."""
        ...

    @property
    def keep_every(self) -> int | None:
        """Updates between the checkpoints that are kept along the way; None keeps none."""
        ...

    @property
    def progress(self) -> Progress:
        """Gets the bar."""
        ...

    @property
    def rehearsal(self) -> bool:
        """Only one update is wanted, to see whether it can be made and saved."""
        ...


@dataclass(frozen=True, kw_only=True)
class RunningTraining:
    """A training while it goes on, over all attempts."""

    name: str
    """The phase, in the ledger and beside the bar."""
    output_dir: Path
    """Where its checkpoints are."""
    share: int
    """How many examples of an update this process takes."""
    allowance: Allowance
    spent: Spent
    progress: Progress
    keep_every: int | None = None
    """Updates between the checkpoints along the way; None keeps none."""
    along: Path = Path()
    """Where these are."""
    before: tuple[Phase, ...] = ()
    """What the stage had finished before this training."""
    near: Near | None = None
    """What holds the model near to where the run began."""
    look: Look | None = None
    """Looks at the weights on the way, and says whether to stop."""
    look_every: int = 10
    """Updates between two looks."""
    looks: Path = Path()
    """Where the weights that are looked at are."""
    general: int = 0
    """General rows of an update, beside the method's own examples."""

    def is_over_budget(self, tokens: int, update: int) -> bool:
        """Say whether the training must end after `update`, having seen `tokens`.

        Raises:
            StepFailedError: the first update of the stage alone took more than all of the budget.
        """
        return self.allowance.is_spent(self.spent, tokens, update, self.name)


@dataclass(frozen=True, kw_only=True)
class FinishedTraining:
    """A finished training."""

    trainer: Trainer
    curves: tuple[dict[str, float], ...]
    """One row an update: "step", "loss", and what else the trainer logged; TRL's own timings are left out."""
    phase: Phase
