"""The weight matrices of a checkpoint, read a few rows at a time from its safetensors, and its adapter's factors."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pfh.kit.soft_thoughts import are_soft_thoughts

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from pfh.hooks.checkpoint import Checkpoint

_PEFT = "base_model.model."


class UnreadableWeightsError(Exception):
    """The matrices of a checkpoint cannot be had one by one; the message says why."""


@dataclass(frozen=True, kw_only=True)
class Factors:
    """A low-rank change of one matrix: `left @ right`."""

    left: NDArray[np.float64]
    """Shape (rows of the matrix, r); the adapter's scaling is in it."""
    right: NDArray[np.float64]
    """Shape (r, columns of the matrix)."""


@dataclass(frozen=True, kw_only=True)
class Weights:
    """The two-dimensional tensors of a checkpoint's base, by name, and what its adapter makes of them."""

    shapes: Mapping[str, tuple[int, int]]
    others: int
    """Tensors that are no matrices: norms, biases, stacked experts."""
    files: Mapping[str, Path]
    factors: Mapping[str, Factors]
    replaced: Mapping[str, Path]
    """Matrices that the adapter holds whole, and the file that they are in."""

    def rows(self, name: str, start: int, stop: int) -> NDArray[np.float64]:
        """Read some rows of one matrix, with the adapter.

        Raises:
            UnreadableWeightsError: they hold numbers that are not finite.
        """
        rows = slice(start, stop)
        if name in self.replaced:
            return _read(self.replaced[name], _PEFT + name, rows)
        matrix = _read(self.files[name], name, rows)
        if factors := self.factors.get(name):
            matrix += factors.left[rows] @ factors.right
        return matrix

    def whole(self, name: str) -> NDArray[np.float64]:
        """Read one matrix with the adapter.

        Raises:
            UnreadableWeightsError: it holds numbers that are not finite.
        """
        return self.rows(name, 0, self.shapes[name][0])


def open_weights(checkpoint: Checkpoint) -> Weights:
    """Find the matrices of `checkpoint`; of the base only names and shapes are read.

    Raises:
        UnreadableWeightsError: its weights are no safetensors, or its adapter is no plain LoRA.
    """
    files = sorted(checkpoint.path.glob("*.safetensors"))
    if checkpoint.gguf_file or not files:
        kind = "GGUF" if checkpoint.gguf_file else "pickle"
        raise UnreadableWeightsError(f"the weights of {checkpoint.name} are {kind}; deltas are read from safetensors")
    shapes: dict[str, tuple[int, int]] = {}
    places: dict[str, Path] = {}
    others = 0
    for file in files:
        for name, shape in _shapes(file).items():
            if len(shape) == 2:
                shapes[name], places[name] = (shape[0], shape[1]), file
            else:
                others += 1
    adapter = None if are_soft_thoughts(checkpoint) else checkpoint.adapter
    factors, replaced = _adapter(adapter, checkpoint.name) if adapter else ({}, {})
    if stray := sorted((factors.keys() | replaced.keys()) - shapes.keys()):
        raise UnreadableWeightsError(f"the adapter of {checkpoint.name} changes {stray[0]}, which its base lacks")
    return Weights(shapes=shapes, others=others, files=places, factors=factors, replaced=replaced)


def _shapes(file: Path) -> dict[str, list[int]]:
    """Return the shapes of the tensors of a safetensors file, from its header."""
    with file.open("rb") as stream:
        header = json.loads(stream.read(int.from_bytes(stream.read(8), "little")))
    return {name: entry["shape"] for name, entry in header.items() if name != "__metadata__"}


def _read(file: Path, name: str, rows: slice = slice(None)) -> NDArray[np.float64]:
    from safetensors import safe_open

    with safe_open(file, framework="pt") as stored:  # numpy has no bfloat16
        matrix = np.array(stored.get_slice(name)[rows].double().numpy(), dtype=np.float64)
    if not np.all(np.isfinite(matrix)):
        raise UnreadableWeightsError(f"{name} in {file} holds numbers that are not finite")
    return matrix


def _adapter(folder: Path, owner: str) -> tuple[dict[str, Factors], dict[str, Path]]:
    """Read the factors of a LoRA adapter, by the name of the matrix that they change."""
    from peft import LoraConfig, PeftConfig

    config = PeftConfig.from_pretrained(str(folder))
    if not isinstance(config, LoraConfig) or config.use_dora:
        kind = "DoRA" if isinstance(config, LoraConfig) else config.peft_type.value
        raise UnreadableWeightsError(f"the adapter of {owner} is {kind}; only plain LoRA has factors to read")
    file = folder / "adapter_model.safetensors"
    factors: dict[str, Factors] = {}
    replaced: dict[str, Path] = {}
    for name in _shapes(file):
        module = name.removeprefix(_PEFT)
        if module.endswith(".lora_A.weight"):
            module = module.removesuffix(".lora_A.weight")
            right, left = _read(file, name), _read(file, name.replace(".lora_A.", ".lora_B."))
            factors[f"{module}.weight"] = _scaled(left, right, module, config)
        elif not module.endswith(".lora_B.weight"):
            if ".lora_" in module:
                raise UnreadableWeightsError(f"the adapter of {owner} has {module}, which is not read here")
            replaced[module] = file
    return factors, replaced


def _scaled(left: NDArray[np.float64], right: NDArray[np.float64], module: str, config: Any) -> Factors:  # noqa: ANN401
    from peft.utils.other import get_pattern_key

    rank = len(right)
    alpha = config.alpha_pattern.get(get_pattern_key(config.alpha_pattern.keys(), module), config.lora_alpha)
    left = left * (alpha / (rank**0.5 if config.use_rslora else rank))
    if config.fan_in_fan_out:  # the matrix is stored transposed
        return Factors(left=right.T, right=left.T)
    return Factors(left=left, right=right)
