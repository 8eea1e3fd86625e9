"""What a training would take, before it begins: memory and time, from the model's shape and the method's options.

Every sequence is taken to be as long as `max_length` allows, so the memory is what the largest batch needs and the
operations are an upper bound; the time is what they take where nothing but matrices is multiplied, a lower bound for
them. Activations: Korthikanti et al. 2022 (arXiv 2205.05198, equation 2) with fused attention; recomputed, one layer's
and every layer's input.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pfh.kit.training.passes import weights_of
from pfh.kit.training.precision import BYTES, computes_in_bfloat16
from pfh.kit.training.targets import adapted_layers

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from pfh.kit.training.options import TrainingOptions

_STATES = {"adamw_torch": 8, "rmsprop": 4, "adamw_bnb_8bit": 2}
"""Bytes of the optimiser's state a trained weight."""
_ACTIVATIONS = 34
"""Bytes a token, layer and unit of width, where they are computed in 16 bits."""


@dataclass(frozen=True, kw_only=True)
class Part:
    """What one thing takes of a device's memory, and how that comes about."""

    name: str
    formula: str
    amount: float
    """Bytes."""
    is_shared: bool = False
    """Several devices can share it out."""


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """What a training would take."""

    updates: int
    update: int
    """Sequences of an update."""
    batch: int
    """Sequences that a device holds at once."""
    weights: int
    trained: int
    """Weights of the adapter, or all."""
    bytes_read: float
    """Bytes of a weight that is not trained, or of any."""
    met: int
    """Weights that a token meets on its way through the model."""
    generated: float
    """Sequences that the model writes, of a sequence trained on."""
    taught_flops: float
    """Operations a token of a sequence, all but those of writing it."""
    taught_formula: str
    """How these come about."""
    parts: tuple[Part, ...]
    """What the memory of a device is taken by, at most."""
    flops: float
    """Operations at most."""
    general: int = 0
    """General rows of an update: rehearsed, or compared with the start."""
    general_flops: float = 0.0
    """Operations of these an update."""
    answered: int = 0
    """Tokens at most that the start of the run writes of its own before the training."""

    @property
    def answered_flops(self) -> float:
        """Operations of the start's own answers, their prompts not counted."""
        return 2.0 * self.met * self.answered

    @property
    def memory(self) -> float:
        """Bytes at most, on each device."""
        return sum(part.amount for part in self.parts)

    def sentence(self, speed: float) -> str:
        """Say it; `speed` is in operations a second."""
        hours, minutes = divmod(round(self.flops / speed / 60), 60)
        took = f"{hours} h {minutes} min" if hours else f"{max(minutes, 1)} min"
        before = f", {self.answered:,} tokens of the start's own answers before them" if self.answered else ""
        return (
            f"{self.updates:,} updates{before}, {self.memory / 2**30:.1f} GiB, {self.flops:.1e} operations if every "
            f"sequence is as long as max_length allows: {took} at the {speed / 1e9:,.0f} GFLOP/s of a matrix product "
            "here"
        )


def estimate(model: PreTrainedModel, options: TrainingOptions, problems: int, devices: int = 1) -> Estimate:
    """Return what training `model`, whose weights need not be loaded, on so many problems takes at most.

    Of several `devices` each holds its share of an update, and no more at once than `batch_size`.
    """
    work = options.work
    met = weights_of(model)
    total = sum(parameter.numel() for parameter in model.parameters())
    trained = total if options.adapter == "full" else _adapter(model, options)
    update = options.batch_size * options.gradient_accumulation
    inner = getattr(options, "inner_epochs", 1)
    updates = max(1, math.ceil(problems * work.examples * options.epochs / update)) * inner
    if options.max_steps:
        updates = min(updates, options.max_steps)
    updates *= work.rounds
    tokens = updates * update * options.max_length
    generated, read = work.generated / inner, work.read / inner
    passes = (3 if options.gradient_checkpointing else 2) * work.trained + read
    taught = 2 * met * passes + 2 * trained * work.trained
    recomputed = f" + {work.trained:g} computed again" if options.gradient_checkpointing else ""
    batch = min(options.batch_size, max(1, update // devices))
    replayed, compared = options.replayed(update), options.compared(update)
    once = 2 * met * (3 if options.gradient_checkpointing else 2) + 2 * trained
    general = options.max_length * ((replayed + compared) * once + compared * 2 * met)
    answered = len(options.answered_rows) * options.general_rows * options.answer_length
    return Estimate(
        updates=updates,
        update=update,
        batch=batch,
        weights=total,
        trained=trained,
        bytes_read=BYTES[options.base_precision],
        met=met,
        generated=generated,
        taught_flops=taught,
        taught_formula=f"2 x {met:.3g} x ({work.trained:g} trained + {work.trained:g} back{recomputed} + {read:g} read "
        f"by others) + 2 x {trained:.3g} x {work.trained:g}",
        parts=tuple(_parts(model, options, total, trained, batch)),
        flops=float(tokens * (taught + 2 * met * generated) + updates * general + 2 * met * answered),
        general=replayed + compared,
        general_flops=float(general),
        answered=answered,
    )


def _parts(model: PreTrainedModel, options: TrainingOptions, total: int, trained: int, batch: int) -> Iterator[Part]:
    shape, states = model.config.get_text_config(), _STATES[options.optimizer]
    kept = BYTES[options.base_precision]
    if options.adapter == "lora":
        formula = f"{total:.3g} x {kept:g} bytes ({options.base_precision})"
        yield Part(name="frozen weights", formula=formula, amount=kept * total, is_shared=True)
    yield Part(
        name="trained weights, gradients and the optimiser's states",
        formula=f"{trained:.3g} x (4 + 4 + {states}) bytes",
        amount=float((4 + 4 + states) * trained),
        is_shared=True,
    )
    if options.adapter == "full" and float(getattr(options, "beta", 0)) and options.work.read:
        yield Part(name="reference", formula=f"{total:.3g} x 4 bytes", amount=4.0 * total, is_shared=True)
    sequences, layers = batch * options.work.at_once, shape.num_hidden_layers
    held, wide = sequences * options.max_length, 1 if computes_in_bfloat16(options) else 2
    each = 2 * layers + _ACTIVATIONS if options.gradient_checkpointing else _ACTIVATIONS * layers
    recomputed = options.gradient_checkpointing
    told = f"2 x {layers} + {_ACTIVATIONS}, recomputed" if recomputed else f"{_ACTIVATIONS} x {layers}"
    width = f"{shape.hidden_size:,} x ({told}){' x 2' * (wide - 1)}"
    yield Part(
        name="activations",
        formula=f"{sequences:g} x {options.max_length:,} tokens x {width}",
        amount=float(held * shape.hidden_size * each * wide),
    )
    yield Part(
        name="logits and their gradient",
        formula=f"2 x 4 bytes x {sequences:g} x {options.max_length:,} tokens x {shape.vocab_size:,}",
        amount=float(2 * 4 * held * shape.vocab_size),
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
