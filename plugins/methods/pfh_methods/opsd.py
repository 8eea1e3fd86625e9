"""PI: on-policy self-distillation: the student's own traces, drawn towards what it would write with the solution."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pfh import hookimpl
from pfh.hooks.methods import StageSpec, TrainingResult, TrainingSpec
from pydantic import BaseModel

from pfh_methods.grpo import PINNED
from pfh_methods.on_domain import OnlineSetup, reward_function
from pfh_methods.privileged import (
    PrivilegedOptions,
    check_privileged,
    leaks,
    privileged_trainer,
    train_privileged,
)

if TYPE_CHECKING:
    import torch
    from trl import GRPOTrainer


class Options(PrivilegedOptions):
    """Options of OPSD."""


@hookimpl
def options() -> type[BaseModel]:
    """Return the options of the method."""
    return Options


@hookimpl
def check(spec: StageSpec) -> None:
    """Refuse problems without a solution, too few of them, and vLLM where it cannot run.

    Raises:
        UserError: that is so.
    """
    check_privileged(spec, "opsd")


@hookimpl
def train(spec: TrainingSpec) -> TrainingResult:
    """Train the student on its own rollouts, which the same weights read again with the solution in sight.

    Raises:
        UserError: fewer problems than an update needs, or vLLM was asked for where it cannot run.
        StepFailedError: beta is 0 and no reward ever differed from another of its group, or training broke off.
    """
    return train_privileged(spec, "opsd", opsd_trainer)


def opsd_trainer(setup: OnlineSetup, arguments: Mapping[str, Any]) -> GRPOTrainer:
    """Return TRL's GRPO trainer with J = E_S[R] - beta KL(pi_S || sg pi_T) (arXiv 2602.04942).

    Its loss is GRPO's own, on advantages that hold the divergence. It is not pi-Distill with alpha 0: there the
    teacher writes, and the divergence runs the other way.
    """
    from trl import GRPOConfig

    class Opsd(privileged_trainer(setup, sampler="student")):  # type: ignore[misc]
        def _compute_loss(self, model: torch.nn.Module, inputs: Mapping[str, torch.Tensor]) -> torch.Tensor:
            loss: torch.Tensor = super()._compute_loss(model, {**inputs, "advantages": inputs["shaped_advantages"]})
            return loss

    config = GRPOConfig(**arguments, **PINNED, beta=0.0, loss_type="dapo", scale_rewards="group")
    reward = reward_function(setup, {"leaks": leaks})
    return Opsd(reward_funcs=reward, args=config, **setup.shared_arguments)
