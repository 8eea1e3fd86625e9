"""A LoRA adapter put over its base: the one way, for training on and for measuring."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING

from pfh.errors import UserError
from pfh.kit.tokens.loading import loading, quiet

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
    with (
        loading(f"The adapter {checkpoint.name} cannot be merged into {checkpoint.path}"),
        quiet(),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")
        config = PeftConfig.from_pretrained(str(checkpoint.adapter))
        _refuse_unmergeable(config, checkpoint.name)
        adapted = PeftModel(model, config)
        loaded = adapted.load_adapter(str(checkpoint.adapter), "default", torch_device=str(model.device))
    if loaded.unexpected_keys or loaded.missing_keys:
        stray = min([*loaded.unexpected_keys, *loaded.missing_keys])
        raise UserError(f"The adapter {checkpoint.name} does not fit its base {checkpoint.path}: {stray}.")
    _refuse_tied_targets(model, adapted, checkpoint.name)
    return adapted


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


def _refuse_tied_targets(model: PreTrainedModel, adapted: PeftModel, name: str) -> None:
    output = model.get_output_embeddings()
    embedding = model.get_input_embeddings()
    shared = output is not None and getattr(output, "weight", None) is getattr(embedding, "weight", None)
    if shared and any(weight is embedding.weight for _, weight in touched(adapted)):
        raise UserError(
            f"The adapter {name} changes an embedding that is tied to the output head: merge it into its base."
        )
