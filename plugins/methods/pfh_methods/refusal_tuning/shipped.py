"""The adapter that comes with pfh: a refusal tuning of the embedded model, made once by `ship` and verified here."""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pfh.errors import StepFailedError, UserError
from pfh.hooks.ledger import Phase
from pfh.hooks.methods import TrainingResult, TrainingSpec

if TYPE_CHECKING:
    from pfh.hooks.checkpoint import Checkpoint

FOLDER = Path(__file__).with_name("adapter")
RECORD = "made.json"
"""How the adapter was made: for which weights, by which command, what that cost, and the checksums of its files."""
WEIGHTS = "model.safetensors"


def require_base(checkpoint: Checkpoint) -> None:
    """Refuse a model that the adapter was not trained from.

    Raises:
        UserError: its weights are others.
    """
    record = read_record()
    file = checkpoint.path / WEIGHTS
    if checkpoint.adapter or not file.is_file() or tensors_digest(file) != record["base_sha256"]:
        raise UserError(
            f"The shipped adapter of refusal-tuning belongs to the weights of {record['base']} as pfh converts them, "
            f"and {checkpoint.name} has others: leave out shipped, and the tuning trains an adapter for it."
        )


def take_shipped(spec: TrainingSpec) -> TrainingResult:
    """Return the adapter in place of a training.

    Raises:
        UserError: the model is another one.
        StepFailedError: a file is not what was shipped.
    """
    began = time.monotonic()
    record = read_record()
    require_base(spec.checkpoint)
    for name, digest in record["files"].items():
        file = FOLDER / name
        if not file.is_file() or hashlib.sha256(file.read_bytes()).hexdigest() != digest:
            raise StepFailedError(
                f"The shipped adapter is damaged: {file} is not what pfh shipped. Install pfh again, or let "
                "refusal-tuning train one (leave out shipped)."
            )
    trained = spec.output_dir / "trained"
    shutil.rmtree(trained, ignore_errors=True)
    trained.mkdir(parents=True)
    for name in record["files"]:
        shutil.copyfile(FOLDER / name, trained / name)
    cost: Mapping[str, Any] = record["training"]
    phase = Phase(
        name="shipped adapter",
        seconds=round(time.monotonic() - began, 3),
        notes={f"{name}_when_made": value for name, value in cost.items()},
    )
    return TrainingResult(
        path=trained,
        phases=(phase,),
        notes=(
            "The adapter came with pfh, its checksums hold, and nothing was trained here. It was made by "
            f"`{record['command']}`: {cost['updates']} updates on {cost['samples']} examples in "
            f"{cost['seconds'] / 60:.0f} minutes.",
        ),
    )


def read_record() -> dict[str, Any]:
    """Return how the adapter was made."""
    record: dict[str, Any] = json.loads((FOLDER / RECORD).read_text(encoding="utf-8"))
    return record


def tensors_digest(file: Path) -> str:
    """Return a SHA-256 over the names and values of the tensors in `file`, whatever order they are stored in."""
    from safetensors import safe_open

    digest = hashlib.sha256()
    with safe_open(file, framework="np") as tensors:
        for name in sorted(tensors.keys()):
            value = tensors.get_tensor(name)
            digest.update(f"{name}\0{value.dtype}\0{value.shape}\0".encode())
            digest.update(memoryview(value).cast("B"))
    return digest.hexdigest()
