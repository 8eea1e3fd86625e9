"""What the analysis and the long tables read off two evaluations: the same prompts and questions, before and after."""

from __future__ import annotations

from collections.abc import Sequence

from pfh.hooks.evals import AnalysisSpec
from pfh.hooks.evaluation import Benchmark
from pfh.hooks.samples import Sample
from pfh.statistics.paired import paired_samples

from pfh_evals.policy import calibration
from pfh_evals.policy.completions import stored_completions
from pfh_evals.policy.measures import ACCURACY, BRIER, DIVERGENCE

SamplePairs = list[tuple[Sample, Sample]]


def pairs_of(spec: AnalysisSpec, name: str) -> SamplePairs:
    """Return the samples of a benchmark that was measured both times in the same way."""
    found: list[Benchmark | None] = [
        next((row for row in side.benchmarks if row.name == name), None) for side in (spec.before, spec.after)
    ]
    before, after = found
    if before is None or after is None or not before.status == after.status == "MEASURED":
        return []
    return paired_samples(before, after) if before.version == after.version else []


def completions_of(spec: AnalysisSpec) -> list[tuple[str, list[str], list[str]]]:
    """Return (category, completions before, after) of every prompt that both models answered."""
    later = {sample.extra["prompt_id"]: sample for sample in stored_completions(spec.after)}
    return [
        (sample.category, sample.extra["completions"], later[sample.extra["prompt_id"]].extra["completions"])
        for sample in stored_completions(spec.before)
        if sample.extra["prompt_id"] in later
    ]


def questions_of(spec: AnalysisSpec) -> calibration.QuestionPairs:
    """Return the questions that calibration is read off: those of the family forgetting, else the family's own."""
    if "forgetting" in spec.others and (found := calibration.of_forgetting(*spec.others["forgetting"])):
        return found
    return calibration.own(pairs_of(spec, ACCURACY) or pairs_of(spec, BRIER))


def divergence_samples(spec: AnalysisSpec) -> Sequence[Sample]:
    """Return the completions that both models went along; none where the divergence was not measured."""
    rows = [row for row in spec.after.benchmarks if row.name == DIVERGENCE and row.status == "MEASURED"]
    return [sample for row in rows for sample in row.samples if "writer" in sample.extra]


def is_reference(spec: AnalysisSpec) -> bool:
    """Say whether the model after was measured against the model before."""
    return spec.after.reference == spec.before.model
