"""What the family says beyond the paired figures: how often an answer was missing or cut off, and what was lost so."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

from pfh.hooks.comparison import FOUND_CHANGES, Comparison
from pfh.hooks.evals import Analysis, AnalysisSpec
from pfh.hooks.evaluation import Benchmark
from pfh.hooks.samples import Sample
from pfh.hooks.tables import Cell, Table
from pfh.statistics import formatting as figures
from pfh.statistics import quantities
from pfh.statistics.paired import CONFIDENCE, paired_samples

SamplePairs = Sequence[tuple[Sample, Sample]]
REWARD_ROSE = 0.05
"""Difference of the mean rewards in the last and the first quarter of a training from which it counts as a rise."""


def analyze_task(spec: AnalysisSpec) -> Analysis:
    """Return the tables and findings of the family."""
    measured = {row.benchmark: row for row in spec.comparisons if row.status == "MEASURED"}
    after = {benchmark.name: benchmark for benchmark in spec.after.benchmarks}
    pairs = {
        benchmark.name: paired_samples(benchmark, after[benchmark.name])
        for benchmark in spec.before.benchmarks
        if benchmark.name in measured
    }
    if not pairs:
        return Analysis()
    written = [name for name, both in pairs.items() if any("tries" in sample.extra for pair in both for sample in pair)]
    sets = _held_out_sets([benchmark for benchmark in spec.before.benchmarks if benchmark.name in written])
    tables = [_answers_table({holdout: pairs[name] for holdout, name in sets.items()})] if sets else []
    if any("f1" in sample.extra for name in sets.values() for pair in pairs[name] for sample in pair):
        tables.append(_f1_table({holdout: pairs[name] for holdout, name in sets.items()}))
    findings = [_finding(measured[name], pairs[name]) for name in pairs]
    limits = [tell(holdout, pairs[name]) for holdout, name in sets.items() for tell in (_too_long, _cut_thoughts)]
    return Analysis(tables=tuple(tables), findings=(*_signs_of_hacking(spec), *findings, *filter(None, limits)))


def _signs_of_hacking(spec: AnalysisSpec) -> tuple[str, ...]:
    """Return a warning where the reward rose in training while the held-out score fell beyond noise."""
    rewards = [row["reward"] for row in spec.curves if "reward" in row]
    part = len(rewards) // 4
    if part == 0:
        return ()
    first, last = fmean(rewards[:part]), fmean(rewards[-part:])
    fallen = [row for row in spec.comparisons if row.verdict == "worse"]
    if last - first < REWARD_ROSE or not fallen:
        return ()
    sets = ", ".join(f"{row.benchmark} (from {row.before:.2f} to {row.after:.2f})" for row in fallen)
    return (
        f"Warning: in training the mean reward rose from {first:.2f} to {last:.2f}, while the {fallen[0].metric} on "
        f"held-out problems fell: {sets}. The model may have learned to earn the reward without solving the task.",
    )


def _held_out_sets(benchmarks: Sequence[Benchmark]) -> dict[str, str]:
    """Return held-out set to the first benchmark of it: those of one set share their completions."""
    sets: dict[str, str] = {}
    for benchmark in benchmarks:
        sets.setdefault(benchmark.name.partition("-pass@")[0], benchmark.name)
    return sets


def _answers_table(sets: dict[str, SamplePairs]) -> Table:
    return Table(
        title="Completions without an answer",
        columns=(
            "held-out set",
            "completions",
            "no answer before",
            "after",
            "right, not in the form before",
            "after",
            "cut off before",
            "after",
        ),
        rows=tuple((name, *_answers_row(pairs)) for name, pairs in sets.items()),
        note="Shares of all completions. No answer: the verifier found none in it, so it is wrong whatever the model "
        "knew. Right, not in the form: it counts as right here, as in the graders of published benchmarks, and would "
        "earn no reward in training. Cut off: it reached the length limit, or ended inside a thought.",
    )


def _answers_row(pairs: SamplePairs) -> tuple[Cell, ...]:
    before, after = [x for x, _ in pairs], [y for _, y in pairs]
    shares = [
        _share(side, count) for count in ("without_answer", "out_of_form", "truncated") for side in (before, after)
    ]
    return (sum(sample.extra["tries"] for sample in before), *shares)


def _share(samples: Sequence[Sample], count: str) -> Cell:
    tries = sum(sample.extra["tries"] for sample in samples)
    return quantities.share(sum(sample.extra.get(count, 0) for sample in samples) / tries)


def _too_long(holdout: str, pairs: SamplePairs) -> str:
    """Warn of right answers that the length limit cuts off; nothing where all of them fit."""
    cut = sum("answer_too_long" in sample.extra for sample, _ in pairs)
    if not cut:
        return ""
    return (
        f"Warning: the right answers to {cut} of the {len(pairs)} problems of {holdout} are longer than the length "
        "limit, so that no model can be right there: raise target.max_new_tokens."
    )


def _cut_thoughts(holdout: str, pairs: SamplePairs) -> str:
    """Warn of completions that the length limit cut while the model thought; nothing where there are none."""
    tries = sum(sample.extra["tries"] for sample, _ in pairs)
    before, after = (
        sum(sample.extra.get("cut_while_thinking", 0) for sample in side) for side in zip(*pairs, strict=True)
    )
    if not before and not after:
        return ""
    return (
        f"Warning: of {tries} completions of {holdout}, {before} before and {after} after were cut while the model "
        "still thought. They count as cut off, not as answers that were wrong, and earn nothing: raise "
        "target.max_new_tokens."
    )


def _f1_table(sets: dict[str, SamplePairs]) -> Table:
    return Table(
        title="Token F1",
        columns=("held-out set", "before", "after"),
        rows=tuple((name, _f1([x for x, _ in pairs]), _f1([y for _, y in pairs])) for name, pairs in sets.items()),
        note="Overlap in words with the reference answers, over the completions that have one; it earns no reward.",
    )


def _f1(samples: Sequence[Sample]) -> Cell:
    values = [sample.extra["f1"] for sample in samples if "f1" in sample.extra]
    return round(sum(values) / len(values), 3) if values else None


def _finding(row: Comparison, pairs: SamplePairs) -> str:
    where = f"On the {row.n} problems of {row.benchmark} the {row.metric}"
    if row.delta == 0 and not row.n10:
        return f"{where} stayed at {row.before:.2f}."
    real = f"which is {row.verdict}" if row.verdict in FOUND_CHANGES else row.verdict
    told = (
        f"{where} went from {row.before:.2f} to {row.after:.2f}, {real} ({CONFIDENCE:.0%} interval of the change "
        f"{row.ci_low:+.2f} to {row.ci_high:+.2f}, adjusted p {figures.p_value(row.p_adjusted)})"
    )
    if row.n10 is None:
        return f"{told}."
    unanswered = sum(x.score == 1 and y.score == 0 and y.extra.get("without_answer", 0) > 0 for x, y in pairs)
    formed = f", {unanswered} of them for want of an answer" if unanswered else ""
    return f"{told}: {row.n10} were lost{formed}, and {row.n01} gained."
