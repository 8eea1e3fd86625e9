"""What a run would take: the memory and the time of its trainings, from the model's configuration alone."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

from pfh.hooks.launchers import RunSpec
from pfh.starts.settings import embedded_settings, is_embedded

if TYPE_CHECKING:
    from pydantic import BaseModel
    from transformers import PreTrainedConfig

    from pfh.kit.training.devices import Devices

VOCABULARY = 152_064
"""Of a model whose configuration is not known: that of Qwen2.5, among the larger ones."""


def estimates(
    spec: RunSpec,
    options: Mapping[str, BaseModel | None],
    devices: Devices | None = None,
    completion: int | None = None,
) -> dict[str, str]:
    """Return what the training of each method of the run takes, or why that is not known.

    It is a sentence about this machine, or with `devices` a plan for these, line by line.
    """
    import torch
    from transformers import AutoModelForCausalLM

    from pfh.kit.training import TrainingOptions
    from pfh.kit.training.devices import plan_lines
    from pfh.kit.training.estimate import estimate, measured_speed

    config, taken = _config(spec)
    if config is None:
        return dict.fromkeys(spec.methods, taken)
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    speed = 0.0 if devices else measured_speed()
    found = {}
    for name in spec.methods:
        chosen = options[f"methods:{name}"]
        if not isinstance(chosen, TrainingOptions):
            continue
        if devices is None:
            found[name] = " ".join(filter(None, [taken, estimate(model, chosen, spec.problems).sentence(speed)]))
            continue
        if devices.count > 1 or torch.cuda.is_available() is False:  # what is planned for are GPUs
            chosen = chosen.model_copy(update={"precision": "bfloat16"} if chosen.precision == "auto" else {})
        limit = getattr(chosen, "max_new_tokens", None) or completion
        whole = estimate(model, chosen, spec.problems, devices.count, limit)
        found[name] = "\n".join([*filter(None, [taken]), *plan_lines(whole, chosen, devices, completion)])
    return found


def _config(spec: RunSpec) -> tuple[PreTrainedConfig | None, str]:
    """Return the model's configuration, and what must be said of it: why there is none, or what it was taken from."""
    from transformers import AutoConfig

    if is_embedded(spec.model):
        return AutoConfig.for_model(**embedded_settings()["shape"]), ""
    try:
        return AutoConfig.from_pretrained(spec.model, revision=spec.revision, trust_remote_code=False), ""
    except (OSError, ValueError, KeyError) as error:
        size = re.search(r"(?<![\d.])(\d+(?:\.\d+)?)[Bb](?![a-zA-Z])", str(spec.model).rpartition("/")[2])
        if size is None or not 0 < float(size[1]) < 10_000:
            return None, f"not known: the model's configuration cannot be had ({type(error).__name__})"
        config = typical(1e9 * float(size[1]))
    return config, (
        f"The configuration of {spec.model} is not here; by its name it is taken for a dense model of {size[1]}B: "
        f"{config.num_hidden_layers} layers, width {config.hidden_size:,}, vocabulary {config.vocab_size:,}."
    )


def typical(weights: float) -> PreTrainedConfig:
    """Return the configuration of a dense model with about so many weights, all counted.

    It has the proportions of Llama 3 8B (32 layers, width 4,096, inner width 14,336, 8 heads of keys and values of
    128 each; arXiv 2407.21783, table 3): 128 times as wide as it has layers.
    """
    from transformers import AutoConfig

    def all_of(layers: int) -> float:
        width, keys = 128 * layers, 128 * min(8, layers)
        return layers * (2 * width**2 + 2 * width * keys + 3 * 3.5 * width**2) + 2 * VOCABULARY * width

    layers = min(range(1, 400), key=lambda layers: abs(all_of(layers) - weights))
    return AutoConfig.for_model(
        "llama",
        vocab_size=VOCABULARY,
        hidden_size=128 * layers,
        intermediate_size=round(3.5 * 128 * layers),
        num_hidden_layers=layers,
        num_attention_heads=layers,
        num_key_value_heads=min(8, layers),
        head_dim=128,
    )
