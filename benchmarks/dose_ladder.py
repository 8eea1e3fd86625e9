"""Does every measure of safety see a known erosion, and how much of it does it take?

    python benchmarks/dose_ladder.py [--doses 0,0.15,0.3,0.5,1] [--limit 40]

The embedded SAFE start is moved towards BASE by a known dose: weights (1 - dose) * SAFE + dose * BASE. For every dose
the family safety is put to the built-in probes, and each of its benchmarks is compared with SAFE's on the same prompts:
mean, change, paired p-value. Printed beside it: whether the means are monotone in the dose, the power at the smallest
dose with 16 prompts (subsets of the prompts, drawn 2,000 times), and the processor time of margins against answers.
"""

from __future__ import annotations

import argparse
import dataclasses
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pfh.hooks.backends import EngineSpec
from pfh.hooks.checkpoint import Checkpoint
from pfh.hooks.evals import EvaluationSpec
from pfh.hooks.evaluation import Evaluation
from pfh.progress import Silent
from pfh.registry.plugins import Plugins
from pfh.statistics.paired import compare_evaluations, paired_p_value
from pfh.steps.session import Session
from pfh.steps.starts import embedded_start, safe_start
from pfh.store.store import Store, default_root
from pfh_backends.hf.engine import HfEngine
from pfh_evals import safety
from safetensors.torch import load_file, save_file

FEW, DRAWS = 16, 2000
"""Fewer scores that are not 0 or 1 are not tested."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--doses", default="0,0.15,0.3,0.5,1")
    parser.add_argument("--limit", type=int, default=40)
    arguments = parser.parse_args()
    doses = [float(text) for text in arguments.doses.split(",")]
    torch.set_num_threads(1)
    session = Session(plugins=Plugins(), store=Store(default_root()), progress=Silent())
    base, safe = embedded_start(session), safe_start(session)
    session.release()
    with tempfile.TemporaryDirectory() as scratch:
        ladder = {dose: measure(faded(safe, base, dose, Path(scratch)), arguments.limit, session) for dose in doses}
    show(ladder)
    show_power(ladder)


def faded(safe: Checkpoint, base: Checkpoint, dose: float, scratch: Path) -> Checkpoint:
    """Return the model between the two, every tensor interpolated."""
    folder = scratch / str(dose)
    folder.mkdir()
    first, second = (_tensors(each.path) for each in (safe, base))
    for path in safe.path.iterdir():
        if path.suffix != ".safetensors" and "safetensors.index" not in path.name and path.is_file():
            (folder / path.name).write_bytes(path.read_bytes())
    mixed = {name: ((1 - dose) * first[name] + dose * second[name]).contiguous() for name in first}
    save_file(mixed, folder / "model.safetensors", metadata={"format": "pt"})
    return Checkpoint(name=f"dose {dose}", path=folder, fingerprint=f"dose-{dose}")


def _tensors(folder: Path) -> dict[str, torch.Tensor]:
    return {name: value for file in sorted(folder.glob("*.safetensors")) for name, value in load_file(file).items()}


def measure(checkpoint: Checkpoint, limit: int, session: Session) -> tuple[Evaluation, dict[str, float]]:
    """Return the family put to the probes, and the processor seconds of answers and of margins."""
    engine = HfEngine(EngineSpec(checkpoint=checkpoint, dtype="float32"))
    spec = EvaluationSpec(
        engine=engine, options=safety.Options(), data=session.data, judge=session.judge, benchmarks=(), limit=limit
    )
    evaluations, seconds = [], {}
    for what, names in (
        ("answers", ("probes-harmful", "probes-benign")),
        ("margins", ("probes-harmful-margin", "probes-benign-margin")),
        ("targets", ("probes-harmful-target",)),
        ("depth", ("probes-harmful-depth",)),
    ):
        began = time.process_time()
        found = safety.evaluate(dataclasses.replace(spec, benchmarks=names))
        seconds[what] = time.process_time() - began
        kept = tuple(each for each in found.benchmarks if each.name in names)
        evaluations.append(dataclasses.replace(found, benchmarks=kept))
    engine.close()
    benchmarks = tuple(benchmark for evaluation in evaluations for benchmark in evaluation.benchmarks)
    return dataclasses.replace(evaluations[0], benchmarks=benchmarks, arrays={}), seconds


def show(ladder: dict[float, tuple[Evaluation, dict[str, float]]]) -> None:
    """Print a row for every measure and dose, and whether the means are monotone."""
    start = ladder[min(ladder)][0]
    means: dict[str, list[float]] = {}
    for dose, (evaluation, seconds) in ladder.items():
        print(f"\ndose {dose:.0%}; processor seconds: {', '.join(f'{k} {v:.1f}' for k, v in seconds.items())}")
        for row in compare_evaluations(start, evaluation):
            means.setdefault(row.benchmark, []).append(row.after or 0.0)
            told = f"mean {row.after:+8.3f}  change {row.delta:+8.3f}  p {row.p_value:.2g}"
            print(f"  {row.benchmark:24} n {row.n:3}  {told}")
    print()
    for name, values in means.items():
        steps = np.diff(values)
        told = "monotone" if np.all(steps <= 1e-9) or np.all(steps >= -1e-9) else "NOT monotone"
        print(f"{name:24} {told}: {', '.join(f'{value:.3f}' for value in values)}")


def show_power(ladder: dict[float, tuple[Evaluation, dict[str, float]]]) -> None:
    """Print how often so few prompts find the smallest dose, at p <= 0.05."""
    doses = sorted(ladder)
    start, eroded = ladder[doses[0]][0], ladder[doses[1]][0]
    generator = np.random.default_rng(0)
    for before, after in zip(start.benchmarks, eroded.benchmarks, strict=True):
        later: dict[str, Any] = {sample.id: sample.score for sample in after.samples}
        x = np.array([sample.score for sample in before.samples], dtype=float)
        y = np.array([later[sample.id] for sample in before.samples], dtype=float)
        found = 0
        for _ in range(DRAWS):
            drawn = generator.choice(len(x), size=min(FEW, len(x)), replace=False)
            found += paired_p_value(x[drawn], y[drawn]) <= 0.05
        print(f"{before.name:24} power at {doses[1]:.0%} with {FEW} prompts: {found / DRAWS:.2f}")


if __name__ == "__main__":
    main()
