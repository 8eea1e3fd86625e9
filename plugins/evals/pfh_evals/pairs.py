"""The samples that two evaluations of a family have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pfh.hooks.samples import Sample
from pfh.statistics.paired import paired_benchmarks, paired_samples

if TYPE_CHECKING:
    from pfh.hooks.evals import AnalysisSpec

Pairs = list[tuple[Sample, Sample]]


def pairs_of(spec: AnalysisSpec) -> dict[str, Pairs]:
    """Return the samples of each benchmark that was measured before and after in the same way, by name."""
    return {
        before.name: found
        for before, after in paired_benchmarks(spec.before, spec.after)
        if before.status == after.status == "MEASURED"
        and before.version == after.version
        and (found := list(paired_samples(before, after)))
    }
