"""A checkpoint's weights as a transformers model: the one loader, for training and for measuring."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pfh.errors import UserError
from pfh.kit.tokens.loading import loading, quiet

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

    from pfh.hooks.checkpoint import Checkpoint


def load_weights(checkpoint: Checkpoint, dtype: torch.dtype, **placement: Any) -> PreTrainedModel:  # noqa: ANN401 - transformers' own
    """Load the base of `checkpoint` (no adapter) as a causal language model.

    Args:
        checkpoint: what is loaded.
        dtype: of the weights.
        placement: how transformers shares them out between memory and disk.

    Raises:
        UserError: the files do not hold such a model whole, or only with code of their own.
    """
    from transformers import AutoModelForCausalLM

    with loading(f"{checkpoint.name} cannot be loaded from {checkpoint.path}"), quiet():
        model, report = AutoModelForCausalLM.from_pretrained(
            checkpoint.path,
            local_files_only=True,
            output_loading_info=True,
            dtype=dtype,
            trust_remote_code=False,
            **_format(checkpoint),
            **placement,
        )
    if missing := sorted(report["missing_keys"]):
        raise UserError(
            f"{checkpoint.name} lacks weights: {missing[0]} and {len(missing) - 1} more are not in {checkpoint.path}."
        )
    _only_what_is_asked(model)
    return model


def without_weights(checkpoint: Checkpoint) -> PreTrainedModel:
    """Return a model of the shape of `checkpoint`, none of whose weights is loaded.

    Raises:
        UserError: its configuration is none of a causal language model.
    """
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    names: dict[str, Any] = {"gguf_file": checkpoint.gguf_file} if checkpoint.gguf_file else {}
    with loading(f"{checkpoint.name} cannot be loaded from {checkpoint.path}"), quiet(), torch.device("meta"):
        config = AutoConfig.from_pretrained(checkpoint.path, trust_remote_code=False, **names)
        model: PreTrainedModel = AutoModelForCausalLM.from_config(config)
    return model


def _format(checkpoint: Checkpoint) -> dict[str, Any]:
    if checkpoint.gguf_file:
        from transformers import GgufConfig

        return {"gguf_file": checkpoint.gguf_file, "quantization_config": GgufConfig(dequantize=True)}
    return {"use_safetensors": not checkpoint.allow_pickle or None}


def _only_what_is_asked(model: PreTrainedModel) -> None:
    """Leave out what the files add to a model's outputs and to how it generates: of that its ends alone are left.

    Router logits break generation, and enter the loss. `generate` fills every setting that a caller leaves open, such
    as min_p or no_repeat_ngram_size, with the model's own.
    """
    from transformers import GenerationConfig

    config = model.config.get_text_config()
    if getattr(config, "output_router_logits", False):
        config.output_router_logits = False
    if model.generation_config is not None:
        model.generation_config = GenerationConfig(eos_token_id=model.generation_config.eos_token_id)
