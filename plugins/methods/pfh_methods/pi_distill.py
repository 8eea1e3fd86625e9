"""PI: pi-Distill: a teacher that sees the solution and the student that does not, trained together on its traces."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pfh import hookimpl
from pfh.hooks.methods import Draw, StageSpec, TrainingResult, TrainingSpec
from pfh.kit.training import Work
from pydantic import BaseModel, Field

from pfh_methods.on_domain import OnlineSetup
from pfh_methods.privileged import (
    PrivilegedOptions,
    Reading,
    Role,
    check_privileged,
    clipped,
    divergence,
    privileged_trainer,
    train_privileged,
)

if TYPE_CHECKING:
    import torch
    from trl import GRPOTrainer


class Options(PrivilegedOptions):
    """Options of pi-Distill."""

    alpha: float = Field(0.5, ge=0, le=1, description="weight of the teacher's objective; the student's has the rest")

    @property
    def work(self) -> Work:
        """What it does with a problem."""
        return Work(examples=self.generations, trained=2, read=1, generated=1, along=True, at_once=2)


@hookimpl
def options() -> type[BaseModel]:
    """Return the options of the method."""
    return Options


@hookimpl
def check(spec: StageSpec) -> None:
    """Check that enough problems have a solution, and that vLLM can run where it is asked for.

    Raises:
        UserError: that is so.
    """
    check_privileged(spec, "pi-distill")


@hookimpl
def draws(spec: StageSpec) -> tuple[Draw, ...]:
    """Name none: it generates while it trains."""
    return ()


@hookimpl
def train(spec: TrainingSpec) -> TrainingResult:
    """Train teacher and student on the teacher's rollouts; what is saved serves as the student.

    Raises:
        UserError: fewer problems than an update needs, or vLLM was asked for where it cannot run.
        StepFailedError: beta is 0 and no reward ever differed from another of its group, or training broke off.
    """
    return train_privileged(spec, "pi-distill", pi_distill_trainer)


def teacher_objective(batch: Reading, options: Options) -> torch.Tensor:
    """Return J_Teacher = E_T[R] - beta KL(pi_T || sg pi_S) of every token, to be maximised (arXiv 2602.04942)."""
    surrogate = clipped(
        batch.teacher.logps, batch.sampled_logps, batch.advantages, options.epsilon, options.epsilon_high
    )
    return surrogate - options.beta * divergence(batch.teacher.logits, batch.student.logits.detach())


def student_objective(batch: Reading, options: Options) -> torch.Tensor:
    """Return J_Student = E_T[pi_S / sg(pi_T) R] - beta KL(sg pi_T || pi_S) of every token (arXiv 2602.04942).

    The teacher wrote the tokens: the ratio corrects for that.
    """
    surrogate = clipped(
        batch.student.logps, batch.sampled_logps, batch.advantages, options.epsilon, options.epsilon_high
    )
    return surrogate - options.beta * divergence(batch.teacher.logits.detach(), batch.student.logits)


def pi_distill_trainer(setup: OnlineSetup, arguments: Mapping[str, Any]) -> GRPOTrainer:
    """Return TRL's GRPO trainer with J = alpha J_Teacher + (1 - alpha) J_Student in place of its loss.

    R enters as GRPO's advantages; the divergences are terms of their own, over the whole vocabulary.
    """
    options: Options = setup.spec.options
    weights: Mapping[Role, float] = {"teacher": options.alpha, "student": 1 - options.alpha}
    objectives = {"teacher": teacher_objective, "student": student_objective}
    trained = [role for role, weight in weights.items() if weight > 0]

    def objective(batch: Reading) -> torch.Tensor:
        parts = [weights[role] * objectives[role](batch, options) for role in trained]
        return parts[0] if len(parts) == 1 else parts[0] + parts[1]

    return privileged_trainer(setup, arguments, sampler="teacher", trained=trained, objective=objective)
