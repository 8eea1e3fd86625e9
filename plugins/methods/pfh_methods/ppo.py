"""ON-RL: PPO on the verifier's reward, with a critic that says what each token was worth."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pfh import hookimpl
from pfh.errors import UserError
from pfh.hooks.methods import Draw, StageSpec, TrainingResult, TrainingSpec
from pfh.kit.training import Work, processes
from pydantic import Field, model_validator

from pfh_methods.gae import advantages_and_returns, token_rewards, value_losses, whitened
from pfh_methods.grpo import PINNED
from pfh_methods.on_domain import OnlineSetup, on_domain, reward_function
from pfh_methods.online import OnlineOptions, check_online, train_online

if TYPE_CHECKING:
    import torch
    from pydantic import BaseModel
    from trl import GRPOTrainer

_CRITIC = "critic.safetensors"


class Options(OnlineOptions):
    """Options of PPO; the defaults are those in use for verifiable rewards."""

    generations: int = Field(2, ge=2, description="completions a prompt; they are not compared with each other")
    epsilon_high: float = Field(0.2, gt=0, description="upper end of the range that the ratio is clipped to, 1 + this")
    gamma: float = Field(1.0, gt=0, le=1, description="discount of a reward, a token")
    gae_lambda: float = Field(1.0, ge=0, le=1, description="0: advantages from the next value alone; 1: from rewards")
    value_clip: float = Field(0.5, gt=0, description="how far a value may go from the one at the draw, in its loss")
    value_weight: float = Field(0.5, gt=0, description="weight of the critic's loss")
    critic_rate: float = Field(1e-3, gt=0, description="peak learning rate of the critic's head")
    critic_warmup: int = Field(0, ge=0, description="first updates that train the critic alone")
    beta: float = Field(
        0.0, ge=0, description="weight of log pi - log pi_start in each token's reward; above 0 it needs adapter=lora"
    )

    @model_validator(mode="after")
    def _start_is_at_hand(self) -> Options:
        if self.beta and self.adapter == "full":
            raise ValueError("beta above 0 needs adapter=lora, whose start is the model without it; or take kl_start")
        return self

    @property
    def work(self) -> Work:
        """What it does with a problem."""
        return Work(
            examples=self.generations, read=1 + (self.inner_epochs > 1) + (self.beta > 0), generated=1, along=True
        )


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
    check_online(spec, "ppo")


@hookimpl
def draws(spec: StageSpec) -> tuple[Draw, ...]:
    """Name none: it generates while it trains."""
    return ()


@hookimpl
def train(spec: TrainingSpec) -> TrainingResult:
    """Train on the model's own rollouts.

    Raises:
        UserError: fewer problems than an update needs, several processes, or vLLM where it cannot run.
        StepFailedError: training broke off.
    """
    if processes() > 1:
        raise UserError("ppo keeps its critic in one process: leave --accelerate out, or take grpo.")
    return train_online(spec, "ppo", ppo_trainer, only_reward=False)


def ppo_trainer(setup: OnlineSetup, arguments: Mapping[str, Any]) -> GRPOTrainer:
    """Return TRL's GRPO trainer with PPO's advantages a token and a critic (Schulman et al. 2017, arXiv 1707.06347).

    The reward of a completion R stands at its last token, and at each -beta (log pi_old - log pi_start). The critic is
    a linear head, in float32, over the start model's last hidden states before each token (where all weights train, the
    policy's at the draw), 0 at first but for its bias, the mean reward. Advantages are GAE's, whitened over the tokens
    drawn at once, the policy's loss is GRPO's clipped one with the mean over the update's tokens, and

        loss = policy + value_weight * mean over t of max((V - G)^2, (V_old + clip(V - V_old) - G)^2) / 2
    """
    import torch
    from trl import GRPOConfig, GRPOTrainer

    options: Options = setup.spec.options

    class PPO(on_domain(GRPOTrainer, setup)):  # type: ignore[misc]
        def __init__(self, **named: Any) -> None:  # noqa: ANN401 - TRL's
            super().__init__(**named)
            width = self.accelerator.unwrap_model(self.model).config.get_text_config().hidden_size
            self.critic = torch.nn.Linear(width, 1, dtype=torch.float32, device=self.accelerator.device)
            torch.nn.init.zeros_(self.critic.weight)
            torch.nn.init.zeros_(self.critic.bias)
            self.begun = False
            self.add_callback(_critic_callback(self))

        def create_optimizer(self, *arguments: Any, **named: Any) -> Any:  # noqa: ANN401 - transformers'
            optimizer = super().create_optimizer(*arguments, **named)
            if not any(part is self.critic.weight for group in optimizer.param_groups for part in group["params"]):
                optimizer.add_param_group(
                    {"params": list(self.critic.parameters()), "lr": options.critic_rate, "weight_decay": 0.0}
                )
            return optimizer

        def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
            batch: dict[str, Any] = super()._generate_and_score_completions(inputs)
            mine = self.accelerator.process_index * len(inputs)
            rewards, mask = self.rewards[mine : mine + len(inputs)], batch["completion_mask"]
            if not self.begun:
                self.begun = True
                with torch.no_grad():
                    self.critic.bias.fill_(float(self.rewards.mean()))
            with torch.no_grad():
                features = self.features(batch)
                values = self.critic(features).squeeze(-1) * mask
                spread = token_rewards(rewards, mask, self._from_start(batch))
                advantages, returns = advantages_and_returns(spread, values, mask, options.gamma, options.gae_lambda)
            batch["advantages"] = whitened(advantages, mask)
            batch |= {"features": features, "returns": returns, "old_values": values}
            return batch

        def features(self, batch: Mapping[str, torch.Tensor]) -> torch.Tensor:
            """Return the last hidden states before each token of the completions, in float32."""
            from contextlib import nullcontext

            model = self.accelerator.unwrap_model(self.model)
            base = model.get_base_model() if hasattr(model, "get_base_model") else model
            ids = batch["completion_ids"]
            with model.disable_adapter() if hasattr(model, "disable_adapter") else nullcontext():
                states = base.base_model(
                    input_ids=torch.cat([batch["prompt_ids"], ids], dim=1),
                    attention_mask=torch.cat([batch["prompt_mask"], batch["completion_mask"]], dim=1),
                    use_cache=False,
                ).last_hidden_state
            return states[:, -ids.size(1) - 1 : -1].float()

        def _from_start(self, batch: Mapping[str, torch.Tensor]) -> torch.Tensor | None:
            if not options.beta:
                return None
            now, _ = self.completion_logps(self.model, batch)
            with self.accelerator.unwrap_model(self.model).disable_adapter():
                start, _ = self.completion_logps(self.model, batch)
            return options.beta * (now - start)

        def _compute_loss(self, model: torch.nn.Module, inputs: Mapping[str, torch.Tensor]) -> torch.Tensor:
            policy = super()._compute_loss(model, inputs)
            if self.state.global_step < options.critic_warmup:
                policy = 0.0 * policy
            mask = inputs["completion_mask"]
            values = self.critic(inputs["features"]).squeeze(-1)
            losses = value_losses(values, inputs["old_values"], inputs["returns"], options.value_clip)
            self.log_mean("value_loss", losses, mask)
            return policy + options.value_weight * self.mean_over_update(losses * mask, inputs)

    config = GRPOConfig(
        **arguments, **PINNED, importance_sampling_level="token", beta=0.0, loss_type="dapo", scale_rewards="none"
    )
    return PPO(reward_funcs=reward_function(setup), args=config, **setup.shared_arguments)


def _critic_callback(trainer: Any) -> Any:  # noqa: ANN401 - TRL is untyped here
    """Keep the critic with every checkpoint, so that a resumed training is the same; the optimiser is the trainer's."""
    from safetensors.torch import load_file, save_file
    from transformers import TrainerCallback

    class Critic(TrainerCallback):  # type: ignore[misc] # transformers is untyped here
        def on_save(self, args: Any, state: Any, control: Any, **_: object) -> None:  # noqa: ANN401
            if args.should_save:
                save_file(dict(trainer.critic.state_dict()), self._file(args, state))

        def on_train_begin(self, args: Any, state: Any, control: Any, **_: object) -> None:  # noqa: ANN401
            if state.global_step:
                trainer.critic.load_state_dict(load_file(self._file(args, state)))
                trainer.begun = True

        def _file(self, args: Any, state: Any) -> Path:  # noqa: ANN401
            return Path(args.output_dir) / f"checkpoint-{state.global_step}" / _CRITIC

    return Critic()
