"""From a checkpoint's files to a transformers model on a device."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pfh.errors import StepFailedError, UserError
from pfh.loading import quiet, reason

if TYPE_CHECKING:
    import torch
    from pfh.models import Checkpoint
    from transformers import PreTrainedModel


def load_model(checkpoint: Checkpoint, dtype: torch.dtype, device: torch.device) -> PreTrainedModel:
    """Load the base of `checkpoint` (no adapter) for inference.

    Raises:
        UserError: the files do not hold a causal language model that transformers can load without remote code.
        StepFailedError: it does not fit into memory.
    """
    import torch
    from safetensors import SafetensorError
    from transformers import AutoModelForCausalLM, GgufConfig

    options: dict[str, object] = {"dtype": dtype, "trust_remote_code": False}
    if checkpoint.gguf_file:
        options |= {"gguf_file": checkpoint.gguf_file, "quantization_config": GgufConfig(dequantize=True)}
    else:
        options |= {"use_safetensors": not checkpoint.allow_pickle or None}
    try:
        with quiet():
            model, report = AutoModelForCausalLM.from_pretrained(
                checkpoint.path, local_files_only=True, output_loading_info=True, **options
            )
            model = model.to(device)
    except torch.OutOfMemoryError as error:
        raise StepFailedError(f"{checkpoint.name} does not fit into the memory of the {device.type} device.") from error
    except (OSError, ValueError, KeyError, RuntimeError, ImportError, SafetensorError) as error:
        raise UserError(f"{checkpoint.name} cannot be loaded from {checkpoint.path}: {reason(error)}") from error
    if missing := sorted(report["missing_keys"]):
        raise UserError(
            f"{checkpoint.name} lacks weights: {missing[0]} and {len(missing) - 1} more are not in {checkpoint.path}."
        )
    return model.eval().requires_grad_(False)
