"""What a training would take, before it begins: memory and time, from the model's shape and the method's options.

Every sequence is taken to be as long as `max_length` allows, so the memory is what the largest batch needs and the
operations are an upper bound; the time is what they take where nothing but matrices is multiplied, a lower bound for
them. Activations are what autograd keeps of a layer of Llama, in the manner of Korthikanti et al. 2022 (arXiv
2205.05198, equation 2) with fused attention; recomputed, one layer's and every layer's input. Rollouts are drawn when
no activations are held.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from pfh.kit.training.passes import weights_of
from pfh.kit.training.precision import BYTES, computes_in_bfloat16
from pfh.kit.training.targets import adapted_layers

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel

    from pfh.kit.training.options import TrainingOptions

_STATES = {"adamw_torch": 8, "rmsprop": 4, "adamw_bnb_8bit": 2}
"""Bytes of the optimiser's state a trained weight."""
_OF_WIDTH, _OF_INNER = {16: 34, 32: 36}, {16: 8, 32: 16}
"""Bytes a token and layer, a unit of its width and of its inner width, by the bits that are computed in."""


@dataclass(frozen=True, kw_only=True)
class Part:
    """What one thing takes of a device's memory, and how that comes about."""

    name: str
    formula: str
    amount: float
    """Bytes."""
    is_shared: bool = False
    """Several devices can share it out."""
    when: Literal["always", "training", "generating"] = "always"


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
    cached: int
    """Bytes of the keys and values of a token, while rollouts are drawn."""
    together: int
    """Sequences that a device writes at once."""
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
        return max(self.held("training"), self.held("generating"))

    def held(self, when: str, devices: int = 1) -> float:
        """Return the bytes that a device holds then, where so many share out what they can."""
        held = (part for part in self.parts if part.when in ("always", when))
        return sum(part.amount / devices if part.is_shared else part.amount for part in held)

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


def estimate(
    model: PreTrainedModel, options: TrainingOptions, problems: int, devices: int = 1, completion: int | None = None
) -> Estimate:
    """Return what training `model`, whose weights need not be loaded, on so many problems takes at most.

    Of several `devices` each holds its share of an update, and no more at once than `batch_size`. Rollouts are at most
    `completion` tokens long; without it a sequence may be all completion.
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
    together = max(1, update // devices)
    batch = min(options.batch_size, together)
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
        cached=_cached(model, options),
        together=together,
        met=met,
        generated=generated,
        taught_flops=taught,
        taught_formula=f"2 x {met:.3g} x ({work.trained:g} trained + {work.trained:g} back{recomputed} + {read:g} read "
        f"by others) + 2 x {trained:.3g} x {work.trained:g}",
        parts=(
            *_kept(model, options, total, trained),
            *_while_training(model, options, total, batch, completion),
            *_while_generating(model, options, together),
        ),
        flops=float(tokens * (taught + 2 * met * generated) + updates * general + 2 * met * answered),
        general=replayed + compared,
        general_flops=float(general),
        answered=answered,
    )


def _kept(model: PreTrainedModel, options: TrainingOptions, total: int, trained: int) -> Iterator[Part]:
    states, kept = _STATES[options.optimizer], BYTES[options.base_precision]
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


def _while_training(
    model: PreTrainedModel, options: TrainingOptions, total: int, batch: int, completion: int | None
) -> Iterator[Part]:
    shape, recomputed = model.config.get_text_config(), options.gradient_checkpointing
    layers, width = shape.num_hidden_layers, shape.hidden_size
    bits, inner = 16 if computes_in_bfloat16(options) else 32, _inner(shape)
    sequences = batch * options.work.at_once
    tokens, told = sequences * options.max_length, f"{sequences:g} x {options.max_length:,} tokens"
    of_layer = _OF_WIDTH[bits] * width + _OF_INNER[bits] * inner
    formula = f"({_OF_WIDTH[bits]} x {width:,} + {_OF_INNER[bits]} x {inner:,})"
    if recomputed:
        each = _width_of_states(options) * layers * width + of_layer
        formula = f"({_width_of_states(options)} x {layers} x {width:,} + {formula[1:-1]}), recomputed"
    else:
        each = of_layer * layers
        formula = f"{layers} x {formula}"
    yield Part(name="activations", formula=f"{told} x {formula}", amount=float(tokens * each), when="training")
    if bits == 16 and options.base_precision == "float32" and not recomputed:
        yield Part(
            name="the weights in bfloat16, for the way back",
            formula=f"{total:.3g} x 2 bytes",
            amount=2.0 * total,
            when="training",
        )
    length = min(completion, options.max_length) if completion and options.work.along else options.max_length
    yield Part(
        name="logits and their gradient",
        formula=f"2 x 4 bytes x {sequences:g} x {length:,} tokens x {shape.vocab_size:,}",
        amount=float(2 * 4 * sequences * length * shape.vocab_size),
        when="training",
    )


def _while_generating(model: PreTrainedModel, options: TrainingOptions, together: int) -> Iterator[Part]:
    if not options.work.along or getattr(options, "use_vllm", False):
        return
    shape, cached = model.config.get_text_config(), _cached(model, options)
    states, width = cached // (2 * shape.num_hidden_layers), _width_of_states(options)
    yield Part(
        name="keys and values of the rollouts, all of an update at once",
        formula=f"{together:,} x {options.max_length:,} tokens x 2 x {shape.num_hidden_layers} x {states // width:,} x "
        f"{width} bytes",
        amount=float(together * options.max_length * cached),
        when="generating",
    )


def _cached(model: PreTrainedModel, options: TrainingOptions) -> int:
    """Return the bytes of a token's keys and values in all layers, as if each attended to all that is before it."""
    shape = model.config.get_text_config()
    heads = getattr(shape, "num_attention_heads", 1)
    keys = getattr(shape, "num_key_value_heads", None) or heads
    wide = getattr(shape, "head_dim", None) or shape.hidden_size // heads
    width = 2 if getattr(options, "use_vllm", False) else _width_of_states(options)
    return int(2 * shape.num_hidden_layers * keys * wide * width)


def _width_of_states(options: TrainingOptions) -> int:
    """Return the bytes of a number between two layers: autocast leaves the states beside float32 weights in float32."""
    return 4 if options.base_precision == "float32" else 2


def _inner(shape: PreTrainedConfig) -> int:
    """Return the inner width of a layer's feed-forward part, of experts that of those that a token meets."""
    one = getattr(shape, "intermediate_size", None) or 4 * shape.hidden_size
    several = getattr(shape, "num_experts_per_tok", None)
    return int((getattr(shape, "moe_intermediate_size", None) or one) * several) if several else int(one)


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
