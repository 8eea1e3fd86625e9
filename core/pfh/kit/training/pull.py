"""L2-SP: after every step each trained weight goes a share of the way back to where it began."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from pfh.hooks.methods import TrainingSpec
from pfh.kit.weights import load_weights

if TYPE_CHECKING:
    import torch
    from transformers import Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments


def pull_back(trainer: Trainer, spec: TrainingSpec, strength: float) -> TrainerCallback:
    """Return the callback; it keeps a copy of all weights where all are trained, and none for an adapter."""
    from peft import PeftModel
    from transformers import TrainerCallback

    adapted = isinstance(trainer.model, PeftModel)
    began = {} if adapted else _beginnings(trainer.model, spec)

    class Pull(TrainerCallback):  # type: ignore[misc] # transformers is untyped here
        """Acts after the optimiser's step, with the learning rate of that step."""

        def on_optimizer_step(
            self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object
        ) -> None:
            import torch

            share = float(trainer.optimizer.param_groups[0]["lr"]) * strength
            model = trainer.accelerator.unwrap_model(trainer.model)
            with torch.no_grad():
                if adapted:
                    for first, second, scale in lora_matrices(model):
                        pull_adapter(first, second, scale, share)
                    return
                for name, parameter in model.named_parameters():
                    if name in began:
                        parameter.sub_(share * (parameter - began[name].to(parameter.device)))

    return Pull()


def lora_matrices(model: Any) -> Iterator[tuple[torch.Tensor, torch.Tensor, float]]:  # noqa: ANN401 - peft's
    """Yield A, B and the scale of every LoRA layer."""
    from peft.tuners.lora import LoraLayer

    for module in model.modules():
        if isinstance(module, LoraLayer):
            for name in module.active_adapters:
                if name in module.lora_A:
                    yield module.lora_A[name].weight, module.lora_B[name].weight, float(module.scaling[name])


def pull_adapter(first: torch.Tensor, second: torch.Tensor, scale: float, share: float) -> None:
    """Take `share` times the gradient of |s B A|² / 2 off A and B: s² (BᵀB) A and s² B (AAᵀ)."""
    gram = second.T @ second
    outer = first @ first.T
    for_first, for_second = gram @ first, second @ outer
    first.sub_(share * scale**2 * for_first)
    second.sub_(share * scale**2 * for_second)


def _beginnings(model: Any, spec: TrainingSpec) -> dict[str, torch.Tensor]:  # noqa: ANN401 - transformers'
    import torch

    if spec.beginning.fingerprint != spec.checkpoint.fingerprint:
        model = load_weights(spec.beginning, torch.float32)
    return {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
