"""ON-RL: REINFORCE on the verifier's reward, with a leave-one-out baseline (RLOO) or normalised over the batch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

from pfh import hookimpl
from pfh.hooks.methods import Draw, StageSpec, TrainingResult, TrainingSpec
from pfh.kit.training import Work
from pydantic import BaseModel, Field, model_validator

from pfh_methods.on_domain import OnlineSetup, on_domain, reward_function
from pfh_methods.online import OnlineOptions, check_online, reference_arguments, train_online

if TYPE_CHECKING:
    import torch
    from trl import RLOOTrainer


class Options(OnlineOptions):
    """Options of REINFORCE."""

    beta: float = Field(0.0, ge=0, description="strength of the pull towards the start model; 0 keeps no reference")
    baseline: Literal["leave-one-out", "batch"] = Field(
        "leave-one-out",
        description="advantage: the reward minus the mean of the group's others, or standardised over the batch",
    )

    @model_validator(mode="after")
    def _pull_is_in_the_group(self) -> Options:
        if self.baseline == "batch" and self.beta:
            raise ValueError("beta above 0 needs baseline=leave-one-out")
        return self

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
    check_online(spec, "reinforce")


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
    return train_online(spec, "reinforce", reinforce_trainer)


def reinforce_trainer(setup: OnlineSetup, arguments: Mapping[str, Any]) -> RLOOTrainer:
    """Return TRL's trainer with the loss of Ahmadian et al. 2024 (arXiv 2402.14740, equation 7).

    The gradient is that of advantage x log-probability of the whole completion; with inner_epochs above 1 its ratio to
    the policy that wrote it is clipped.
    """
    from trl import RLOOConfig, RLOOTrainer

    options: Options = setup.spec.options
    config = RLOOConfig(
        **arguments,
        **reference_arguments(setup.spec, options.beta),
        normalize_advantages=False,
        reward_clip_range=None,
    )
    trainer = on_domain(RLOOTrainer, setup)
    if options.baseline == "batch":
        trainer = _normalised_over_the_batch(trainer)
    return trainer(reward_funcs=reward_function(setup), args=config, **setup.shared_arguments)


def batch_advantages(rewards: torch.Tensor) -> torch.Tensor:
    """Return `rewards`, shape (completions,), standardised: zeros where all are equal."""
    return (rewards - rewards.mean()) / (rewards.std() + 1e-8)


def _normalised_over_the_batch(trainer: type[Any]) -> type[Any]:
    class BatchNormalised(trainer):  # type: ignore[misc]
        def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
            batch: dict[str, Any] = super()._generate_and_score_completions(inputs)
            mine = self.accelerator.process_index * len(inputs)
            batch["advantages"] = batch_advantages(self.rewards)[mine : mine + len(inputs)]
            return batch

    return BatchNormalised
