"""Residual streams, taken between the blocks of the resident model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pfh.errors import UserError

from pfh_backends.hf.batching import pad_left

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray
    from transformers import PreTrainedModel


def check_layers(model: PreTrainedModel, layers: Sequence[int]) -> None:
    """Make sure that the model has `layers`.

    Raises:
        UserError: it has not.
    """
    last = len(find_blocks(model))
    if wrong := [layer for layer in layers if not 0 <= layer <= last]:
        raise UserError(f"This model has the layers 0 to {last}, and no layer {wrong[0]}.")


def hidden_states(
    model: PreTrainedModel, rows: Sequence[tuple[int, ...]], layers: Sequence[int]
) -> list[NDArray[np.float32]]:
    """Return for each of `rows` the residual stream, shape (len(layers), tokens, width)."""
    import torch

    blocks = find_blocks(model)
    streams: dict[int, torch.Tensor] = {}

    def entering(layer: int) -> torch.utils.hooks.RemovableHandle:
        def hook(_: torch.nn.Module, args: tuple[torch.Tensor, ...], kwargs: dict[str, torch.Tensor]) -> None:
            streams[layer] = args[0] if args else kwargs["hidden_states"]

        return blocks[layer].register_forward_pre_hook(hook, with_kwargs=True)

    def leaving() -> torch.utils.hooks.RemovableHandle:
        def hook(_: torch.nn.Module, args: object, output: torch.Tensor | tuple[torch.Tensor, ...]) -> None:
            streams[len(blocks)] = output[0] if isinstance(output, tuple) else output

        return blocks[-1].register_forward_hook(hook)

    hooks = [leaving() if layer == len(blocks) else entering(layer) for layer in set(layers)]
    ids, mask, positions = pad_left(rows, model.device)
    try:
        with torch.inference_mode():
            model(input_ids=ids, attention_mask=mask, position_ids=positions, use_cache=False, logits_to_keep=1)
            stacked = torch.stack([streams[layer] for layer in layers], dim=1).float().cpu().numpy()
    finally:
        for handle in hooks:
            handle.remove()
    return [stream[:, stream.shape[1] - len(row) :].copy() for stream, row in zip(stacked, rows, strict=True)]


def find_blocks(model: PreTrainedModel) -> torch.nn.ModuleList:
    """Return the decoder's blocks: the one list of modules that is as long as the model is deep.

    Raises:
        UserError: there is no such list.
    """
    import torch

    depth = model.config.get_text_config().num_hidden_layers
    lists = (module for module in model.modules() if isinstance(module, torch.nn.ModuleList) and len(module) == depth)
    blocks = next(lists, None)
    if blocks is None:
        raise UserError(
            f"The blocks of a {model.config.model_type} model cannot be told apart: no hidden states of it."
        )
    return blocks
