"""ON-RL: Group Relative Policy Optimization on the verifier's reward, completions of one prompt against each other."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pfh import hookimpl
from pfh.hooks.domains import Converses
from pfh.hooks.meanings import Learns
from pfh.hooks.methods import Draw, StageSpec, TrainingResult, TrainingSpec
from pfh.kit.training import Work
from pydantic import BaseModel, Field

from pfh_methods.conversations import conversations
from pfh_methods.on_domain import OnlineSetup, on_domain, reward_function
from pfh_methods.online import OnlineOptions, check_online, reference_arguments, train_online
from pfh_methods.resampling import with_dynamic_sampling

if TYPE_CHECKING:
    from trl import GRPOTrainer

PINNED: Mapping[str, Any] = {
    "multi_objective_aggregation": "sum_then_normalize",
    "delta": None,
    "top_entropy_quantile": 1.0,
    "entropy_coef": 0.0,
    "use_adaptive_entropy": False,
    "off_policy_mask_threshold": None,
    "use_bias_correction_kl": False,
}
"""What GRPO in the paper leaves out or does one way, whatever TRL's defaults become."""


class Options(OnlineOptions):
    """Options of GRPO, with DAPO's clipping and mean over tokens (Yu et al. 2025, arXiv 2503.14476)."""

    learns: ClassVar[Learns] = Learns.CONVERSATIONS

    beta: float = Field(0.0, ge=0, description="strength of the pull towards the start model; 0 keeps no reference")
    loss: Literal["dapo", "grpo", "dr_grpo", "bnpo"] = Field(
        "dapo", description="how tokens are averaged: over the update (dapo), or in each completion first (grpo)"
    )
    ratio: Literal["token", "sequence"] = Field(
        "token", description="what the ratio of new to old policy is of: each token, or the whole completion (GSPO)"
    )
    dynamic_sampling: int = Field(
        0,
        ge=0,
        description="so many times in an update, prompts whose completions all earned the same make room for others "
        "(DAPO); 0: they stay, and teach nothing",
    )
    scale_rewards: Literal["group", "batch", "none"] = Field(
        "group", description="what the advantages are divided by: the standard deviation of the group, or of the batch"
    )

    @property
    def work(self) -> Work:
        """What it does with a problem."""
        return Work(examples=self.generations, read=(self.beta > 0) + (self.inner_epochs > 1), generated=1, along=True)


@hookimpl
def options() -> type[BaseModel]:
    """Return the options of the method."""
    return Options


@hookimpl
def check(spec: StageSpec) -> None:
    """Check that there are problems enough for an update, and that vLLM can run where it is asked for.

    Raises:
        UserError: that is so.
    """
    check_online(spec, "grpo")


@hookimpl
def draws(spec: StageSpec) -> tuple[Draw, ...]:
    """Name none: it generates while it trains."""
    return ()


@hookimpl
def train(spec: TrainingSpec) -> TrainingResult:
    """Train on the model's own rollouts with TRL.

    Raises:
        UserError: fewer problems than an update needs, or vLLM was asked for where it cannot run.
        StepFailedError: no reward ever differed from another of its group, or training broke off.
    """
    return train_online(spec, "grpo", grpo_trainer)


def grpo_trainer(setup: OnlineSetup, arguments: Mapping[str, Any]) -> GRPOTrainer:
    """Return TRL's trainer with the loss of Shao et al. 2024 (arXiv 2402.03300, equation 3).

    With loss="dapo" its mean runs over the tokens of the update (Yu et al. 2025, arXiv 2503.14476, equation 8). In a
    conversation only what the model wrote carries loss.
    """
    os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")  # of rollout_func
    from trl import GRPOConfig, GRPOTrainer

    options: Options = setup.spec.options
    config = GRPOConfig(
        **arguments,
        **PINNED,
        **reference_arguments(setup.spec, options.beta),
        loss_type=options.loss,
        scale_rewards=options.scale_rewards,
        importance_sampling_level=options.ratio,
    )
    domain = setup.spec.domain
    trainer = on_domain(GRPOTrainer, setup)
    if options.dynamic_sampling:
        trainer = with_dynamic_sampling(trainer, setup, options.dynamic_sampling)
    return trainer(
        reward_funcs=reward_function(setup),
        args=config,
        rollout_func=conversations(setup, domain) if isinstance(domain, Converses) else None,
        **setup.shared_arguments,
    )
