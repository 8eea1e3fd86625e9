"""A model on its way into a training and out of it."""

from __future__ import annotations

import gc
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pfh.errors import UserError
from pfh.hooks.checkpoint import Checkpoint
from pfh.kit.adapters import attach_adapter, merging
from pfh.kit.tokens.chat_templates import bare_template, chat_template
from pfh.kit.tokens.loading import load_tokenizer
from pfh.kit.tokens.taught import end_tokens
from pfh.kit.training.passes import count_passes
from pfh.kit.training.precision import choose_attention, is_exact, loading_settings
from pfh.kit.weights import load_weights

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase, Trainer

    from pfh.kit.training.options import TrainingOptions

OWN_SAVE, OWN_LOAD = "save_own", "load_own"
"""The methods of a trainer that save what it trained in a folder and load it again, where that is neither an adapter
nor all weights."""


def load_for_training(
    checkpoint: Checkpoint, options: TrainingOptions | None = None
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Return `checkpoint` as a transformers model and its tokenizer as they are measured, an adapter merged.

    Weights are float32 (in bfloat16 updates smaller than half a unit in the last place are lost), unless they stay as
    they are below an adapter and `options` say otherwise.
    A tokenizer without a chat template gets pfh's plain one, and one without a token for padding that the model knows
    its end-of-sequence token. The model stops where it is taught to.

    Raises:
        UserError: a file is missing or broken, weights are, or the adapter cannot be merged.
    """
    settings = loading_settings(options)
    if checkpoint.gguf_file and "quantization_config" in settings:
        raise UserError(
            "Weights of a GGUF file are not quantized anew: leave base_precision=4bit, or take safetensors."
        )
    model, tokenizer = load_weights(checkpoint, **settings), load_tokenizer(checkpoint)
    if checkpoint.adapter:
        adapted = attach_adapter(model, checkpoint)
        with merging(checkpoint):
            model = adapted.merge_and_unload()
    tokenizer.chat_template = chat_template(tokenizer)
    _pad(model, tokenizer)
    if model.generation_config is not None:
        model.generation_config.eos_token_id = sorted(end_tokens(model, tokenizer)) or None
    choose_attention(model, options)
    count_passes(model)
    return model, tokenizer


def _pad(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
    """Choose a token for padding that the model has a row for; masked as it is, any other will do."""
    rows = model.get_input_embeddings().weight.shape[0]
    if tokenizer.pad_token_id is None or tokenizer.pad_token_id >= rows:
        tokenizer.pad_token_id = tokenizer.eos_token_id if tokenizer.eos_token_id is not None else 0


def save_trained(trainer: Trainer, folder: Path, *, merge_into: Checkpoint | None = None) -> Path:
    """Save the adapter, or all weights with tokenizer and chat template, as safetensors in `folder`; return it.

    A trainer whose method `OWN_SAVE` says otherwise does so itself, in one process.

    Every process of a training must call it: weights that are shared out over them are put together.

    Args:
        trainer: as it ended.
        folder: replaced if it is there.
        merge_into: put an adapter into this checkpoint, from which it was trained, and save all weights.
    """
    from accelerate.utils import DistributedType
    from peft import PeftModel

    accelerator = trainer.accelerator
    model, weights = accelerator.unwrap_model(trainer.model), None
    if accelerator.distributed_type in (DistributedType.FSDP, DistributedType.DEEPSPEED):
        weights = accelerator.get_state_dict(trainer.model_wrapped)
    if accelerator.is_main_process:
        shutil.rmtree(folder, ignore_errors=True)
        if own := getattr(trainer, OWN_SAVE, None):
            own(folder)
            return folder
        if merge_into and isinstance(model, PeftModel):
            model, weights = _merged(model, weights, merge_into, folder), None
        if isinstance(model, PeftModel):
            model.save_pretrained(folder, save_embedding_layers=False, state_dict=weights)
        else:
            model.save_pretrained(folder, state_dict=weights)
            save_tokenizer(trainer.processing_class, folder)
    accelerator.wait_for_everyone()
    return folder


def save_tokenizer(tokenizer: PreTrainedTokenizerBase, folder: Path) -> None:
    """Save `tokenizer` with the template as the model has it: its arguments are for who uses the model to choose."""
    used = tokenizer.chat_template
    tokenizer.chat_template = bare_template(used) if isinstance(used, str) else used
    try:
        tokenizer.save_pretrained(folder)
    finally:
        tokenizer.chat_template = used


def _merged(model: Any, weights: dict[str, Any] | None, base: Checkpoint, folder: Path) -> Any:  # noqa: ANN401 - peft's
    """Return the base with the adapter of `model` in it; `weights` are the model's where it does not hold them all."""
    if weights is None and is_exact(model):
        return model.merge_and_unload()
    adapter = folder.with_name(f"{folder.name}-adapter")
    model.save_pretrained(adapter, save_embedding_layers=False, state_dict=weights)
    return load_for_training(base.with_adapter(adapter, name=base.name, fingerprint=base.fingerprint))[0]


def free_memory() -> None:
    """Free what trainers that are no longer needed hold, on the GPU too."""
    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
