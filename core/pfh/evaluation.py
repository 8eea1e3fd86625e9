"""What an eval measures: benchmarks, each with a status and its samples."""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Literal

from pfh.samples import Sample, read_samples, write_samples

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
    samples: tuple[Sample, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """One family's benchmarks, put to one model."""

    family: str
    benchmarks: tuple[Benchmark, ...]


_DESCRIPTION = tuple(field.name for field in fields(Benchmark) if field.name != "samples")


def write_evaluation(folder: Path, evaluation: Evaluation) -> None:
    """Write benchmarks.json (all but the samples) and samples.parquet into `folder`."""
    described = [{name: getattr(benchmark, name) for name in _DESCRIPTION} for benchmark in evaluation.benchmarks]
    (folder / "benchmarks.json").write_text(
        json.dumps({"family": evaluation.family, "benchmarks": described}, indent=1)
    )
    write_samples(folder / "samples.parquet", [s for benchmark in evaluation.benchmarks for s in benchmark.samples])


def read_evaluation(folder: Path) -> Evaluation:
    """Read what `write_evaluation` wrote."""
    samples: dict[str, list[Sample]] = {}
    for sample in read_samples(folder / "samples.parquet"):
        samples.setdefault(sample.benchmark, []).append(sample)
    stored = json.loads((folder / "benchmarks.json").read_text())
    benchmarks = tuple(Benchmark(**row, samples=tuple(samples.get(row["name"], ()))) for row in stored["benchmarks"])
    return Evaluation(family=stored["family"], benchmarks=benchmarks)
