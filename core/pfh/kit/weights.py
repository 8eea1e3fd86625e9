"""A checkpoint's weights as a transformers model: the one loader, for training and for measuring."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from pfh.errors import UserError
from pfh.kit.tokens.loading import loading, quiet

if TYPE_CHECKING:
    from pathlib import Path

    import torch
    from transformers import PreTrainedModel

    from pfh.hooks.checkpoint import Checkpoint

_GENERATION = "generation_config.json"
_POSITIONS = ("wpe", "embed_positions", "position_embeddings", "position_embedding")
_ROUTER = "output_router_logits"
_QUANTISED = re.compile(r"([^/]+?)(?:-unsloth)?-bnb-4bit(?=/|$)")


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

    with loading(f"{checkpoint.name} cannot be loaded from {checkpoint.path}", _unquantised(checkpoint)), quiet():
        model, report = AutoModelForCausalLM.from_pretrained(
            checkpoint.path,
            local_files_only=True,
            output_loading_info=True,
            dtype=dtype,
            trust_remote_code=False,
            **_format(checkpoint),
            **_ends(checkpoint),
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


def learned_positions(model: PreTrainedModel) -> int | None:
    """Return how many tokens `model` has learned positions for, beyond which it fails; None where it computes them."""
    from torch.nn import Embedding

    for name, module in model.named_modules():
        if isinstance(module, Embedding) and name.rpartition(".")[2] in _POSITIONS:
            return int(module.num_embeddings) - int(getattr(module, "offset", 0))
    return None


def restore_defaults(start: Checkpoint, folder: Path) -> None:
    """Give trained weights in `folder` the defaults of generation of `start`, which pfh leaves aside, and its flags.

    As they were written: a file that sets a temperature without sampling is no less theirs. The ends are those that the
    model was taught.
    """
    own = start.path / _GENERATION
    if start.gguf_file or not (folder / "config.json").exists():
        return
    with loading(f"The configuration of {start.name} cannot be read from {start.path}"):
        if own.exists():
            saved = folder / _GENERATION
            ends = json.loads(saved.read_text())["eos_token_id"] if saved.exists() else None
            defaults = json.loads(own.read_text(encoding="utf-8"))
            saved.write_text(json.dumps(defaults | ({} if ends is None else {"eos_token_id": ends}), indent=2))
        before = json.loads((start.path / "config.json").read_text(encoding="utf-8"))
        if before.get(_ROUTER):
            after = json.loads((folder / "config.json").read_text(encoding="utf-8"))
            (folder / "config.json").write_text(json.dumps(after | {_ROUTER: True}, indent=2))


def _format(checkpoint: Checkpoint) -> dict[str, Any]:
    if checkpoint.gguf_file:
        from transformers import GgufConfig

        return {"gguf_file": checkpoint.gguf_file, "quantization_config": GgufConfig(dequantize=True)}
    return {"use_safetensors": not checkpoint.allow_pickle or None}


def _unquantised(checkpoint: Checkpoint) -> str:
    """Say what else to take where the weights are quantised; empty where they are not.

    The folder of a model that was quantised for bitsandbytes, as unsloth's are, tells of which.
    """
    try:
        settings = json.loads((checkpoint.path / "config.json").read_bytes())
    except (OSError, ValueError, RecursionError):  # what is wrong with it is said where it is loaded
        return ""
    if not isinstance(settings, dict) or not settings.get("quantization_config"):
        return ""
    found = _QUANTISED.search(str(checkpoint.path))
    base = found[1].removeprefix("models--").replace("--", "/") if found else ""
    called = f", {base}," if base else ""
    where = " (base_model_name_or_path in its adapter_config.json)" if checkpoint.adapter else ""
    return f"Or take the weights{called} that were quantised{where}."


def _forget_quantisation(model: PreTrainedModel) -> None:
    """Keep weights that were put back into full precision as they are: saved, they would be quantised once more.

    The scales would then be read for weights that have none, and the saved model be another.
    """
    conversions = getattr(model, "_weight_conversions", None)
    if conversions and not getattr(model, "is_quantized", False):
        model._weight_conversions = [
            each
            for each in conversions
            if not any("quantize" in type(step).__name__.lower() for step in getattr(each, "operations", ()))
        ]


def _ends(checkpoint: Checkpoint) -> dict[str, Any]:
    """Return the model's own ends in place of the rest of its generation_config.json, which need not even be valid."""
    from transformers import GenerationConfig

    file = checkpoint.path / _GENERATION
    if checkpoint.gguf_file or not file.exists():
        return {}
    own = json.loads(file.read_text(encoding="utf-8"))
    return {"generation_config": GenerationConfig(eos_token_id=own.get("eos_token_id"))}


def _only_what_is_asked(model: PreTrainedModel) -> None:
    """Leave out what the files add to a model's outputs and to how it generates: of that its ends alone are left.

    Router logits break generation, and enter the loss. `generate` fills every setting that a caller leaves open, such
    as min_p or no_repeat_ngram_size, with the model's own.
    """
    from transformers import GenerationConfig

    _forget_quantisation(model)
    config = model.config.get_text_config()
    if getattr(config, _ROUTER, False):
        setattr(config, _ROUTER, False)
    if model.generation_config is not None:
        model.generation_config = GenerationConfig(eos_token_id=model.generation_config.eos_token_id)
