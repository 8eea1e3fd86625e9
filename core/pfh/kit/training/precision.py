"""What a training keeps the weights in that it does not train, and with which kernels it computes."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

    from pfh.kit.training.options import TrainingOptions

BYTES = {"float32": 4.0, "bfloat16": 2.0, "4bit": 0.52}
"""Bytes a frozen weight; of 4 bits, with scales that are quantized too, 4.127 bits (Dettmers et al. 2023, arXiv
2305.14314, section 3)."""


def loading_settings(options: TrainingOptions | None) -> dict[str, Any]:
    """Return how transformers loads the weights: trained ones in float32, frozen ones as the options say."""
    import torch

    base = options.base_precision if options is not None else "float32"
    if base != "4bit":
        return {"dtype": getattr(torch, base)}
    from transformers import BitsAndBytesConfig

    quantized = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16,
    )
    return {"dtype": torch.bfloat16, "quantization_config": quantized}


def computes_in_bfloat16(options: TrainingOptions) -> bool:
    """Say whether a training on this machine computes in bfloat16 (autocast)."""
    import torch

    return options.precision == "bfloat16" or (options.precision == "auto" and bool(torch.cuda.is_available()))


def choose_attention(model: PreTrainedModel, options: TrainingOptions | None) -> None:
    """Let `model` compute attention as the options say: with flash attention where that is installed and can be."""
    if options is None or options.attention == "model":
        return
    import torch

    there = find_spec("flash_attn") is not None and torch.cuda.is_available() and computes_in_bfloat16(options)
    name = "flash_attention_2" if options.attention == "auto" and there else options.attention
    if name != "auto":
        model.set_attn_implementation(name)


def is_exact(model: torch.nn.Module) -> bool:
    """Say whether the frozen weights of `model` are as they were loaded: in float32, not rounded or quantized."""
    import torch

    return all(part.dtype == torch.float32 for part in model.parameters())
