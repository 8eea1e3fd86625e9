"""What could be recovered of a finished run without training: variants of its model, one chosen, and their front."""

from __future__ import annotations

import dataclasses
import hashlib
import math
from collections.abc import Iterable, Mapping, Sequence

from pydantic import BaseModel, ConfigDict

from pfh.hooks.comparison import Comparison
from pfh.hooks.evaluation import Evaluation
from pfh.hooks.samples import Sample
from pfh.statistics.paired import compare_evaluations


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class FamilyPoint(_Record):
    """What a variant changed in one family against the start, towards the good: a share, above 0 is better."""

    family: str
    """Name of the family."""
    change: float
    """Mean over its benchmarks that score 0 or 1 and have a good direction, each counted once."""
    low: float
    """Lower end of its 95% interval, the benchmarks' own intervals taken as independent."""
    high: float
    """Upper end."""
    n: int
    """Samples."""


class VariantRecord(_Record):
    """One model between the start and the trained one."""

    name: str
    """Such as "wise-ft 0.5"; "start" and "trained" are the two ends."""
    how: str
    """How it was made."""
    strength: float
    """Its one setting: α of wise-ft, the scale of another merge."""
    path: str
    """Where its weights, or its adapter, lie on the machine that ran."""
    reported: tuple[FamilyPoint, ...]
    """On the samples that nothing was chosen by."""
    validation: tuple[FamilyPoint, ...]
    """On the held-out share that the choice is made on."""
    on_front: bool = False
    """No other variant is at least as good in every family and better in one, by the reported means."""


class RecoveryRecord(_Record):
    """The variants of a run's model that cost no training, and the one that was chosen."""

    gained: str
    """The family whose gain is to be kept; empty where it was not measured."""
    tolerance: float
    """Loss of any other family, a share, up to which a variant may be chosen."""
    share: float
    """Share of the samples that the choice is made on."""
    chosen: str
    """Name of the variant."""
    variants: tuple[VariantRecord, ...]
    """The start first, the trained model last."""
    sentences: tuple[str, ...]
    """What was found, the most important first."""


def part_of(evaluation: Evaluation, share: float, *, held_out: bool) -> Evaluation:
    """Return the evaluation with the held-out share of its samples, or with the others; clusters stay together."""
    return dataclasses.replace(
        evaluation,
        benchmarks=tuple(
            dataclasses.replace(
                benchmark,
                samples=tuple(sample for sample in benchmark.samples if _is_held_out(sample, share) == held_out),
            )
            for benchmark in evaluation.benchmarks
        ),
    )


def _is_held_out(sample: Sample, share: float) -> bool:
    digest = hashlib.sha256(f"recover/{sample.cluster or sample.id}".encode()).digest()
    return int.from_bytes(digest[:4]) < share * 2**32


def family_points(pairs: Mapping[str, tuple[Evaluation, Evaluation]]) -> tuple[FamilyPoint, ...]:
    """Return the change of each family from before to after; one without a benchmark that counts is left out."""
    found = (_point(family, compare_evaluations(*pair)) for family, pair in pairs.items())
    return tuple(point for point in found if point is not None)


def _point(family: str, rows: Iterable[Comparison]) -> FamilyPoint | None:
    known = [
        row
        for row in rows
        if row.delta is not None
        and row.n10 is not None
        and row.higher_is_better is not None
        and row.ci_low is not None
        and row.ci_high is not None
        and not row.same_documents_as
    ]
    if not known:
        return None
    turned = []
    for row in known:
        delta, low, high = (value or 0.0 for value in (row.delta, row.ci_low, row.ci_high))
        turned.append((delta, low, high) if row.higher_is_better else (-delta, -high, -low))
    mean = math.fsum(delta for delta, _, _ in turned) / len(turned)
    below = math.sqrt(math.fsum((delta - low) ** 2 for delta, low, _ in turned)) / len(turned)
    above = math.sqrt(math.fsum((high - delta) ** 2 for delta, _, high in turned)) / len(turned)
    return FamilyPoint(family=family, change=mean, low=mean - below, high=mean + above, n=sum(row.n for row in known))


def choose(variants: Sequence[VariantRecord], gained: str, tolerance: float) -> VariantRecord:
    """Return the variant to take, by the held-out share alone.

    Of those that lose at most `tolerance` in every other family, as the start always does, it is the one that gains
    most of `gained` (or, where that was not measured, the last of them, nearest to the trained model); of equal gains
    the one that loses least.
    """
    losses = {each.name: _greatest_loss(each, gained) for each in variants}
    within = [each for each in variants if losses[each.name] <= tolerance + 1e-12]
    if not gained:
        return within[-1]
    return max(within, key=lambda each: (_change(each.validation, gained), -losses[each.name]))


def _greatest_loss(variant: VariantRecord, gained: str) -> float:
    return max((-point.change for point in variant.validation if point.family != gained), default=0.0)


def _change(points: Sequence[FamilyPoint], family: str) -> float:
    return next((point.change for point in points if point.family == family), -math.inf)


def with_front(variants: Sequence[VariantRecord]) -> tuple[VariantRecord, ...]:
    """Return the variants, those marked that no other is at least as good as in all families and better in one."""
    values = [tuple(point.change for point in each.reported) for each in variants]
    return tuple(
        each.model_copy(update={"on_front": not any(_beats(other, own) for other in values)})
        for each, own in zip(variants, values, strict=True)
    )


def _beats(one: Sequence[float], other: Sequence[float]) -> bool:
    pairs = list(zip(one, other, strict=True))
    return all(a >= b for a, b in pairs) and any(a > b for a, b in pairs)


def sentences(record: RecoveryRecord) -> tuple[str, ...]:
    """Return what was found in whole sentences."""
    named = {each.name: each for each in record.variants}
    chosen, trained = named[record.chosen], named["trained"]
    inner = len(record.variants) - 2
    held = sum(point.n for point in chosen.validation)
    rest = sum(point.n for point in chosen.reported)
    aim = f"the most of {record.gained}" if record.gained else "the most of the training"
    why = f"it keeps {aim} with no other family losing more than {100 * record.tolerance:g} points there"
    kept = {"start": "the start, with nothing of the training", "trained": "the trained model as it is"}
    first = (
        f"Of {inner} variants between the start and the trained model, made without training, "
        f"{kept.get(chosen.name, chosen.name)} was chosen on a held-out share of {held:,} samples: {why}."
    )
    told = f"On the {rest:,} other samples it stands against the start at {listed(chosen.reported)}"
    if chosen.name != "trained":
        told += f"; the trained model at {listed(trained.reported)}"
    apart = [
        point.family
        for point, other in zip(chosen.reported, trained.reported, strict=True)
        if point.low > other.high or other.low > point.high
    ]
    third = (
        f"The intervals of the two do not touch in {', '.join(apart)}."
        if apart
        else "In no family the intervals of the two lie apart: more samples are needed to tell them from each other."
    )
    return (first, f"{told}.", *([third] if chosen.name != "trained" else []))


def listed(points: Sequence[FamilyPoint]) -> str:
    """Return changes with their intervals, in points."""
    return ", ".join(
        f"{point.family} {100 * point.change:+.1f} [{100 * point.low:+.1f}, {100 * point.high:+.1f}]"
        for point in points
    )
