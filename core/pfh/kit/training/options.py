"""The options of a training, and what peft and TRL are given for them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from pfh.errors import UserError, did_you_mean
from pfh.kit.training.trackers import NONE, check_tracker

if TYPE_CHECKING:
    from peft import LoraConfig
    from transformers import PreTrainedModel


ALL_LINEAR = "all-linear"
"""As the only one of `lora_targets`: every linear layer but the output head."""


class TrainingOptions(BaseModel):
    """Options that every method trained with TRL has; a method adds its own and may change a default."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    learning_rate: float = Field(1e-4, gt=0, description="peak learning rate")
    epochs: float = Field(1.0, gt=0, description="passes over the training examples")
    max_steps: int | None = Field(None, ge=1, description="stop after this many updates, whatever epochs says")
    batch_size: int = Field(4, ge=1, description="examples a device holds at once; halved when memory runs out")
    gradient_accumulation: int = Field(1, ge=1, description="batches whose gradients make one update")
    warmup: float = Field(0.1, ge=0, lt=1, description="share of the updates over which the learning rate rises")
    schedule: Literal["linear", "cosine", "constant_with_warmup"] = Field(
        "linear", description="course of the learning rate after the warm-up"
    )
    optimizer: Literal["adamw_torch", "rmsprop"] = Field("adamw_torch", description="optimiser")
    max_grad_norm: float = Field(1.0, gt=0, description="gradients are clipped to this norm")
    max_length: int = Field(1024, ge=8, description="longest sequence in tokens; longer ones lose their end")
    adapter: Literal["lora", "full"] = Field("lora", description="train a LoRA adapter, or all weights")
    lora_rank: int = Field(16, ge=1, description="rank of the LoRA matrices")
    lora_alpha: float = Field(32, gt=0, description="LoRA scale: the adapter is multiplied by alpha / rank")
    lora_targets: tuple[str, ...] = Field(
        (ALL_LINEAR,), min_length=1, description="layers with an adapter by name, such as q_proj,v_proj, or all-linear"
    )
    gradient_checkpointing: bool = Field(False, description="recompute activations: less memory, slower")
    precision: Literal["auto", "float32", "bfloat16"] = Field(
        "auto", description="what training computes in; weights stay float32; auto: bfloat16 on CUDA, float32 elsewhere"
    )
    save_steps: int = Field(10, ge=1, description="updates between checkpoints: the most that a killed run repeats")
    report_to: str = Field(
        NONE, description="tracker that training logs to: trackio, wandb, mlflow, tensorboard, or none"
    )

    @field_validator("report_to")
    @classmethod
    def _can_report(cls, tracker: str) -> str:
        return check_tracker(tracker)


def lora_config(
    options: TrainingOptions, model: PreTrainedModel | None = None, dropout: float = 0.0
) -> LoraConfig | None:
    """Return the peft configuration of a LoRA adapter, or None for full fine-tuning.

    Raises:
        UserError: `model`, where it is given, lacks one of `options.lora_targets`.
    """
    if options.adapter == "full":
        return None
    from peft import LoraConfig

    if model is not None:
        check_targets(options.lora_targets, model)

    return LoraConfig(
        r=options.lora_rank,
        lora_alpha=options.lora_alpha,
        lora_dropout=dropout,
        target_modules=ALL_LINEAR if options.lora_targets == (ALL_LINEAR,) else list(options.lora_targets),
        bias="none",
        task_type="CAUSAL_LM",
    )


def check_targets(targets: tuple[str, ...], model: PreTrainedModel) -> None:
    """Check that every name can have an adapter: peft leaves out one that cannot, if another is there, without a word.

    Raises:
        UserError: `model`, whose weights are not looked at, has no linear layer of that name.
    """
    from torch.nn import Linear

    head = model.get_output_embeddings()
    linear = {
        name.rpartition(".")[2]
        for name, module in model.named_modules()
        if isinstance(module, Linear) and module is not head
    }
    for target in targets:
        if target not in linear | {ALL_LINEAR}:
            raise UserError(
                f"lora_targets names {target!r}, which is no linear layer of this model ({model.config.model_type})."
                f"{did_you_mean(target, linear)} Beside the output head it has {', '.join(sorted(linear))}; "
                f"lora_targets={ALL_LINEAR} takes all of these."
            )
    if ALL_LINEAR in targets and len(targets) > 1:
        raise UserError(
            f"lora_targets is either {ALL_LINEAR} alone or names of layers, not both: {', '.join(targets)}."
        )


def trainer_arguments(
    options: TrainingOptions, *, output_dir: Path, seed: int, batch_size: int, gradient_accumulation: int
) -> dict[str, Any]:
    """Return what every TRL config takes from `options`; bfloat16 is autocast, the weights stay float32."""
    import torch
    from transformers import TrainingArguments

    on_gpu = torch.cuda.is_available()
    checkpointing: dict[str, Any] = {"gradient_checkpointing": options.gradient_checkpointing}
    if "activation_checkpointing" in TrainingArguments.__dataclass_fields__:
        # TRL turns the old name on; None hands the decision to the new name of transformers 5.23.
        checkpointing = {"gradient_checkpointing": None, "activation_checkpointing": options.gradient_checkpointing}
    return {
        "output_dir": str(output_dir),
        "seed": seed,
        "data_seed": seed,
        "learning_rate": options.learning_rate,
        "num_train_epochs": options.epochs,
        "max_steps": options.max_steps or -1,
        "per_device_train_batch_size": batch_size,
        "gradient_accumulation_steps": gradient_accumulation,
        "warmup_steps": options.warmup,
        "lr_scheduler_type": options.schedule,
        "optim": options.optimizer,
        "weight_decay": 0.0,
        "max_grad_norm": options.max_grad_norm,
        "use_cpu": not on_gpu,
        "bf16": options.precision == "bfloat16" or (options.precision == "auto" and on_gpu),
        "fp16": False,
        "dataloader_pin_memory": on_gpu,
        "save_strategy": "steps",
        "save_steps": options.save_steps,
        "save_total_limit": 2,
        "logging_steps": 1,
        "logging_nan_inf_filter": False,
        "include_num_input_tokens_seen": "non_padding",
        "disable_tqdm": True,
        "report_to": options.report_to,
        **checkpointing,
    }
