"""The memory and the time of a merge: two models of random weights, streamed tensor by tensor.

    python benchmarks/merging.py --weights 3e9 --folder /tmp/merging

The models have the shapes of Qwen2.5-3B (a large embedding among them), in bfloat16, with as many layers as give the
weights that were asked for. Each merge runs in a process of its own, whose greatest resident memory is compared with
the size of one model; what the process takes before it merges is taken off.
"""

from __future__ import annotations

import argparse
import importlib
import json
import resource
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

WIDTH, INNER, VOCABULARY, KEYS = 2048, 11008, 151936, 256
LIMIT = 1.5


def main() -> None:
    """Make the models, merge them each way, and print a line a merge."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", type=float, default=3e9, help="of one model")
    parser.add_argument("--folder", type=Path, default=Path("merging"), help="three models are written into it")
    parser.add_argument("--way", help="one merge, in this process: what the script calls itself with")
    parser.add_argument("--ways", default="wise-ft,ties,dare,slerp")
    given = parser.parse_args()
    if given.way:
        print(json.dumps(merge(given.folder, given.way)))
        return
    for number, name in enumerate(("start", "trained")):
        write_model(given.folder / name, given.weights, seed=number)
    size = sum(file.stat().st_size for file in (given.folder / "start").glob("*.safetensors"))
    print(f"one model: {size / 2**30:.2f} GiB")
    for way in given.ways.split(","):
        command = [sys.executable, __file__, "--folder", str(given.folder), "--way", way]
        told = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1])
        ratio = told["memory"] / size
        verdict = "within" if ratio <= LIMIT else "ABOVE"
        taken = f"{told['memory'] / 2**30:.2f} GiB, {ratio:.2f} times one model"
        print(f"{way}: {taken} ({verdict} {LIMIT:g}), {told['seconds']:.0f} s")
    shutil.rmtree(given.folder)


def write_model(folder: Path, weights: float, seed: int) -> None:
    """Write random weights, a layer a file."""
    import torch
    from safetensors.torch import save_file

    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    block = torch.randn(1 << 22, generator=torch.Generator().manual_seed(seed)).to(torch.bfloat16)
    squares = {"q_proj": WIDTH, "k_proj": KEYS, "v_proj": KEYS, "o_proj": WIDTH}
    layer = {f"self_attn.{name}": (rows, WIDTH) for name, rows in squares.items()}
    layer |= {"mlp.gate_proj": (INNER, WIDTH), "mlp.up_proj": (INNER, WIDTH), "mlp.down_proj": (WIDTH, INNER)}
    each = sum(rows * columns for rows, columns in layer.values())
    layers = max(1, round((weights - VOCABULARY * WIDTH) / each))
    parts = [{"model.embed_tokens.weight": (VOCABULARY, WIDTH)}]
    parts += [{f"model.layers.{n}.{name}.weight": shape for name, shape in layer.items()} for n in range(layers)]
    index = {}
    for number, shapes in enumerate(parts):
        file = f"model-{number:05d}.safetensors"
        tensors = {name: _filled(block, shape) for name, shape in shapes.items()}
        save_file(tensors, folder / file, metadata={"format": "pt"})
        index |= dict.fromkeys(shapes, file)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": index}))
    (folder / "config.json").write_text("{}")


def _filled(block: torch.Tensor, shape: tuple[int, int]) -> torch.Tensor:
    """Return a matrix of random numbers, drawn once and repeated: only its size matters here."""
    count = shape[0] * shape[1]
    return block.repeat(count // len(block) + 1)[:count].reshape(shape).contiguous()


def merge(folder: Path, way: str) -> dict[str, float]:
    """Merge the two models; return the seconds, and the bytes of memory beyond what the process took before."""
    from pfh.hooks.checkpoint import Checkpoint
    from pfh.kit.merge_models import merge_models
    from pfh.kit.merging import Recipe, interpolated, merged
    from pfh.progress import Silent

    models = [Checkpoint(name=name, path=folder / name, fingerprint=name) for name in ("start", "trained")]
    recipe = Recipe(how=way, scale=0.5 if way == "slerp" else 1.0)  # type: ignore[arg-type] # checked by the merge
    combine = {"wise-ft": lambda name, tensors: interpolated(tensors[0], tensors[1], 0.5)}.get(
        way, lambda name, tensors: merged(tensors[0], tensors[1:], name, recipe)
    )
    importlib.import_module("peft.utils.merge_utils")  # with torch, before the memory is counted
    before, began = peak(), time.monotonic()
    merge_models(models, combine, folder / "merged", work=folder / "work", progress=Silent())
    return {"seconds": time.monotonic() - began, "memory": peak() - before}


def peak() -> int:
    """Return the most bytes that were resident at once so far, mapped files included."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


if __name__ == "__main__":
    main()
