"""The options of a training, and what peft and TRL are given for them."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import ConfigDict, Field, field_validator, model_validator

from pfh.kit.training.mitigations import MitigationOptions
from pfh.kit.training.precision import computes_in_bfloat16
from pfh.kit.training.targets import ALL_LINEAR, target_modules
from pfh.kit.training.trackers import NONE, check_tracker
from pfh.kit.training.work import Work

if TYPE_CHECKING:
    from peft import LoraConfig
    from transformers import PreTrainedModel


Schedule = Literal["constant", "constant_with_warmup", "linear", "cosine", "cosine_with_min_lr"]
"""Course of the learning rate after the warm-up."""

Optimizer = Literal["adamw_torch", "adamw_bnb_8bit", "rmsprop"]

ADAPTER_STEPS = 10
"""A LoRA adapter takes so many times the learning rate of all weights (Schulman et al. 2025, "LoRA Without Regret")."""


def rate(full: float) -> Any:  # noqa: ANN401 - pydantic's field
    """Return the field of a learning rate: `full` is that of all weights, an adapter takes `ADAPTER_STEPS` times it."""
    adapter = float(f"{full * ADAPTER_STEPS:g}")
    return Field(
        adapter,
        gt=0,
        description=f"peak learning rate; unset: {adapter:g} for a LoRA adapter, {full:g} for all weights",
        json_schema_extra={"all_weights": full},
    )


class TrainingOptions(MitigationOptions):
    """Options that every method trained with TRL has; a method adds its own and may change a default."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    learning_rate: float = rate(1e-5)
    epochs: float = Field(1.0, gt=0, description="passes over the training examples")
    max_steps: int | None = Field(None, ge=1, description="stop after this many updates, whatever epochs says")
    batch_size: int = Field(4, ge=1, description="examples a device holds at once; halved when memory runs out")
    gradient_accumulation: int = Field(1, ge=1, description="batches whose gradients make one update")
    warmup: float = Field(0.1, ge=0, lt=1, description="share of the updates over which the learning rate rises")
    schedule: Schedule = Field("linear", description="course of the learning rate after the warm-up")
    min_learning_rate: float = Field(
        0.1, ge=0, lt=1, description="where cosine_with_min_lr ends, as a share of the peak learning rate"
    )
    optimizer: Optimizer = Field(
        "adamw_torch", description="optimiser; adamw_bnb_8bit needs a GPU and the package bitsandbytes"
    )
    max_grad_norm: float = Field(1.0, gt=0, description="gradients are clipped to this norm")
    max_length: int = Field(4096, ge=8, description="longest sequence in tokens; longer ones lose their end")
    adapter: Literal["lora", "full"] = Field("lora", description="train a LoRA adapter, or all weights")
    lora_rank: int = Field(16, ge=1, description="rank of the LoRA matrices")
    lora_alpha: float = Field(32, gt=0, description="LoRA scale: the adapter is multiplied by alpha / rank")
    lora_targets: tuple[str, ...] = Field(
        (ALL_LINEAR,), min_length=1, description="layers with an adapter by name, such as q_proj,v_proj, or all-linear"
    )
    lora_dropout: float = Field(0.0, ge=0, lt=1, description="share of the adapter's inputs that is dropped")
    lora_variant: Literal["lora", "rslora", "dora"] = Field(
        "lora",
        description="rslora: alpha is divided by the root of the rank (Kalajdzievski 2023); dora: magnitude and "
        "direction of the weights are trained apart (Liu et al. 2024)",
    )
    gradient_checkpointing: bool = Field(True, description="recompute activations: less memory, slower")
    precision: Literal["auto", "float32", "bfloat16"] = Field(
        "auto", description="what training computes in; weights stay float32; auto: bfloat16 on CUDA, float32 elsewhere"
    )
    base_precision: Literal["float32", "bfloat16", "4bit"] = Field(
        "float32",
        description="what the frozen weights below a LoRA adapter are kept in; 4bit is QLoRA (Dettmers et al. 2023), "
        "which needs a GPU and the package bitsandbytes",
    )
    attention: Literal["auto", "model", "sdpa", "flash_attention_2", "eager"] = Field(
        "auto", description="auto: flash attention where flash-attn is installed on a GPU, else as the model has it"
    )
    liger_kernel: bool = Field(
        False, description="fused kernels of the package liger-kernel, which must be installed; needs a GPU"
    )
    save_steps: int = Field(10, ge=1, description="updates between checkpoints: the most that a killed run repeats")
    report_to: str = Field(
        NONE, description="tracker that training logs to: trackio, wandb, mlflow, tensorboard, or none"
    )

    @property
    def work(self) -> Work:
        """What the method does with a problem, for an estimate of what it takes."""
        return Work()

    @model_validator(mode="before")
    @classmethod
    def _rate_of_all_weights(cls, given: Any) -> Any:  # noqa: ANN401 - whatever was given
        """Fill in the learning rate of all weights where these are trained."""
        extra = cls.model_fields["learning_rate"].json_schema_extra
        if isinstance(given, dict) and given.get("adapter") == "full" and isinstance(extra, dict):
            return {"learning_rate": extra["all_weights"], **given}
        return given

    @field_validator("optimizer")
    @classmethod
    def _can_be_had(cls, optimizer: str) -> str:
        if optimizer == "adamw_bnb_8bit" and find_spec("bitsandbytes") is None:
            raise ValueError("the optimiser of 8 bits needs the package bitsandbytes: pip install bitsandbytes")
        return optimizer

    @model_validator(mode="after")
    def _can_be_computed(self) -> TrainingOptions:
        """Refuse what the training cannot keep its weights in, and kernels that are not installed."""
        if self.base_precision != "float32" and self.adapter == "full":
            raise ValueError(
                f"base_precision={self.base_precision} is for weights that stay as they are: take adapter=lora"
            )
        if self.l2_sp and self.adapter == "lora" and self.lora_variant == "dora":
            raise ValueError(
                "l2_sp knows how far plain LoRA matrices lead, not DoRA's: take lora_variant=lora or rslora"
            )
        needed = {"bitsandbytes": self.base_precision == "4bit", "liger_kernel": self.liger_kernel}
        needed["flash_attn"] = self.attention == "flash_attention_2"
        for module, asked in needed.items():
            if asked and find_spec(module) is None:
                package = module.replace("_", "-")
                raise ValueError(f"the package {package} is needed for it and not installed: pip install {package}")
        return self

    @field_validator("report_to")
    @classmethod
    def _can_report(cls, tracker: str) -> str:
        return check_tracker(tracker)


def lora_config(options: TrainingOptions, model: PreTrainedModel | None = None) -> LoraConfig | None:
    """Return the peft configuration of a LoRA adapter, or None for full fine-tuning.

    Raises:
        UserError: `model`, where it is given, lacks one of `options.lora_targets`.
    """
    if options.adapter == "full":
        return None
    from peft import LoraConfig

    targets = ALL_LINEAR if options.lora_targets == (ALL_LINEAR,) else list(options.lora_targets)
    return LoraConfig(
        r=options.lora_rank,
        lora_alpha=options.lora_alpha,
        lora_dropout=options.lora_dropout,
        use_rslora=options.lora_variant == "rslora",
        use_dora=options.lora_variant == "dora",
        target_modules=targets if model is None else target_modules(model, options.lora_targets),
        bias="none",
        task_type="CAUSAL_LM",
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
    if options.liger_kernel:
        checkpointing["use_liger_kernel"] = True
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
        "lr_scheduler_kwargs": {"min_lr_rate": options.min_learning_rate} if "min" in options.schedule else {},
        "optim": options.optimizer,
        "weight_decay": 0.0,
        "max_grad_norm": options.max_grad_norm,
        "use_cpu": not on_gpu,
        "bf16": computes_in_bfloat16(options),
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
