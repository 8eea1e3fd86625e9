"""What the family adds to the report: in which direction the answers miss the form."""

from __future__ import annotations

from collections.abc import Sequence

from pfh.hooks.evals import Analysis, AnalysisSpec
from pfh.hooks.samples import Sample
from pfh.hooks.tables import Cell, Table


def describe_misses(spec: AnalysisSpec) -> Analysis:
    """Count answers that are too short, too long or not in the form at all, over the samples that both models have."""
    after = {benchmark.name: benchmark.samples for benchmark in spec.after.benchmarks}
    verdicts = {comparison.benchmark: comparison.verdict for comparison in spec.comparisons}
    rows: list[tuple[Cell, ...]] = []
    findings = []
    for benchmark in spec.before.benchmarks:
        earlier, later = _paired(benchmark.samples, after.get(benchmark.name, ()))
        if benchmark.metric != "adherence" or not earlier:
            continue
        old, new = _misses(earlier), _misses(later)
        rows.append((benchmark.name, len(earlier), *(cell for pair in zip(old, new, strict=True) for cell in pair)))
        if verdicts[benchmark.name] == "worse":
            growth = {name: new[place] - old[place] for place, name in enumerate(("short", "long", "out of form"))}
            worst = max(growth, key=lambda name: growth[name])
            findings.append(
                f"{benchmark.name}: {growth[worst]} more of {len(earlier)} answers are "
                f"{'out of form' if worst == 'out of form' else f'too {worst}'} after training."
            )
    if not rows:
        return Analysis()
    table = Table(
        title="How answers miss the form",
        columns=(
            "benchmark",
            "answers",
            "too short before",
            "too short after",
            "too long before",
            "too long after",
            "out of form before",
            "out of form after",
        ),
        rows=tuple(rows),
        note="Short and long are in words, or in items of the list; out of form is an answer that is no list at all.",
    )
    return Analysis(tables=(table,), findings=tuple(findings))


def _paired(before: Sequence[Sample], after: Sequence[Sample]) -> tuple[list[Sample], list[Sample]]:
    later = {sample.id: sample for sample in after}
    kept = [sample for sample in before if sample.id in later]
    return kept, [later[sample.id] for sample in kept]


def _misses(samples: Sequence[Sample]) -> tuple[int, int, int]:
    """Return how many are too short, too long, and out of form."""
    counts = [(sample.extra["counted"], sample.extra["asked"]) for sample in samples]
    short = sum(counted is not None and counted < asked for counted, asked in counts)
    long = sum(counted is not None and counted > asked for counted, asked in counts)
    return short, long, sum(counted is None for counted, _ in counts)
