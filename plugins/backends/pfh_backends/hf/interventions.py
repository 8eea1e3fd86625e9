"""Directions ablated from the residual stream of the resident model, or added to it, by hooks on its blocks.

Ablation is Arditi et al.'s (2024, arXiv 2406.11717, section 2.4): the component along the unit direction is removed
from the input of every block and from what its attention and its MLP return. The last block's output is treated
likewise: that changes nothing where a block adds what those return as it is, and matters where a norm stands between.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
from pfh.errors import UserError

from pfh_backends.hf.hidden import check_layers, find_blocks

if TYPE_CHECKING:
    import torch
    from pfh.hooks.backends import Intervention
    from transformers import PreTrainedModel

Change = Callable[["torch.Tensor"], "torch.Tensor"]
_WRITERS = ("attn", "attention", "mlp", "feed_forward", "ffn", "moe", "conv", "mixer")
"""Names of a block's parts that write into the residual stream; a norm of that name does not."""


@contextmanager
def intervened(model: PreTrainedModel, interventions: Sequence[Intervention]) -> Iterator[None]:
    """Change what `model` computes until the context is left.

    Raises:
        UserError: a direction has another width than the model or no length, or the model has no such layer.
    """
    blocks = find_blocks(model)
    with ExitStack() as hooks:
        for each in interventions:
            vector = _vector(model, each)
            if each.kind == "add":
                check_layers(model, [each.layer])
                handles = [_adding(blocks, vector, each.layer)]
            else:
                handles = _ablating(blocks, vector / vector.norm())
            for handle in handles:
                hooks.callback(handle.remove)
        yield


def _vector(model: PreTrainedModel, intervention: Intervention) -> torch.Tensor:
    import torch

    width = model.config.get_text_config().hidden_size
    if intervention.direction.shape != (width,):
        raise UserError(f"This model is {width} wide, and the direction has the shape {intervention.direction.shape}.")
    if not np.any(intervention.direction) or not np.all(np.isfinite(intervention.direction)):
        raise UserError("The direction of an intervention is zero or not finite.")
    return torch.tensor(intervention.direction, device=model.device, dtype=model.dtype)


def _adding(blocks: torch.nn.ModuleList, vector: torch.Tensor, layer: int) -> torch.utils.hooks.RemovableHandle:
    def change(stream: torch.Tensor) -> torch.Tensor:
        return stream + vector

    return _before(blocks[layer], change) if layer < len(blocks) else _after(blocks[-1], change)


def _ablating(blocks: torch.nn.ModuleList, unit: torch.Tensor) -> list[torch.utils.hooks.RemovableHandle]:
    def change(stream: torch.Tensor) -> torch.Tensor:
        return stream - (stream @ unit)[..., None] * unit

    handles = [_before(block, change) for block in blocks]
    for block in blocks:
        parts = {name: part for name, part in block.named_children() if "norm" not in name}
        handles += [_after(part, change) for name, part in parts.items() if any(word in name for word in _WRITERS)]
    return [*handles, _after(blocks[-1], change)]


def _before(module: torch.nn.Module, change: Change) -> torch.utils.hooks.RemovableHandle:
    def hook(_: torch.nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, Any]:
        if args:
            return (change(args[0]), *args[1:]), kwargs
        return args, {**kwargs, "hidden_states": change(kwargs["hidden_states"])}

    return module.register_forward_pre_hook(hook, with_kwargs=True)


def _after(module: torch.nn.Module, change: Change) -> torch.utils.hooks.RemovableHandle:
    def hook(_: torch.nn.Module, __: object, output: Any) -> Any:  # noqa: ANN401 - a tensor, or a tuple that begins with one
        return (change(output[0]), *output[1:]) if isinstance(output, tuple) else change(output)

    return module.register_forward_hook(hook)
