"""How much of a training is left when its weights are rounded: small updates vanish in bfloat16.

A weight changes only if its update exceeds half a unit in its last place. The share that is left is the projection of
the rounded update r on the exact one d over all trained weights, <r, d> / <d, d>: 1 where rounding only adds noise,
and towards 0 where most weights stay as they were.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pfh.kit.tensors import Tensors

if TYPE_CHECKING:
    import torch

    from pfh.hooks.checkpoint import Checkpoint

WHOLE = 0.9
"""A smaller share is below resolution: it is told, and adapters are not merged."""
_PREFIX, _FIRST, _SECOND = "base_model.model.", ".lora_A.weight", ".lora_B.weight"


class UpdateLeft:
    """The share of an update that is left in `dtype`, added up matrix by matrix."""

    def __init__(self, dtype: torch.dtype) -> None:
        self._dtype = dtype
        self._kept = self._all = 0.0

    def add(self, before: torch.Tensor, update: torch.Tensor) -> None:
        """Count one matrix and its exact update, of the same shape."""
        exact, start = update.float(), before.to(self._dtype).float()
        rounded = (before.float() + exact).to(self._dtype).float() - start
        self._kept += float((rounded * exact).sum().double())
        self._all += float((exact * exact).sum().double())

    @property
    def share(self) -> float:
        """Between 0 and about 1; 1 where nothing was updated."""
        return self._kept / self._all if self._all else 1.0


def update_left(start: Checkpoint, trained: Path) -> float | None:
    """Return the share of the training in the folder `trained`, adapter or all weights, that is left in bfloat16.

    Weights are read one at a time.

    Returns:
        The share; None where it cannot be told from the files: GGUF, or another adapter than a plain LoRA.
    """
    import torch

    left = UpdateLeft(torch.bfloat16)
    if start.gguf_file or start.endpoint is not None:
        return None
    before = Tensors(start.path)
    if (trained / "adapter_config.json").exists():
        settings = json.loads((trained / "adapter_config.json").read_text(encoding="utf-8"))
        if not _is_plain(settings):
            return None
        for name, update in _products(Tensors(trained), settings):
            if name not in before:
                return None
            left.add(before[name], update)
        return left.share
    after = Tensors(trained)
    for name in after:
        if name in before and before[name].shape == after[name].shape:
            left.add(before[name], after[name].float() - before[name].float())
    return left.share


def _is_plain(settings: dict[str, Any]) -> bool:
    unusual = ("use_dora", "rank_pattern", "alpha_pattern", "modules_to_save", "fan_in_fan_out", "use_qalora")
    return settings.get("peft_type") == "LORA" and not any(settings.get(name) for name in unusual)


def _products(adapter: Tensors, settings: dict[str, Any]) -> Iterator[tuple[str, torch.Tensor]]:
    """Yield the name of each adapted weight and the product that is added to it."""
    rank = settings["r"]
    scale = settings["lora_alpha"] / (rank**0.5 if settings.get("use_rslora") else rank)
    for name in adapter:
        if name.endswith(_FIRST):
            module = name.removeprefix(_PREFIX).removesuffix(_FIRST)
            second = adapter[name.removesuffix(_FIRST) + _SECOND].float()
            yield f"{module}.weight", scale * (second @ adapter[name].float())
