"""The tensors of a model's safetensors files, read and written one at a time: no model is in memory whole."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pfh.errors import UserError, reading

if TYPE_CHECKING:
    import torch

    from pfh.hooks.checkpoint import Checkpoint

SHARD_BYTES = 1 << 29
"""Most that is held to be written into one file; a larger tensor has a file of its own."""
_INDEX, _ONE = "model.safetensors.index.json", "model.safetensors"
_BESIDE = ("*.json", "*.jinja", "*.txt", "*.model")


class Tensors:
    """The tensors of a folder, by name; a file is open only while one of its tensors is in use."""

    def __init__(self, folder: Path) -> None:
        from safetensors import safe_open

        self._open: Any = safe_open
        self._files: dict[str, Path] = {}
        for file in _weight_files(folder):
            with reading(str(file), "replace the file"), self._open(str(file), framework="pt") as opened:
                self._files |= dict.fromkeys(opened.keys(), file)

    def __iter__(self) -> Iterator[str]:
        return iter(self._files)

    def __contains__(self, name: str) -> bool:
        return name in self._files

    def __len__(self) -> int:
        return len(self._files)

    def __getitem__(self, name: str) -> torch.Tensor:
        with self._open(str(self._files[name]), framework="pt") as opened:
            tensor: torch.Tensor = opened.get_tensor(name)
        return tensor

    def shape(self, name: str) -> tuple[int, ...]:
        """Return the shape of a tensor without reading it."""
        with self._open(str(self._files[name]), framework="pt") as opened:
            return tuple(opened.get_slice(name).get_shape())

    def dtype(self, name: str) -> torch.dtype:
        """Return the dtype of a tensor without reading it."""
        with self._open(str(self._files[name]), framework="pt") as opened:
            one = opened.get_slice(name)
            dtype: torch.dtype = one[:0].dtype if one.get_shape() else opened.get_tensor(name).dtype
        return dtype


def write_tensors(
    folder: Path,
    like: Tensors,
    dtypes: dict[str, torch.dtype],
    make: Callable[[str], torch.Tensor],
    shard_bytes: int = SHARD_BYTES,
) -> None:
    """Write what `make` returns for each name as safetensors files in `folder`, with an index where there are several.

    Args:
        folder: must exist.
        like: has the names and shapes.
        dtypes: of what is written, by name.
        make: called once for each name, in the order of `dtypes`.
        shard_bytes: most that is held at once beside what `make` itself takes.
    """
    from safetensors.torch import save_file

    shards = _shards(like, dtypes, shard_bytes)
    index: dict[str, str] = {}
    for number, names in enumerate(shards, start=1):
        file = _ONE if len(shards) == 1 else f"model-{number:05d}-of-{len(shards):05d}.safetensors"
        held = {name: make(name).to(dtypes[name]).contiguous() for name in names}
        save_file(held, folder / file, metadata={"format": "pt"})
        index |= dict.fromkeys(names, file)
        del held
    if len(shards) > 1:
        total = sum(_bytes(like.shape(name), dtypes[name]) for name in dtypes)
        (folder / _INDEX).write_text(json.dumps({"metadata": {"total_size": total}, "weight_map": index}, indent=1))


def copy_settings(model: Path, folder: Path) -> None:
    """Copy what stands beside the weights of `model` into `folder`: configuration, tokenizer, chat template."""
    for pattern in _BESIDE:
        for file in sorted(model.glob(pattern)):
            if not file.name.endswith(".index.json"):
                shutil.copyfile(file, folder / file.name)


def aligned(models: Sequence[Checkpoint], work: Path) -> list[Tensors]:
    """Return the tensors of models of one kind: of the same names and shapes.

    They are read from their own files where these agree; else (GGUF, names of the hub's that transformers changes, a
    tied weight that is written twice) every model is loaded and saved under `work` first.

    Raises:
        UserError: they are of different kinds, or one has no weights here.
    """
    for each in models:
        if each.endpoint is not None:
            raise UserError(f"{each.name} answers through an endpoint: its weights are needed, so name a model.")
    plain = all(each.gguf_file is None for each in models)
    opened = [Tensors(each.path) for each in models] if plain else []
    if not plain or any(set(each) != set(opened[0]) for each in opened):
        opened = [_rewritten(each, work / str(number)) for number, each in enumerate(models)]
    first = models[0].name
    for model, tensors in zip(models[1:], opened[1:], strict=True):
        if stray := sorted(set(tensors) ^ set(opened[0])):
            raise UserError(
                f"{model.name} is another kind of model than {first}: only one of the two has the tensor {stray[0]}."
            )
        for name in opened[0]:
            if tensors.shape(name) != opened[0].shape(name):
                raise UserError(
                    f"{model.name} is another kind of model than {first}: its {name} is {list(tensors.shape(name))} "
                    f"and not {list(opened[0].shape(name))}."
                )
    return opened


def _rewritten(model: Checkpoint, folder: Path) -> Tensors:
    import torch

    from pfh.kit.weights import load_weights

    shutil.rmtree(folder, ignore_errors=True)
    load_weights(model, torch.float32).save_pretrained(folder)
    return Tensors(folder)


def _weight_files(folder: Path) -> list[Path]:
    if (folder / _INDEX).is_file():
        with reading(str(folder / _INDEX), "replace the file"):
            named = json.loads((folder / _INDEX).read_text(encoding="utf-8"))["weight_map"]
            return [folder / Path(str(name)).name for name in sorted(set(named.values()))]
    one = folder / _ONE
    return [one] if one.is_file() else sorted(folder.glob("*.safetensors"))


def _shards(like: Tensors, dtypes: dict[str, torch.dtype], most: int) -> list[list[str]]:
    shards: list[list[str]] = [[]]
    held = 0
    for name, dtype in dtypes.items():
        size = _bytes(like.shape(name), dtype)
        if shards[-1] and held + size > most:
            shards.append([])
            held = 0
        shards[-1].append(name)
        held += size
    return shards


def _bytes(shape: Sequence[int], dtype: torch.dtype) -> int:
    size: int = dtype.itemsize
    for each in shape:
        size *= each
    return size
