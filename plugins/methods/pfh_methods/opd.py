"""On-policy distillation: the model writes, and a larger teacher of the same vocabulary reads along."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pfh import hookimpl
from pfh.errors import UserError
from pfh.hooks.checkpoint import Checkpoint
from pfh.hooks.meanings import Names
from pfh.hooks.methods import Draw, StageSpec, TrainingResult, TrainingSpec
from pfh.kit.tokens.loading import load_tokenizer
from pfh.kit.training import Work, rate
from pfh.kit.training.passes import count_passes
from pfh.kit.weights import load_weights
from pydantic import Field, field_validator

from pfh_methods.grpo import PINNED
from pfh_methods.on_domain import OnlineSetup, on_domain, reward_function
from pfh_methods.online import OnlineOptions, check_online, train_online
from pfh_methods.privileged import divergence

if TYPE_CHECKING:
    import torch
    from pydantic import BaseModel
    from trl import GRPOTrainer


class Options(OnlineOptions):
    """Options of on-policy distillation."""

    teacher: Annotated[str, Names.MODEL] = Field(
        "",
        validate_default=True,
        description="the model that reads along: a hub id or a path, with the student's tokenizer; needed",
    )
    divergence: Literal["reverse", "forward"] = Field(
        "reverse", description="reverse: KL(student || teacher), which seeks its modes; forward: KL(teacher || student)"
    )
    generations: int = Field(2, ge=2, description="completions a prompt")
    learning_rate: float = rate(1e-5)

    @field_validator("teacher")
    @classmethod
    def _named(cls, teacher: str) -> str:
        if not teacher:
            raise ValueError("name the teacher, as a hub id or a path (-o teacher=...).")
        return teacher

    @property
    def work(self) -> Work:
        """What it does with a problem."""
        return Work(examples=self.generations, read=1, generated=1, along=True)


@hookimpl
def options() -> type[BaseModel]:
    """Return the options of the method."""
    return Options


@hookimpl
def check(spec: StageSpec) -> None:
    """Check that the teacher reads the student's tokens, and that there are problems enough for an update.

    Raises:
        UserError: that is not so.
    """
    check_online(spec, "opd")
    _teacher(spec)


@hookimpl
def draws(spec: StageSpec) -> tuple[Draw, ...]:
    """Name none: it generates while it trains."""
    return ()


@hookimpl
def train(spec: TrainingSpec) -> TrainingResult:
    """Train the student on its own completions, towards the teacher's distribution at every token of them.

    Raises:
        UserError: the teacher has other tokens, or there are fewer problems than an update needs.
        StepFailedError: training broke off.
    """
    _teacher(spec)
    return train_online(spec, "opd", opd_trainer, only_reward=False)


def _teacher(spec: StageSpec) -> Checkpoint:
    """Return the teacher, which has the student's tokens.

    Raises:
        UserError: there is none, or it has others.
    """
    if spec.teacher is None:
        raise UserError("No teacher was given: name one with -o teacher=, a hub id or a path.")
    if spec.teacher.endpoint is not None:
        raise UserError(
            f"{spec.teacher.name} answers through an endpoint, which shows no distributions over the whole vocabulary: "
            "name its weights, or imitate its text with sf-sft or cf-sft."
        )
    own, others = (load_tokenizer(each).get_vocab() for each in (spec.checkpoint, spec.teacher))
    if own != others:
        different = sum(own.get(token) != others.get(token) for token in {*own, *others})
        raise UserError(
            f"{spec.teacher.name} has other tokens than {spec.checkpoint.name} ({different:,} differ), so that their "
            "distributions cannot be compared: take a teacher of the same family, or imitate its text with sf-sft or "
            "cf-sft."
        )
    return spec.teacher


def opd_trainer(setup: OnlineSetup, arguments: Mapping[str, Any]) -> GRPOTrainer:
    """Return TRL's GRPO trainer with a divergence in place of its loss (Agarwal et al. 2024, arXiv 2306.13649, GKD).

    y is drawn from the student pi_S; the teacher pi_T reads it under the same prompt:

        loss = mean over the tokens t of an update of KL(pi_S(.|x, y_<t) || pi_T(.|x, y_<t)), over the whole vocabulary

    Gradients flow through the student's distributions, not through the draw. The reward is measured, no more.
    """
    import torch
    from trl import GRPOConfig, GRPOTrainer

    options: Options = setup.spec.options
    teacher = load_weights(_teacher(setup.spec), torch.float32).eval().requires_grad_(False)
    count_passes(teacher)

    class Distilled(on_domain(GRPOTrainer, setup)):  # type: ignore[misc]
        pfh_beside = (teacher,)
        """Counted among the passes."""

        def logits_of(self, model: torch.nn.Module, batch: Mapping[str, torch.Tensor]) -> torch.Tensor:
            """Return the logits at the completions' tokens, at the sampling temperature."""
            ids = batch["completion_ids"]
            with self.accelerator.autocast():
                logits = model(
                    input_ids=torch.cat([batch["prompt_ids"], ids], dim=1),
                    attention_mask=torch.cat([batch["prompt_mask"], batch["completion_mask"]], dim=1),
                    logits_to_keep=ids.size(1) + 1,
                    use_cache=False,
                ).logits
            return logits[:, :-1].float() / self.temperature

        def _compute_loss(self, model: torch.nn.Module, inputs: Mapping[str, torch.Tensor]) -> torch.Tensor:
            student = self.logits_of(model, inputs)
            with torch.no_grad():
                reading = self.logits_of(teacher.to(student.device), inputs)
            shared = min(student.size(-1), reading.size(-1))  # rows beyond the tokens pad the larger matrix
            student, reading = student[..., :shared], reading[..., :shared]
            mask = inputs["completion_mask"]
            pair = (student, reading) if options.divergence == "reverse" else (reading, student)
            apart = divergence(*pair)
            self.log_mean("kl_to_teacher", apart, mask)
            return self.mean_over_update(apart * mask, inputs)

    config = GRPOConfig(
        **arguments, **PINNED, importance_sampling_level="token", beta=0.0, loss_type="dapo", scale_rewards="group"
    )
    return Distilled(reward_funcs=reward_function(setup), args=config, **setup.shared_arguments)
