"""What an eval measures: benchmarks, each with a status and its samples."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from pfh.hooks.samples import Sample

if TYPE_CHECKING:
    from numpy.typing import NDArray


BenchmarkStatus = Literal["MEASURED", "NOT_RUN", "ERROR", "INSUFFICIENT"]


@dataclass(frozen=True, kw_only=True)
class Benchmark:
    """One benchmark put to one model."""

    name: str
    version: str
    """Changes whenever a prompt, a target or a score may."""
    identity: str = ""
    """What is measured, whatever else is measured beside it: set where the name depends on that, as where a task has
    one filter in one log and two in another."""
    metric: str
    """Name of what a sample's score is, such as "refusal_rate" or "not_refused_rate"."""
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
    out_of: int | None = None
    """Documents that there were, where a comparison stopped before it had looked at all of them."""
    same_documents_as: str = ""
    """Name of the benchmark whose documents another metric is taken of here: tests count the two as one."""
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
