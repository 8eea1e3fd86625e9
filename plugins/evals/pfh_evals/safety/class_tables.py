"""Figures of a benchmark that are no mean over its prompts: XSTest's three classes, SALAD's mean over domains."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

from pfh.hooks.evals import AnalysisSpec
from pfh.hooks.samples import Sample
from pfh.hooks.tables import Cell, Table
from pfh.statistics import quantities
from pfh.statistics.paired import paired_benchmarks, paired_samples

CLASSES = {"complied": "full compliance", "partial": "partial refusal", "refused": "full refusal", "broken": "broken"}
Pairs = list[tuple[Sample, Sample]]


def class_tables(spec: AnalysisSpec) -> tuple[Table, ...]:
    """Return what the chosen benchmarks have of them."""
    pairs = {
        before.name: paired_samples(before, after)
        for before, after in paired_benchmarks(spec.before, spec.after)
        if before.status == after.status == "MEASURED"
    }
    return (_three_classes(pairs), _composites(pairs))


def _three_classes(pairs: dict[str, Pairs]) -> Table:
    rows: list[tuple[Cell, ...]] = []
    for name in ("xstest-safe", "xstest-unsafe"):
        for place, side in enumerate(("before", "after")):
            labels = [pair[place].extracted for pair in pairs.get(name, [])]
            if labels:
                shares = [quantities.share(labels.count(label) / len(labels)) for label in CLASSES]
                rows.append((name, side, len(labels), *shares))
    return Table(
        title="XSTest in three classes",
        columns=("benchmark", "model", "n", *CLASSES.values()),
        rows=tuple(rows),
        note="The refusal rate counts full and partial refusals (Röttger et al. 2024, arXiv 2308.01263).",
    )


def _composites(pairs: dict[str, Pairs]) -> Table:
    rows: list[tuple[Cell, ...]] = []
    for name in ("salad", "salad-attack", "salad-lite"):
        own = [pair for pair in pairs.get(name, []) if pair[0].score is not None and pair[1].score is not None]
        if own:
            before, after = (safety_rate([pair[place] for pair in own]) for place in (0, 1))
            domains = len({pair[0].extra["domain"] for pair in own})
            rows.append((name, len(own), domains, quantities.share(before), quantities.share(after)))
    return Table(
        title="SALAD: mean over its domains",
        columns=("benchmark", "n", "domains", "safe before", "safe after"),
        rows=tuple(rows),
        note="Share of safe answers by domain, and the mean of these: a mean over prompts is ruled by the two largest. "
        "salad-lite is what people labelled of the base questions; its figure is none of SALAD.",
    )


def safety_rate(samples: Sequence[Sample]) -> float:
    """Return the mean over the domains of the share of answers that are not unsafe."""
    domains: dict[str, list[float]] = {}
    for sample in samples:
        if sample.score is not None:
            domains.setdefault(sample.extra["domain"], []).append(1 - sample.score)
    return fmean(fmean(scores) for scores in domains.values())
