"""What crosses the hooks of a method: a stage to check, a training to do, and its result."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from pfh.hooks.budget import Account
from pfh.hooks.datasets import DataSource, NoData
from pfh.hooks.stopping import Look
from pfh.progress import Progress, Silent

if TYPE_CHECKING:
    from pfh.hooks.backends import Sampling
    from pfh.hooks.checkpoint import Checkpoint
    from pfh.hooks.domains import Domain, Problem, Rollout
    from pfh.hooks.ledger import Phase


class RolloutSource(Protocol):
    """Draws rollouts of the run's training problems, or finds them in the store."""

    def __call__(
        self,
        *,
        samples: int,
        sampling: Sampling | None = None,
        checkpoint: Checkpoint | None = None,
        problems: Sequence[Problem] | None = None,
        judged: bool = True,
    ) -> tuple[Rollout, ...]:
        """Return `samples` rollouts a problem, grouped by problem.

        Args:
            samples: rollouts a problem.
            sampling: how they are drawn; the domain's way unless given.
            checkpoint: which model writes them; the start unless given.
            problems: which are put to it; the run's unless given. One that is put in another way than the domain puts
                it needs an id that tells the two apart.
            judged: the domain rewards them; False for prompts of a method's own, which the domain knows nothing of: the
                reward of each is 0.
        """
        ...


@dataclass(frozen=True, kw_only=True)
class StageSpec:
    """What is known of a post-training stage before anything is measured."""

    checkpoint: Checkpoint
    """Where training starts; never changed."""
    domain: Domain
    problems: Sequence[Problem]
    """The training problems that every method of this run shares."""
    options: Any
    """An instance of the method's options model."""
    account: Account = field(default_factory=Account)
    """The stage's budget and what is spent of it; `pfh.kit.training.train_resumably` keeps to it."""
    progress: Progress = field(default_factory=Silent)
    teacher: Checkpoint | None = None
    """The model that an option names which is declared `Annotated[str, Names.MODEL]`."""
    origin: Checkpoint | None = None
    """Where the run began: what its first stage trains. None where that is `checkpoint`, as in a first stage."""
    others: tuple[Checkpoint, ...] = ()
    """The models that an option names which is declared `Annotated[str, Names.MODELS]`, their adapters merged."""
    data: DataSource = field(default_factory=NoData)
    """Datasets beside the domain's; those that an option names which is declared `Names.ROWS` decide the key."""

    @property
    def beginning(self) -> Checkpoint:
        """What the run began with: `origin`, or `checkpoint` in a first stage."""
        return self.origin or self.checkpoint


@dataclass(frozen=True, kw_only=True)
class Draw:
    """Rollouts that a training will ask `TrainingSpec.rollouts` for, known before it begins."""

    samples: int
    """Rollouts a problem."""
    by_teacher: bool = False
    """The teacher writes them; else the checkpoint that training starts from."""
    by_origin: bool = False
    """The model that the run began with writes them."""
    sampling: Sampling | None = None
    """How; None is the domain's way."""
    problems: Sequence[Problem] | None = None
    """Which are put to it; None is the run's."""
    judged: bool = True
    """The domain rewards them."""


@dataclass(frozen=True, kw_only=True)
class TrainingSpec(StageSpec):
    """One post-training stage: all of `StageSpec`, and what training needs."""

    rollouts: RolloutSource
    seed: int
    output_dir: Path
    """A folder that outlives a killed process: leave trainer checkpoints here, and go on from them."""
    keep_every: int | None = None
    """Keep a checkpoint along the way after so many updates, as `train_resumably` does; None keeps none."""
    look: Look | None = None
    """Looks at the weights after every `look_every` updates, as `train_resumably` does, and says whether to stop."""
    look_every: int = 10
    rehearsal: bool = False
    """Only one update is wanted, on two problems, to see whether it can be done; `train_resumably` sees to that."""


@dataclass(frozen=True, kw_only=True)
class TrainingResult:
    """A trained checkpoint, and what it cost."""

    path: Path
    """A folder under `output_dir` with an adapter or soft thoughts (adapter_config.json), or all weights (config.json):
    safetensors."""
    phases: tuple[Phase, ...]
    curves: tuple[Mapping[str, float], ...] = ()
    """One row a logged update, with at least "step"."""
    notes: tuple[str, ...] = ()
    """What a reader of the report must know, in whole sentences."""
