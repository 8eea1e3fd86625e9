"""Forgetting split in two: documents that lost the answer, and documents that lost only the form a task wants it in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from pfh.hooks.evaluation import Benchmark, Evaluation
from pfh.hooks.samples import Sample
from pfh.hooks.tables import Table
from pfh.statistics.paired import paired_samples


@dataclass(frozen=True, kw_only=True)
class LostForm:
    """One benchmark with free answers, before and after."""

    benchmark: str
    documents: int
    strict: tuple[float, float]
    """Mean of lm-eval's own score, before and after."""
    lenient: tuple[float, float]
    """Mean where the answer is looked for in other forms too."""
    lost: int
    """Right before by lm-eval's own score, and wrong after."""
    form_only: int
    """Of the lost ones, still right in another form."""


def lost_forms(before: Evaluation, after: Evaluation, names: Sequence[str]) -> tuple[LostForm, ...]:
    """Return the benchmarks of `names` whose documents were read in both ways, before and after."""
    others = {benchmark.name: benchmark for benchmark in after.benchmarks}
    found = (
        _lost_form(benchmark, others[benchmark.name])
        for benchmark in before.benchmarks
        if benchmark.name in names and benchmark.name in others
    )
    return tuple(each for each in found if each is not None)


def form_table(forms: Sequence[LostForm]) -> Table:
    """Return the table of what was lost of the answers and what of the form."""
    return Table(
        title="Lost the answer, or lost the form",
        columns=(
            "benchmark",
            "documents",
            "score before",
            "after",
            "in any form before",
            "after",
            "lost",
            "lost the answer",
            "lost the form",
        ),
        rows=tuple(
            (
                each.benchmark,
                each.documents,
                *(round(score, 4) for score in (*each.strict, *each.lenient)),
                each.lost,
                each.lost - each.form_only,
                each.form_only,
            )
            for each in forms
        ),
        note="The score is lm-eval's, as it is. In any form: the task's own scorer, given the last box, what stands "
        'behind "the answer is" or ####, the last number or the option\'s letter. A document that was right before '
        "lost only the form where its answer is still right so.",
    )


def form_findings(forms: Sequence[LostForm]) -> list[str]:
    """Say where answers that count as lost are still there."""
    return [
        f"Of the {each.lost} documents that {each.benchmark} lost, {each.form_only} are still answered right in "
        "another form: the form was lost there, and not the answer."
        for each in forms
        if each.form_only
    ]


def _lost_form(before: Benchmark, after: Benchmark) -> LostForm | None:
    pairs = [pair for pair in paired_samples(before, after) if all(_is_read(sample) for sample in pair)]
    if not pairs:
        return None
    lost = [now for was, now in pairs if was.score == 1 and now.score == 0]
    return LostForm(
        benchmark=before.name,
        documents=len(pairs),
        strict=(fmean(was.score or 0.0 for was, _ in pairs), fmean(now.score or 0.0 for _, now in pairs)),
        lenient=(fmean(_lenient(was) for was, _ in pairs), fmean(_lenient(now) for _, now in pairs)),
        lost=len(lost),
        form_only=sum(_lenient(now) == 1 for now in lost),
    )


def _is_read(sample: Sample) -> bool:
    extra: Mapping[str, object] = sample.extra
    return sample.score is not None and isinstance(extra.get("lenient"), (int, float))


def _lenient(sample: Sample) -> float:
    return float(sample.extra["lenient"])
