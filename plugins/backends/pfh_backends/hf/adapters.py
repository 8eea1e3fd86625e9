"""Adapters merged into the resident weights, and taken out again without a trace.

An unmerged LoRA makes decoding almost twice as slow; a merged one costs nothing. Subtracting it again would leave
rounding behind, so the touched matrices are set aside on the CPU and put back bit by bit; where they are too large for
that, the base is loaded again. An adapter so small that weights of the model's precision would round it away stays
beside them, in float32.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pfh.errors import StepFailedError, UserError, reading
from pfh.kit.tokens.loading import quiet
from pfh.kit.trials import trouble
from pfh.kit.update_resolution import WHOLE, UpdateLeft

from pfh_backends.hf.loading import on_disk

if TYPE_CHECKING:
    import torch
    from peft import PeftConfig, PeftModel
    from pfh.hooks.checkpoint import Checkpoint
    from transformers import PreTrainedModel

KEPT_BYTES = 4 << 30
"""So much is kept at most: a LoRA on every matrix of a 7B model touches about as many bytes as the model has."""
_PREFIX = "base_model.model."
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
    from peft import PeftConfig, PeftModel

    assert checkpoint.adapter is not None
    if on_disk(model):
        raise StepFailedError(
            f"{checkpoint.path} does not fit into memory, and the adapter {checkpoint.name} cannot be merged into "
            "weights on the disk: use --dtype bfloat16, or merge the adapter into its base."
        )
    tied = bool(model.config.get_text_config().tie_word_embeddings)
    what, remedy = f"The adapter {checkpoint.name}", f"{checkpoint.path} may not be the base that it was trained from"
    with (
        reading(what, remedy, done="merged into its base"),
        quiet(),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")
        config = PeftConfig.from_pretrained(str(checkpoint.adapter))
        _refuse_unmergeable(config, checkpoint.name)
        _refuse_endless_patterns(config, model, checkpoint.name)
        adapted = PeftModel(model, config)
        loaded = adapted.load_adapter(str(checkpoint.adapter), "default", torch_device=str(model.device))
        if loaded.unexpected_keys or loaded.missing_keys:
            stray = min([*loaded.unexpected_keys, *loaded.missing_keys])
            raise UserError(f"The adapter {checkpoint.name} does not fit its base {checkpoint.path}: {stray}.")
        _refuse_tied_targets(model, adapted, checkpoint.name)
        left = _left(adapted, model.dtype)
        if left < WHOLE and not dict(_replaced(adapted)):
            adapted.eval().requires_grad_(False)
            return MergedAdapter(parameters={}, modules={}, tied=tied, left=left, apart=adapted)
        size = sum(parameter.nbytes for _, parameter in _touched(adapted))
        merged = MergedAdapter(
            parameters={name: _set_aside(parameter) for name, parameter in _touched(adapted)}
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


def _refuse_unmergeable(config: PeftConfig, name: str) -> None:
    kind = getattr(config.peft_type, "value", config.peft_type)
    if kind != "LORA":
        raise UserError(
            f"{name} is an adapter of the kind {kind}: only LoRA adapters can be used; merge it into its base."
        )
    for setting, harmless in (
        ("bias", "none"),
        ("trainable_token_indices", None),
        ("target_parameters", None),
        ("layer_replication", None),
        ("alora_invocation_tokens", None),
    ):
        value = getattr(config, setting, harmless)
        if value not in (harmless, [], {}):
            raise UserError(
                f"The LoRA adapter {name} uses {setting}={value}, which cannot be swapped in: merge it into its base."
            )


def _refuse_endless_patterns(config: PeftConfig, model: PreTrainedModel, name: str) -> None:
    """Refuse regular expressions over the names of modules that do not come to an end."""
    patterns = [config.target_modules, config.exclude_modules, config.layers_pattern]
    patterns = [each for each in patterns if isinstance(each, str)] + [*config.rank_pattern, *config.alpha_pattern]
    names = [module for module, _ in model.named_modules()]
    if patterns and (took := trouble(lambda: [re.match(each, module) for each in patterns for module in names])):
        raise UserError(
            f"The patterns in the adapter_config.json of {name} take {took}: name the modules in target_modules."
        )


def _refuse_tied_targets(model: PreTrainedModel, adapted: PeftModel, name: str) -> None:
    output = model.get_output_embeddings()
    embedding = model.get_input_embeddings()
    shared = output is not None and getattr(output, "weight", None) is getattr(embedding, "weight", None)
    if shared and any(weight is embedding.weight for _, weight in _touched(adapted)):
        raise UserError(
            f"The adapter {name} changes an embedding that is tied to the output head: merge it into its base."
        )


def _touched(adapted: PeftModel) -> Iterator[tuple[str, torch.nn.Parameter]]:
    """Yield the base's own parameters under every LoRA layer, named as in the base."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    for name, module in adapted.named_modules():
        if isinstance(module, BaseTunerLayer):
            for own, parameter in module.get_base_layer().named_parameters():
                yield f"{name.removeprefix(_PREFIX)}.{own}", parameter


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
            yield name.removeprefix(_PREFIX), module.original_module
