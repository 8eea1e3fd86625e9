"""From a checkpoint's files to a transformers model on a device."""

from __future__ import annotations

import json
import math
import shutil
import tempfile
import weakref
from typing import TYPE_CHECKING, Any

from pfh.errors import StepFailedError
from pfh.kit.weights import load_weights

if TYPE_CHECKING:
    import torch
    from pfh.hooks.checkpoint import Checkpoint
    from pfh.progress import Progress
    from transformers import PreTrainedModel

FITS = 0.8
"""Share of the free memory that weights may take; the rest is for activations and for what is computed of them."""


def load_model(checkpoint: Checkpoint, dtype: torch.dtype, device: torch.device, progress: Progress) -> PreTrainedModel:
    """Load the base of `checkpoint` (no adapter) for inference.

    Where its weights do not fit into the memory of a machine without a GPU, those blocks that find no room are read
    from the disk whenever they are computed, one at a time.

    Raises:
        UserError: the files do not hold a causal language model that transformers can load without remote code.
        StepFailedError: it does not fit into the memory of the GPU.
    """
    import torch

    offloaded = _offload(checkpoint, dtype, progress) if device.type == "cpu" else {}
    try:
        model = load_weights(checkpoint, dtype, **offloaded)
        model = model if offloaded else model.to(device)
    except torch.OutOfMemoryError as error:
        raise StepFailedError(f"{checkpoint.name} does not fit into the memory of the {device.type} device.") from error
    if offloaded:
        weakref.finalize(model, shutil.rmtree, offloaded["offload_folder"])
    return model.eval().requires_grad_(False)


def _offload(checkpoint: Checkpoint, dtype: torch.dtype, progress: Progress) -> dict[str, Any]:
    """Return how transformers shares the weights out between memory and disk; nothing where they fit."""
    needed, free = _weight_bytes(checkpoint, dtype), _free_memory()
    if needed <= FITS * free:
        return {}
    sizes = f"{needed / 1e9:.1f} GB as {str(dtype).removeprefix('torch.')}, of {free / 1e9:.1f} GB that are free"
    hint = "" if dtype.itemsize <= 2 else "; --dtype bfloat16 halves them"
    progress.say(
        f"{checkpoint.name} does not fit into memory ({sizes}): some blocks are read from the disk for every batch"
        f"{hint}"
    )
    return {
        "device_map": "auto",
        "max_memory": {"cpu": int(FITS * free)},
        "offload_folder": tempfile.mkdtemp(prefix="pfh-weights-"),  # unused where the dtype is that of the files
    }


def on_disk(model: PreTrainedModel) -> bool:
    """Say whether some of the weights are read from the disk when they are needed."""
    return "disk" in (getattr(model, "hf_device_map", None) or {}).values()


def _weight_bytes(checkpoint: Checkpoint, dtype: torch.dtype) -> int:
    """Return the size of the weights in memory, from the headers of safetensors; 0 where there are none."""
    if checkpoint.gguf_file:
        return 0
    count = 0
    for file in checkpoint.path.glob("*.safetensors"):
        with file.open("rb") as stream:
            header = json.loads(stream.read(int.from_bytes(stream.read(8), "little")))
        count += sum(math.prod(entry["shape"]) for name, entry in header.items() if name != "__metadata__")
    return int(count * dtype.itemsize)


def _free_memory() -> int:
    """Return the bytes that can be had without swapping."""
    import psutil

    return int(psutil.virtual_memory().available)
