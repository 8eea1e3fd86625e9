"""A LoRA adapter put over its base: the one way, for training on and for measuring."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from pfh.errors import UserError
from pfh.kit.soft_thoughts import are_soft_thoughts
from pfh.kit.tokens.loading import loading, quiet
from pfh.kit.trials import trouble

if TYPE_CHECKING:
    import torch
    from peft import PeftConfig, PeftModel
    from transformers import PreTrainedModel

    from pfh.hooks.checkpoint import Checkpoint

PREFIX = "base_model.model."
"""What peft puts before the names of the base's modules."""


def attach_adapter(model: PreTrainedModel, checkpoint: Checkpoint) -> PeftModel:
    """Put the adapter of `checkpoint` over `model`, its base, such that it can be merged.

    Raises:
        UserError: it is no LoRA adapter, does not fit the model, or cannot be merged. The model must then be reloaded.
    """
    from peft import PeftConfig, PeftModel

    assert checkpoint.adapter is not None
    if are_soft_thoughts(checkpoint):
        raise UserError(
            f"{checkpoint.name} has soft thoughts over its weights, which can be measured, and neither be trained on "
            f"nor merged: name what it was trained from, {checkpoint.path}."
        )
    with merging(checkpoint), warnings.catch_warnings():
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
    _refuse_new_biases(adapted, checkpoint.name)
    return adapted


@contextmanager
def merging(checkpoint: Checkpoint) -> Iterator[None]:
    """Say in one line why the adapter of `checkpoint` cannot be merged, and nothing else.

    Raises:
        UserError: it cannot.
    """
    with loading(f"The adapter {checkpoint.name} cannot be merged into {checkpoint.path}"), quiet():
        yield


def touched(adapted: PeftModel) -> Iterator[tuple[str, torch.nn.Parameter]]:
    """Yield the base's own parameters under every LoRA layer, named as in the base."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    for name, module in adapted.named_modules():
        if isinstance(module, BaseTunerLayer):
            for own, parameter in module.get_base_layer().named_parameters():
                yield f"{name.removeprefix(PREFIX)}.{own}", parameter


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


def _refuse_new_biases(adapted: PeftModel, name: str) -> None:
    from peft.tuners.tuners_utils import BaseTunerLayer

    layers = [each for each in adapted.modules() if isinstance(each, BaseTunerLayer)]
    for layer in layers:
        if any(getattr(layer, "lora_bias", {}).values()) and getattr(layer.get_base_layer(), "bias", None) is None:
            raise UserError(
                f"The LoRA adapter {name} uses lora_bias over a layer that has no bias, and cannot be merged: train it "
                "without lora_bias."
            )


def _refuse_tied_targets(model: PreTrainedModel, adapted: PeftModel, name: str) -> None:
    output = model.get_output_embeddings()
    embedding = model.get_input_embeddings()
    shared = output is not None and getattr(output, "weight", None) is getattr(embedding, "weight", None)
    if shared and any(weight is embedding.weight for _, weight in touched(adapted)):
        raise UserError(
            f"The adapter {name} changes an embedding that is tied to the output head: merge it into its base."
        )
