"""Weights from strangers, looked at before a model is built of them: only headers are read, and no tensor."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from pfh.errors import UserError, reading

_LAYERS = ("num_hidden_layers", "n_layer", "n_layers", "num_layers", "num_decoder_layers")
_LONGEST_HEADER = 1 << 24
"""Bytes: a file of a hundred thousand tensors has a shorter one, and a longer one takes minutes to read."""
_ALWAYS_BELIEVED = 1000
"""Layers that share their weights are fewer than this."""


def check_weights(name: str, files: Iterable[Path], configuration: Mapping[str, Any]) -> None:
    """Check that every safetensors file holds what its header says, and that the layers could come from them.

    A model is built as its configuration says: one that speaks of a million layers would never be finished.

    Raises:
        UserError: a file is damaged, or the configuration speaks of more layers than there are tensors.
    """
    from safetensors import safe_open

    tensors = 0
    for file in files:
        if file.suffix == ".safetensors":
            with reading(f"{file.name} of {name}", "it is damaged or was not downloaded whole: get it again"):
                _check_header(file)
                with safe_open(file, framework="numpy") as held:
                    tensors += len(held.keys())
    most = max(tensors, _ALWAYS_BELIEVED)
    for key, layers in _said(configuration):
        if tensors and not (isinstance(layers, int) and 0 <= layers <= most):
            raise UserError(
                f"The config.json of {name} says {key} = {str(layers)[:20]}, and its weights are {tensors} tensors: "
                "take the config.json of the model that they are of."
            )


def check_ranks(name: str, weights: Path, configuration: Mapping[str, Any]) -> None:
    """Check that the ranks of a LoRA could be those of its weights: its matrices are made as the configuration says.

    Raises:
        UserError: one is larger than any side of its matrices, or no number.
    """
    from safetensors import safe_open

    with reading(f"{weights.name} of {name}", "it is damaged: get it again"):
        patterns = dict(configuration.get("rank_pattern") or {})
        with safe_open(weights, framework="numpy") as held:
            largest = max((side for key in held.keys() for side in held.get_slice(key).get_shape()), default=0)  # noqa: SIM118 - no mapping
    for rank in (configuration.get("r") or 0, *patterns.values()):
        if not isinstance(rank, int) or rank > largest:
            raise UserError(
                f"The adapter_config.json of {name} says r = {str(rank)[:20]}, and no matrix of its weights has more "
                f"than {largest} rows or columns: take the configuration that it was saved with."
            )


def _check_header(file: Path) -> None:
    with file.open("rb") as stream:
        if int.from_bytes(stream.read(8), "little") > _LONGEST_HEADER:
            raise ValueError(f"its header is longer than {_LONGEST_HEADER >> 20} MiB")


def _said(configuration: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield what a configuration and its parts say of their layers."""
    for key, value in configuration.items():
        if key in _LAYERS and value is not None:
            yield key, value
        elif isinstance(value, Mapping):
            yield from _said(value)
