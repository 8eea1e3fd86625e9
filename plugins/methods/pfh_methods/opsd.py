"""PI: on-policy self-distillation: the student's own traces, drawn towards what it would write with the solution."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pfh import hookimpl
from pfh.hooks.methods import Draw, StageSpec, TrainingResult, TrainingSpec
from pfh.kit.training import Work
from pydantic import BaseModel

from pfh_methods.on_domain import OnlineSetup
from pfh_methods.privileged import (
    PrivilegedOptions,
    Reading,
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
    """Options of OPSD."""

    @property
    def work(self) -> Work:
        """What it does with a problem."""
        return Work(examples=self.generations, read=2, generated=1, along=True, at_once=2)


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
    check_privileged(spec, "opsd")


@hookimpl
def draws(spec: StageSpec) -> tuple[Draw, ...]:
    """Name none: it generates while it trains."""
    return ()


@hookimpl
def train(spec: TrainingSpec) -> TrainingResult:
    """Train the student on its own rollouts, which the same weights read again with the solution in sight.

    Raises:
        UserError: fewer problems than an update needs, or vLLM was asked for where it cannot run.
        StepFailedError: beta is 0 and no reward ever differed from another of its group, or training broke off.
    """
    return train_privileged(spec, "opsd", opsd_trainer)


def opsd_trainer(setup: OnlineSetup, arguments: Mapping[str, Any]) -> GRPOTrainer:
    """Return TRL's GRPO trainer with J = E_S[R] - beta KL(pi_S || sg pi_T) in place of its loss (arXiv 2602.04942).

    R enters as GRPO's advantages; the divergence is a term of its own, over the whole vocabulary. It is not pi-Distill
    with alpha 0: there the teacher writes, and the divergence runs the other way.
    """
    options: Options = setup.spec.options

    def objective(batch: Reading) -> torch.Tensor:
        surrogate = clipped(
            batch.student.logps, batch.sampled_logps, batch.advantages, options.epsilon, options.epsilon_high
        )
        return surrogate - options.beta * divergence(batch.student.logits, batch.teacher.logits)

    return privileged_trainer(setup, arguments, sampler="student", trained={"student"}, objective=objective)
