"""Adapters merged into the resident weights, and taken out again without a trace.

An unmerged LoRA makes decoding almost twice as slow; a merged one costs nothing. Subtracting it again would leave
rounding behind, so the touched matrices are set aside on the CPU and put back bit by bit; where they are too large for
that, the base is loaded again. An adapter so small that weights of the model's precision would round it away stays
beside them, in float32.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pfh.errors import StepFailedError
from pfh.kit.adapters import PREFIX, attach_adapter, merging, touched
from pfh.kit.update_resolution import WHOLE, UpdateLeft

from pfh_backends.hf.loading import on_disk

if TYPE_CHECKING:
    import torch
    from peft import PeftModel
    from pfh.hooks.checkpoint import Checkpoint
    from transformers import PreTrainedModel

KEPT_BYTES = 4 << 30
"""So much is kept at most: a LoRA on every matrix of a 7B model touches about as many bytes as the model has."""
FULL_BYTES = 4
"""Of a float32; rounding to it leaves every update whole."""


@dataclass(frozen=True, kw_only=True)
class MergedAdapter:
    """What the model was before an adapter was merged into it."""

    parameters: dict[str, torch.Tensor] | None
    """The values of the touched parameters, on the CPU, by name; None where they are too large."""
    modules: dict[str, torch.nn.Module]
    """Modules that the adapter replaced with trained copies (`modules_to_save`), by name."""
    tied: bool
    """The configuration's `tie_word_embeddings`."""
    left: float = 1.0
    """Share of the adapter's update that merging into the model's precision leaves."""
    apart: PeftModel | None = None
    """The adapter where it stays beside the weights."""


def merge(model: PreTrainedModel, checkpoint: Checkpoint) -> MergedAdapter:
    """Merge the adapter of `checkpoint` into `model`; the LoRA product is formed and added in float32.

    Raises:
        UserError: it is no LoRA adapter, does not fit the model, or cannot be merged. The model must then be reloaded.
        StepFailedError: the model's weights are on the disk.
    """
    if on_disk(model):
        raise StepFailedError(
            f"{checkpoint.path} does not fit into memory, and the adapter {checkpoint.name} cannot be merged into "
            "weights on the disk: use --dtype bfloat16, or merge the adapter into its base."
        )
    tied = bool(model.config.get_text_config().tie_word_embeddings)
    adapted = attach_adapter(model, checkpoint)
    with merging(checkpoint):
        left = _left(adapted, model.dtype)
        if left < WHOLE and not dict(_replaced(adapted)):
            adapted.eval().requires_grad_(False)
            return MergedAdapter(parameters={}, modules={}, tied=tied, left=left, apart=adapted)
        size = sum(parameter.nbytes for _, parameter in touched(adapted))
        merged = MergedAdapter(
            parameters={name: _set_aside(parameter) for name, parameter in touched(adapted)}
            if size <= KEPT_BYTES
            else None,
            modules=dict(_replaced(adapted)),
            tied=tied,
            left=left,
        )
        adapted.merge_and_unload()
    model.requires_grad_(False)
    return merged


def restore(model: PreTrainedModel, merged: MergedAdapter) -> bool:
    """Put `model` back as it was before `merge`, bit by bit; return False where it must be loaded again."""
    if merged.apart is not None:
        merged.apart.unload()
        return True
    if merged.parameters is None:
        return False
    for name, module in merged.modules.items():
        model.set_submodule(name, module)
    for name, values in merged.parameters.items():
        parameter = model.get_parameter(name)
        if parameter.device == values.device:
            parameter.data = values
        else:
            parameter.data.copy_(values)
    model.config.get_text_config().tie_word_embeddings = merged.tied
    return True


def _left(adapted: PeftModel, dtype: torch.dtype) -> float:
    """Return the share of the adapter's update that is left when it is merged into weights of `dtype`."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    left = UpdateLeft(dtype)
    if dtype.itemsize < FULL_BYTES:
        for module in adapted.modules():
            if isinstance(module, BaseTunerLayer) and hasattr(module, "get_delta_weight"):
                left.add(module.get_base_layer().weight.data, module.get_delta_weight("default"))
    return left.share


def _set_aside(parameter: torch.nn.Parameter) -> torch.Tensor:
    """Return the values of `parameter`, on the CPU; it goes on with others of its own.

    What is on the CPU already is not copied to be kept but to be changed: as it comes from a file that is mapped into
    memory, changing it in place would copy it a second time.
    """
    if parameter.device.type != "cpu":
        return parameter.to("cpu", copy=True)
    values = parameter.data
    parameter.data = values.clone()
    return values


def _replaced(adapted: PeftModel) -> Iterator[tuple[str, torch.nn.Module]]:
    from peft.utils import ModulesToSaveWrapper

    for name, module in adapted.named_modules():
        if isinstance(module, ModulesToSaveWrapper):
            yield name.removeprefix(PREFIX), module.original_module
