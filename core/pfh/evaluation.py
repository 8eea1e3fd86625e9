"""What an eval measures: benchmarks, each with a status and its samples."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pfh.samples import Sample, read_samples, write_samples

if TYPE_CHECKING:
    from numpy.typing import NDArray

BenchmarkStatus = Literal["MEASURED", "NOT_RUN", "ERROR", "INSUFFICIENT"]


@dataclass(frozen=True, kw_only=True)
class Benchmark:
    """One benchmark put to one model."""

    name: str
    version: str
    """Changes whenever a prompt, a target or a score may."""
    metric: str
    """Name of what a sample's score is, such as "refusal_rate" or "attack_success_rate"."""
    higher_is_better: bool | None
    """None for a metric without a good direction, such as length."""
    status: BenchmarkStatus = "MEASURED"
    reason: str = ""
    """Why a benchmark is not MEASURED, in one line."""
    judge: str = ""
    """The judge whose labels the scores rest on, named with every figure."""
    source: str = ""
    """Where the documents come from: hub id and split, or "built in"."""
    sensitive: bool = False
    """Completions may be harmful: reports fold them until they are asked for."""
    comparative: bool = False
    """Says something of two models only, through the family's tables and plots: no sample of it is scored."""
    samples: tuple[Sample, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """One family's benchmarks, put to one model."""

    family: str
    benchmarks: tuple[Benchmark, ...]
    arrays: Mapping[str, NDArray[Any]] = field(default_factory=dict, compare=False)
    """Numbers that are no samples, by name: what the family's `analyze` needs of this model."""
    model: str = ""
    """Fingerprint of the model; filled in by the core."""
    reference: str = ""
    """Fingerprint of the model that this one was measured against; empty where there was none."""


_DESCRIPTION = tuple(each.name for each in fields(Benchmark) if each.name != "samples")
_ARRAYS = "arrays.safetensors"


def write_evaluation(folder: Path, evaluation: Evaluation) -> None:
    """Write benchmarks.json (all but the samples), samples.parquet and the arrays, if any, into `folder`."""
    described = [{name: getattr(benchmark, name) for name in _DESCRIPTION} for benchmark in evaluation.benchmarks]
    about = {"family": evaluation.family, "model": evaluation.model, "reference": evaluation.reference}
    (folder / "benchmarks.json").write_text(json.dumps({**about, "benchmarks": described}, indent=1))
    write_samples(folder / "samples.parquet", [s for benchmark in evaluation.benchmarks for s in benchmark.samples])
    if evaluation.arrays:
        from numpy import ascontiguousarray
        from safetensors.numpy import save_file

        save_file({name: ascontiguousarray(array) for name, array in evaluation.arrays.items()}, folder / _ARRAYS)


def read_evaluation(folder: Path) -> Evaluation:
    """Read what `write_evaluation` wrote."""
    samples: dict[str, list[Sample]] = {}
    for sample in read_samples(folder / "samples.parquet"):
        samples.setdefault(sample.benchmark, []).append(sample)
    stored = json.loads((folder / "benchmarks.json").read_text())
    benchmarks = tuple(Benchmark(**row, samples=tuple(samples.get(row["name"], ()))) for row in stored["benchmarks"])
    return Evaluation(
        family=stored["family"],
        benchmarks=benchmarks,
        arrays=_read_arrays(folder / _ARRAYS),
        model=stored.get("model", ""),
        reference=stored.get("reference", ""),
    )


def _read_arrays(file: Path) -> dict[str, NDArray[Any]]:
    if not file.exists():
        return {}
    from safetensors.numpy import load_file

    return dict(load_file(file))
