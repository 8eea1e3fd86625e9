"""What goes through a model in a training: every pass, not only those that train.

Completions that are generated, and what an old policy, a reference or a teacher reads, cost as the trained passes do. A
pass of a token takes 2 floating-point operations a weight, and on the way back 2 more for the activations and 2 for
every trained weight (Kaplan et al. 2020, arXiv 2001.08361, section 2.1; attention over earlier tokens is not counted).
All experts of a mixture are counted.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, Trainer

_NAME = "pfh_passes"
"""The attribute of a model's body that counts its passes."""
BESIDE = "pfh_beside"
"""The attribute of a trainer that holds further models whose passes count, such as a teacher."""


@dataclass
class Passes:
    """Tokens of the passes through one model, in this process."""

    weights: int
    trained: float = 0.0
    """Of passes with gradients."""
    other: float = 0.0

    def flops(self, trained_weights: int, *, recomputed: bool) -> float:
        """Return the floating-point operations of all passes; with `recomputed`, activations are computed twice."""
        back = 2 * self.weights + 2 * trained_weights + (2 * self.weights if recomputed else 0)
        return 2 * self.weights * (self.trained + self.other) + back * self.trained


def count_passes(model: PreTrainedModel) -> None:
    """Count what goes through `model` from now on."""
    body = model.base_model
    if hasattr(body, _NAME):
        return
    passes = Passes(weights=weights_of(model))
    setattr(body, _NAME, passes)
    body.register_forward_pre_hook(_counts(passes), with_kwargs=True)


def weights_of(model: PreTrainedModel) -> int:
    """Return how many weights a token meets: all but the input embeddings, unless these are the output's too."""
    total: int = sum(parameter.numel() for parameter in model.parameters())
    read, written = model.get_input_embeddings(), model.get_output_embeddings()
    tied = written is not None and read.weight is written.weight
    return total if tied or written is None else total - int(read.weight.numel())


def spent_on(trainer: Trainer) -> tuple[float, float]:
    """Return the tokens of all passes through the models of `trainer`, and their floating-point operations."""
    options = trainer.args
    recomputed = bool(options.gradient_checkpointing or getattr(options, "activation_checkpointing", False))
    tokens = flops = 0.0
    for model in (trainer.model, getattr(trainer, "ref_model", None), *getattr(trainer, BESIDE, ())):
        trained = sum(one.numel() for one in model.parameters() if one.requires_grad) if model is not None else 0
        for module in model.modules() if model is not None else ():
            passes = getattr(module, _NAME, None)
            if passes is not None:
                tokens += float(passes.trained + passes.other)
                flops += float(passes.flops(trained, recomputed=recomputed))
    return tokens, flops


def _counts(passes: Passes) -> Any:  # noqa: ANN401 - a hook
    def hook(module: torch.nn.Module, arguments: tuple[Any, ...], named: dict[str, Any]) -> None:
        import torch

        ids = named.get("input_ids", arguments[0] if arguments else None)
        shape = ids.shape if ids is not None else named["inputs_embeds"].shape[:2]
        mask: Any = named.get("attention_mask")
        tokens = mask.sum() if torch.is_tensor(mask) and mask.shape == shape else shape.numel()
        if torch.is_grad_enabled():
            passes.trained = passes.trained + tokens
        else:
            passes.other = passes.other + tokens

    return hook
