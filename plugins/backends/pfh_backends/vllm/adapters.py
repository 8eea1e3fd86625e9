"""What vLLM must know of LoRA adapters before it makes room for them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pfh.errors import UserError

if TYPE_CHECKING:
    from pfh.hooks.checkpoint import Checkpoint

RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
"""The room for adapters comes in these ranks."""

_HARMLESS = {
    "peft_type": "LORA",
    "bias": "none",
    "use_dora": False,
    "modules_to_save": None,
    "rank_pattern": None,
    "alpha_pattern": None,
    "trainable_token_indices": None,
    "target_parameters": None,
    "layer_replication": None,
    "alora_invocation_tokens": None,
}


@dataclass(frozen=True, kw_only=True)
class LoraRoom:
    """The adapters that a resident model can take: up to this rank, on these modules."""

    rank: int
    modules: frozenset[str]
    """Names of the modules, such as "q_proj". A module that is not among them would be left out without a word."""

    def holds(self, other: LoraRoom) -> bool:
        """Say whether an adapter that needs `other` finds room here."""
        return other.rank <= self.rank and other.modules <= self.modules

    def widened(self, other: LoraRoom) -> LoraRoom:
        """Return room for the adapters of both."""
        return LoraRoom(rank=max(self.rank, other.rank), modules=self.modules | other.modules)


def room_for(checkpoint: Checkpoint) -> LoraRoom:
    """Return the room that the adapter of `checkpoint` needs, read from its weights.

    Raises:
        UserError: it is an adapter that vLLM would not apply as it was trained.
    """
    assert checkpoint.adapter is not None
    _refuse_special(checkpoint.adapter, checkpoint.name)
    shapes = _shapes(checkpoint.adapter / "adapter_model.safetensors", checkpoint.name)
    ranks = {name.rsplit(".", 3)[-3]: shape[0] for name, shape in shapes.items() if name.endswith(".lora_A.weight")}
    strange = sorted(name for name in shapes if not name.endswith((".lora_A.weight", ".lora_B.weight")))
    if strange or not ranks or "lm_head" in ranks:
        what = strange[0] if strange else "lm_head" if ranks else "no LoRA matrices"
        raise UserError(f"The adapter {checkpoint.name} holds {what}, {_REMEDY}")
    needed = max(ranks.values())
    if needed > RANKS[-1]:
        raise UserError(f"The adapter {checkpoint.name} has rank {needed}, {_REMEDY}")
    return LoraRoom(rank=next(rank for rank in RANKS if rank >= needed), modules=frozenset(ranks))


_REMEDY = "which vLLM cannot swap in: merge it into its base, or use --backend hf."


def _refuse_special(adapter: Path, name: str) -> None:
    configuration = json.loads((adapter / "adapter_config.json").read_text(encoding="utf-8"))
    for setting, harmless in _HARMLESS.items():
        value = configuration.get(setting, harmless)
        if value not in (harmless, None, [], {}):
            raise UserError(f"The adapter {name} has {setting}={value}, {_REMEDY}")


def _shapes(file: Path, name: str) -> dict[str, list[int]]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, framework="numpy") as tensors:
            return {key: tensors.get_slice(key).get_shape() for key in tensors.keys()}  # noqa: SIM118 - no mapping
    except SafetensorError as error:
        raise UserError(f"The weights of the adapter {name} cannot be read: {error}") from error
