"""The terms of a plan against what autograd keeps and what a cache holds, on models small enough to be looked into."""

from __future__ import annotations

import pytest
import torch
from peft import get_peft_model
from pfh.kit.training import TrainingOptions, lora_config
from pfh.kit.training.estimate import estimate
from transformers import AutoModelForCausalLM

from tests.tiny import tiny_config

WIDTH, LENGTH = 128, 96


def options_of(**changes) -> TrainingOptions:
    settings = {"batch_size": 2, "gradient_accumulation": 1, "max_length": LENGTH, "lora_rank": 2}
    return TrainingOptions(**settings | changes)


def built(options: TrainingOptions, inner: int, layers: int):
    """Return a Llama as `options` has it trained; its head and embeddings are small."""
    shape = {"hidden_size": WIDTH, "intermediate_size": inner, "num_hidden_layers": layers, "vocab_size": 64}
    config = tiny_config("llama", **shape, head_dim=32, num_key_value_heads=4)
    with torch.random.fork_rng(devices=[]):
        model = AutoModelForCausalLM.from_config(config).to(getattr(torch, options.base_precision))
        config = lora_config(options, model)
        if config is not None:
            model = get_peft_model(model, config)
    return model.train()


def kept_by_autograd(options: TrainingOptions, inner: int, layers: int) -> tuple[int, int]:
    """Return the bytes that a forward pass keeps for the way back: of activations, and of weights that were cast."""
    model = built(options, inner, layers)
    if options.gradient_checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
        model.enable_input_require_grads()
    own = {part.untyped_storage().data_ptr() for part in model.parameters()}
    matrices = [part for part in model.parameters() if part.dim() == 2]
    shapes = {side for part in matrices for side in (part.shape, part.T.shape)}
    kept: dict[int, tuple[bool, torch.UntypedStorage]] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = (tensor.shape in shapes, storage)
        return tensor

    bfloat16 = torch.autocast("cpu", torch.bfloat16, enabled=options.precision == "bfloat16")
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor), bfloat16:
        model(torch.zeros(2, LENGTH, dtype=torch.long), use_cache=False)
    return tuple(sum(part.nbytes() for cast, part in kept.values() if cast is of) for of in (False, True))


@pytest.mark.parametrize(
    "changes",
    [
        {"precision": "bfloat16", "adapter": "full"},
        {"precision": "bfloat16"},
        {"precision": "bfloat16", "base_precision": "bfloat16"},
        {"precision": "float32"},
    ],
)
@pytest.mark.parametrize("recomputed", [True, False])
def test_what_a_layer_keeps_for_the_way_back_is_what_is_planned(changes, recomputed):
    options = options_of(**changes, gradient_checkpointing=recomputed)
    of_layer, planned = [], []
    for inner in (256, 512):
        fewer, more = (kept_by_autograd(options, inner, layers) for layers in (2, 4))
        of_layer.append((more[0] - fewer[0]) / 2)
        parts = [estimate(built(options, inner, layers), options, 8).parts for layers in (2, 4)]
        amounts = [next(part.amount for part in each if part.name == "activations") for each in parts]
        planned.append((amounts[1] - amounts[0]) / 2)
        cast = [part.amount for part in parts[1] if "in bfloat16" in part.name]
        if not recomputed:
            assert more[1] == pytest.approx(sum(cast), rel=0.15, abs=0.1 * more[0])
    assert of_layer == pytest.approx(planned, rel=0.2)
    assert all(kept <= plan * 1.02 for kept, plan in zip(of_layer, planned, strict=True))  # at most, as is said
    # Both grow by as much where only the inner width does.
    assert of_layer[1] - of_layer[0] == pytest.approx(planned[1] - planned[0], rel=0.05, abs=1)


@pytest.mark.parametrize("base", ["float32", "bfloat16"])
def test_keys_and_values_of_a_token_are_as_large_as_is_planned(base):
    options = options_of(precision="bfloat16", base_precision=base)
    model = built(options, 256, 3).eval()
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        cache = model(torch.zeros(2, LENGTH, dtype=torch.long), use_cache=True).past_key_values
    held = sum(part.nbytes for layer in cache.layers for part in (layer.keys, layer.values))
    assert held == 2 * LENGTH * estimate(model, options, 8).cached
