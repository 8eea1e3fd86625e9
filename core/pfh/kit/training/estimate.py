"""What a training would take, before it begins: memory and time, from the model's shape and the method's options.

Every sequence is taken to be as long as `max_length` allows, so the memory is what the largest batch needs and the
operations are an upper bound; the time is what they take where nothing but matrices is multiplied, a lower bound for
them. Activations: Korthikanti et al. 2022 (arXiv 2205.05198, equation 2) with fused attention; recomputed, one layer's
and every layer's input.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pfh.kit.training.passes import weights_of
from pfh.kit.training.targets import adapted_layers

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from pfh.kit.training.options import TrainingOptions

_STATES = {"adamw_torch": 8, "rmsprop": 4, "adamw_bnb_8bit": 2}
"""Bytes of the optimiser's state a trained weight."""
_ACTIVATIONS = 34
"""Bytes a token, layer and unit of width, where they are computed in 16 bits."""


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """What a training would take."""

    updates: int
    memory: float
    """Bytes at most, on each device."""
    flops: float
    """Operations at most."""

    def sentence(self, speed: float) -> str:
        """Say it; `speed` is in operations a second."""
        hours, minutes = divmod(round(self.flops / speed / 60), 60)
        took = f"{hours} h {minutes} min" if hours else f"{max(minutes, 1)} min"
        return (
            f"{self.updates:,} updates, {self.memory / 2**30:.1f} GiB, {self.flops:.1e} operations if every sequence "
            f"is as long as max_length allows: {took} at the {speed / 1e9:,.0f} GFLOP/s of a matrix product here"
        )


def estimate(model: PreTrainedModel, options: TrainingOptions, problems: int) -> Estimate:
    """Return what training `model`, whose weights need not be loaded, on so many problems takes at most."""
    work = options.work
    shape, met = model.config.get_text_config(), weights_of(model)
    total = sum(parameter.numel() for parameter in model.parameters())
    trained = total if options.adapter == "full" else _adapter(model, options)
    update = options.batch_size * options.gradient_accumulation
    inner = getattr(options, "inner_epochs", 1)
    updates = max(1, math.ceil(problems * work.examples * options.epochs / update)) * inner
    if options.max_steps:
        updates = min(updates, options.max_steps)
    updates *= work.rounds
    tokens = updates * update * options.max_length
    per_token = 2 * met * (work.trained + (work.read + work.generated) / inner)
    back = (2 * met * (2 if options.gradient_checkpointing else 1) + 2 * trained) * work.trained
    held = options.batch_size * work.at_once * options.max_length
    wide = 1 if _in_16_bits(options) else 2
    layers = (
        (2 * shape.num_hidden_layers + _ACTIVATIONS)
        if options.gradient_checkpointing
        else (_ACTIVATIONS * shape.num_hidden_layers)
    )
    activations = held * shape.hidden_size * layers * wide
    logits = 2 * 4 * held * shape.vocab_size
    states = (4 + _STATES[options.optimizer]) * trained
    return Estimate(
        updates=updates, memory=4.0 * total + states + activations + logits, flops=float(tokens * (per_token + back))
    )


def measured_speed() -> float:
    """Return the floating-point operations a second of a matrix product on this device, in a training's precision."""
    import torch

    from pfh.kit.tokens.loading import pick_device

    device = pick_device()
    size, dtype = (4096, torch.bfloat16) if device.type == "cuda" else (512, torch.float32)
    one = torch.ones(size, size, device=device, dtype=dtype)
    best = math.inf
    for _ in range(5):
        began = time.perf_counter()
        (one @ one)[0, 0].item()
        best = min(best, time.perf_counter() - began)
    return 2 * size**3 / best


def _adapter(model: PreTrainedModel, options: TrainingOptions) -> int:
    return sum(
        options.lora_rank * sum(module.weight.shape) for module in adapted_layers(model, options.lora_targets).values()
    )


def _in_16_bits(options: TrainingOptions) -> bool:
    import torch

    return options.precision == "bfloat16" or (options.precision == "auto" and bool(torch.cuda.is_available()))
