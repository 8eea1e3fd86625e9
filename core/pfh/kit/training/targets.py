"""Which layers of a model get a LoRA adapter."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from pfh.errors import UserError, did_you_mean

if TYPE_CHECKING:
    from torch import nn
    from transformers import PreTrainedModel


ALL_LINEAR = "all-linear"
"""As the only one of `lora_targets`: every linear layer that can be merged again, but the output head."""

_KERNELS = frozenset({"out_proj", "conv1d"})
"""Layers of Mamba whose weights its kernels take directly, past an adapter."""
_EXPERTS = 3
"""Dimensions of a parameter that holds the matrices of all experts of a layer."""
_PROJECTIONS = frozenset({"gate", "gate_proj", "up_proj", "down_proj", "w1", "w2", "w3"})
"""Names that peft takes for those of experts in a model that has any, and adapts in a way that cannot be merged."""


def linear_layers(model: PreTrainedModel) -> dict[str, nn.Module]:
    """Return the layers of `model` that can have an adapter, by name: linear ones, and GPT-2's of its own kind."""
    from torch.nn import Linear
    from transformers.pytorch_utils import Conv1D

    head, closed = model.get_output_embeddings(), _closed(model)
    return {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, Linear | Conv1D) and module is not head and name.rpartition(".")[2] not in closed
    }


def adapted_layers(model: PreTrainedModel, targets: tuple[str, ...]) -> dict[str, nn.Module]:
    """Return the layers that get an adapter where `targets` are asked for."""
    layers = linear_layers(model)
    if targets == (ALL_LINEAR,):
        return layers
    return {name: module for name, module in layers.items() if name.rpartition(".")[2] in targets}


def target_modules(model: PreTrainedModel, targets: tuple[str, ...]) -> list[str] | str:
    """Return `targets` as peft takes them.

    Raises:
        UserError: `model` lacks one of them, or has no layer for an adapter at all.
    """
    check_targets(targets, model)
    if targets != (ALL_LINEAR,):
        return list(targets)
    return sorted(_names(linear_layers(model))) if _closed(model) else ALL_LINEAR


def left_out(model: PreTrainedModel) -> str:
    """Say which weights an adapter on all linear layers leaves out beside embeddings, or return an empty string."""
    parts = []
    experts = [parameter for _, parameter in _experts(model)]
    if experts:
        share = sum(each.numel() for each in experts) / sum(each.numel() for each in model.parameters())
        parts.append(f"the experts ({share:.0%} of the weights)")
    present = {name.rpartition(".")[2] for name, _ in model.named_modules()}
    if closed := sorted(_closed(model) & present):
        parts.append(f"layers named {', '.join(closed)}")
    if not parts:
        return ""
    return (
        f"a LoRA adapter leaves out {' and '.join(parts)}, which it could not be merged into; adapter=full trains all"
    )


def check_targets(targets: tuple[str, ...], model: PreTrainedModel) -> None:
    """Check that every name can have an adapter: peft leaves out one that cannot, if another is there, without a word.

    Raises:
        UserError: `model`, whose weights are not looked at, has no linear layer of that name.
    """
    linear = _names(linear_layers(model))
    kind = model.config.model_type
    if not linear:
        raise UserError(f"This model ({kind}) has no linear layer that can have an adapter: train with adapter=full.")
    for target in targets:
        if target not in linear | {ALL_LINEAR}:
            raise UserError(
                f"lora_targets names {target!r}, which is no linear layer of this model ({kind}) that can have an "
                f"adapter.{did_you_mean(target, linear)} Beside the output head it has {', '.join(sorted(linear))}; "
                f"lora_targets={ALL_LINEAR} takes all of these."
            )
    if ALL_LINEAR in targets and len(targets) > 1:
        raise UserError(
            f"lora_targets is either {ALL_LINEAR} alone or names of layers, not both: {', '.join(targets)}."
        )


def _names(layers: dict[str, nn.Module]) -> set[str]:
    return {name.rpartition(".")[2] for name in layers}


def _closed(model: PreTrainedModel) -> frozenset[str]:
    """Return the names of layers that cannot have an adapter which can be merged."""
    recurrent = any(hasattr(module, "A_log") for module in model.modules())
    return (_KERNELS if recurrent else frozenset()) | (_PROJECTIONS if any(_experts(model)) else frozenset())


def _experts(model: PreTrainedModel) -> Iterator[tuple[str, nn.Parameter]]:
    for name, parameter in model.named_parameters():
        if parameter.ndim == _EXPERTS and "expert" in name:
            yield name, parameter
