"""PI: pi-Distill: a teacher that sees the solution and the student that does not, trained together on its traces."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pfh import hookimpl
from pfh.hooks.methods import StageSpec, TrainingResult, TrainingSpec
from pydantic import BaseModel, Field

from pfh_methods.grpo import PINNED
from pfh_methods.on_domain import OnlineSetup, reward_function
from pfh_methods.privileged import (
    PrivilegedOptions,
    check_privileged,
    clipped,
    leaks,
    privileged_trainer,
    train_privileged,
)

if TYPE_CHECKING:
    import torch
    from trl import GRPOTrainer


class Options(PrivilegedOptions):
    """Options of pi-Distill."""

    alpha: float = Field(0.5, ge=0, le=1, description="weight of the teacher's objective; the student's has the rest")


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
    check_privileged(spec, "pi-distill")


@hookimpl
def train(spec: TrainingSpec) -> TrainingResult:
    """Train teacher and student on the teacher's rollouts; what is saved serves as the student.

    Raises:
        UserError: fewer problems than an update needs, or vLLM was asked for where it cannot run.
        StepFailedError: beta is 0 and no reward ever differed from another of its group, or training broke off.
    """
    return train_privileged(spec, "pi-distill", pi_distill_trainer)


def teacher_objective(
    logps: torch.Tensor, sampled_logps: torch.Tensor, shaped_advantages: torch.Tensor, epsilon: float
) -> torch.Tensor:
    """Return J_Teacher = E_T[R] - beta KL(pi_T || sg pi_S) of every token, to be maximised (arXiv 2602.04942).

    The divergence is in the advantages. `logps` are the teacher's, shape (completions, tokens).
    """
    return clipped(logps, sampled_logps, shaped_advantages, epsilon)


def student_objective(
    logps: torch.Tensor, sampled_logps: torch.Tensor, advantages: torch.Tensor, beta: float, epsilon: float
) -> torch.Tensor:
    """Return J_Student = E_T[pi_S / sg(pi_T) R] - beta KL(sg pi_T || pi_S) of every token (arXiv 2602.04942).

    `logps` are the student's, `sampled_logps` those of the teacher that wrote the tokens: the ratio corrects for the
    sampler, and the divergence is estimated on its tokens. Shape (completions, tokens).
    """
    return clipped(logps, sampled_logps, advantages, epsilon) - beta * (sampled_logps - logps)


def pi_distill_trainer(setup: OnlineSetup, arguments: Mapping[str, Any]) -> GRPOTrainer:
    """Return TRL's GRPO trainer with J = alpha J_Teacher + (1 - alpha) J_Student in place of its loss."""
    from trl import GRPOConfig

    options: Options = setup.spec.options

    class PiDistill(privileged_trainer(setup, sampler="teacher")):  # type: ignore[misc]
        def _compute_loss(self, model: torch.nn.Module, inputs: Mapping[str, torch.Tensor]) -> torch.Tensor:
            sampled, mask = inputs["old_per_token_logps"], inputs["completion_mask"]
            objective = 0.0
            if options.alpha > 0:
                logps, entropies = self.logps(model, inputs, "teacher")
                teacher = teacher_objective(logps, sampled, inputs["shaped_advantages"], options.epsilon)
                objective = objective + options.alpha * teacher
            if options.alpha < 1:
                logps, entropies = self.logps(model, inputs, "student")
                student = student_objective(logps, sampled, inputs["advantages"], options.beta, options.epsilon)
                objective = objective + (1 - options.alpha) * student
            self._metrics["train"]["entropy"].append(((entropies * mask).sum() / mask.sum()).item())
            # The mean over the tokens of the update, as in GRPO with loss="dapo": TRL counts them.
            tokens = inputs["num_items_in_batch"].clamp(min=1) / self.accelerator.num_processes
            tokens = tokens * self.current_gradient_accumulation_steps / self.args.steps_per_generation
            return -(objective * mask).sum() / tokens

    config = GRPOConfig(**arguments, **PINNED, beta=0.0, loss_type="dapo", scale_rewards="group")
    reward = reward_function(setup, {"leaks": leaks})
    return PiDistill(reward_funcs=reward, args=config, **setup.shared_arguments)
