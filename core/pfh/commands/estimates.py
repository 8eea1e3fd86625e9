"""What a run would take: the memory and the time of its trainings, from the model's configuration alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from pfh.hooks.launchers import RunSpec
from pfh.starts.settings import embedded_settings, is_embedded

if TYPE_CHECKING:
    from pydantic import BaseModel
    from transformers import PreTrainedConfig


def estimates(spec: RunSpec, options: Mapping[str, BaseModel | None]) -> dict[str, str]:
    """Return a sentence for each method of the run: what its training takes, or why that is not known."""
    import torch
    from transformers import AutoModelForCausalLM

    from pfh.kit.training import TrainingOptions
    from pfh.kit.training.estimate import estimate, measured_speed

    try:
        config = _config(spec)
    except (OSError, ValueError, KeyError) as error:
        return dict.fromkeys(
            spec.methods, f"not known: the model's configuration cannot be had ({type(error).__name__})"
        )
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    speed = measured_speed()
    found = {}
    for name in spec.methods:
        chosen = options[f"methods:{name}"]
        if isinstance(chosen, TrainingOptions):
            found[name] = estimate(model, chosen, spec.problems).sentence(speed)
    return found


def _config(spec: RunSpec) -> PreTrainedConfig:
    from transformers import AutoConfig

    if is_embedded(spec.model):
        return AutoConfig.for_model(**embedded_settings()["shape"])
    return AutoConfig.from_pretrained(spec.model, revision=spec.revision, trust_remote_code=False)
