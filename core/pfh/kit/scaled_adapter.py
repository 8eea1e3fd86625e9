"""A LoRA adapter at another strength: its scale in the settings, the matrices as they are."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from pfh.errors import reading

SETTINGS = "adapter_config.json"
_UNSCALED: dict[str, tuple[Any, ...]] = {
    "use_dora": (None, False),
    "modules_to_save": (None, []),
    "bias": (None, "none"),
    "lora_bias": (None, False),
}


def can_be_scaled(adapter: Path) -> bool:
    """Say whether all of what the adapter changes is in proportion to `lora_alpha`: a plain LoRA, not DoRA."""
    settings = _settings(adapter)
    plain = all(settings.get(name) in harmless for name, harmless in _UNSCALED.items())
    return plain and settings.get("peft_type") == "LORA"


def scale_adapter(adapter: Path, share: float, folder: Path) -> Path:
    """Write the adapter at `share` of its strength into `folder`: with W0 the base, exactly W0 + share (W1 - W0)."""
    shutil.copytree(adapter, folder, dirs_exist_ok=True)
    settings = _settings(adapter)
    settings["lora_alpha"] = share * settings["lora_alpha"]
    settings["alpha_pattern"] = {name: share * value for name, value in (settings.get("alpha_pattern") or {}).items()}
    (folder / SETTINGS).write_text(json.dumps(settings, indent=2))
    return folder


def _settings(adapter: Path) -> dict[str, Any]:
    with reading(str(adapter / SETTINGS), "replace the adapter"):
        return dict(json.loads((adapter / SETTINGS).read_text(encoding="utf-8")))
