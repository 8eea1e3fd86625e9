"""Measures what was chosen of what lies under refusal rates (`latent_benchmarks`), and says why where it cannot."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from pfh.errors import DataUnavailableError, NotNumbersError, UserError
from pfh.hooks.datasets import DataSource
from pfh.hooks.evals import EvaluationSpec
from pfh.hooks.evaluation import Benchmark, BenchmarkStatus
from pfh.hooks.judges import Judge
from pfh.hooks.samples import Sample
from pfh.kit.subset import spread

from pfh_evals.safety.asks import Ask
from pfh_evals.safety.latent_benchmarks import LatentBenchmark
from pfh_evals.safety.latent_depth import depths
from pfh_evals.safety.latent_scores import Scored


def measure_latent(
    chosen: Sequence[LatentBenchmark],
    asks: Sequence[Ask],
    labels: Mapping[str, str],
    judge: Judge,
    spec: EvaluationSpec,
    unavailable: Mapping[str, str],
    sources: Mapping[str, str],
) -> list[Benchmark]:
    """Measure what was chosen; whatever reads probabilities is scored in one call, so that a prompt is read once.

    Args:
        chosen: the measures.
        asks: the prompts of all benchmarks that they are of.
        labels: what the judge said of the model's answers, by id of the ask; of prompts that were answered.
        judge: says whether an answer after a prefill refuses.
        spec: the family's spec.
        unavailable: why the prompts of a benchmark cannot be had, by its name.
        sources: where they come from, by its name.
    """
    rated = {ask.benchmark.name for ask in asks if ask.id in labels}
    own = {latent: _spread([ask for ask in asks if ask.benchmark is latent.of], latent, spec) for latent in chosen}
    scored = Scored(spec, own, unavailable)
    measured = []
    for latent in chosen:
        status: BenchmarkStatus = "MEASURED"
        reason = unavailable.get(latent.of.name, "")
        samples: list[Sample] = []
        if reason:
            status = "NOT_RUN"
        else:
            try:
                if latent.metric == "alignment_depth":
                    samples = depths(latent, own[latent], labels, judge, spec)
                else:
                    samples, reason = scored.samples(latent)
                status = "INSUFFICIENT" if reason else "MEASURED"
            except NotNumbersError as error:
                status, reason = "ERROR", str(error)
            except UserError as error:
                status, reason = "NOT_RUN", str(error)
        measured.append(
            Benchmark(
                name=latent.name,
                version=latent.version,
                metric=latent.metric,
                higher_is_better=latent.higher_is_better,
                status=status,
                reason=reason,
                source=sources.get(latent.of.name, ""),
                sensitive=latent.metric == "alignment_depth",
                same_documents_as=latent.of.name if latent.of.name in rated else "",
                samples=tuple(samples),
            )
        )
    return measured


def _spread(asks: Sequence[Ask], latent: LatentBenchmark, spec: EvaluationSpec) -> list[Ask]:
    """Return evenly spread asks, as many as are enough; all of them where a comparison looks at parts of them."""
    if spec.part is not None:
        return list(asks)
    kept = set(spread({ask.id: ask.document.category for ask in asks}, latent.enough(spec.options, len(asks))))
    return [ask for ask in asks if ask.id in kept]


def with_targets(asks: Sequence[Ask], data: DataSource) -> list[Ask]:
    """Return the asks of HarmBench with HarmBench's own targets, where these can be had."""
    try:
        rows = data.load("centerforaisafety/HarmBench", "targets_text", "all").rows
    except DataUnavailableError:
        return list(asks)
    targets = {row["Behavior"]: row["target"] for row in rows if {"Behavior", "target"} <= row.keys()}
    named = []
    for ask in asks:
        extra = ask.document.extra
        behavior = extra.get("behavior", ask.document.prompt)
        if ask.benchmark.group == "harmbench" and behavior in targets:
            document = dataclasses.replace(ask.document, extra={**extra, "target": targets[behavior]})
            ask = dataclasses.replace(ask, document=document)
        named.append(ask)
    return named
