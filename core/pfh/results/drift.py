"""One benchmark family after another over the versions of a model, each against an anchor and the version before it.

The anchor decides: ten steps of a point, each inside a margin of two, are ten points.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from pfh.hooks.comparison import ChangeVerdict, Comparison
from pfh.hooks.evaluation import Benchmark, BenchmarkStatus, Evaluation
from pfh.hooks.samples import Sample
from pfh.kit.grid import PLACES, placed
from pfh.statistics.families import adjust_run
from pfh.statistics.paired import compare_evaluations

OTHER = ("", "elsewhere")
"""Where benchmarks stand that have no place in the grid."""


@dataclass(frozen=True, kw_only=True)
class Version:
    """One version of a model, as it was measured."""

    name: str
    evaluations: Mapping[str, Evaluation]


@dataclass(frozen=True, kw_only=True)
class DriftCell:
    """One benchmark of one version."""

    status: BenchmarkStatus
    reason: str = ""
    """Why there is no figure."""
    n: int = 0
    """Items that the anchor was measured by too."""
    score: float | None = None
    change: float | None = None
    """Against the anchor."""
    low: float | None = None
    high: float | None = None
    verdict: ChangeVerdict = "not measured"
    step: float | None = None
    """Change against the version before."""
    step_verdict: ChangeVerdict = "not measured"


@dataclass(frozen=True, kw_only=True)
class DriftRow:
    """One benchmark over all versions."""

    group: str
    part: str
    family: str
    benchmark: str
    metric: str
    higher_is_better: bool | None
    binary: bool
    cells: tuple[DriftCell, ...]
    """One a version, that of the anchor among them."""


@dataclass(frozen=True, kw_only=True)
class Flip:
    """An item whose score changed from one version to the next."""

    family: str
    benchmark: str
    item: str
    prompt: str
    """Empty where the benchmark's prompts are not shown."""
    version: str
    """The one after."""
    before: float
    after: float
    worse: bool | None
    """None where the metric has no good direction."""


@dataclass(frozen=True, kw_only=True)
class Broken:
    """An item that was as good as at the anchor until one version, and worse in that and in every later one."""

    family: str
    benchmark: str
    item: str
    prompt: str
    version: str
    """The version, stage or adapter at which it broke."""
    good: float
    bad: float
    """Its score in the last version."""


@dataclass(frozen=True, kw_only=True)
class Drift:
    """What became of a model over its versions."""

    versions: tuple[str, ...]
    anchor: int
    rows: tuple[DriftRow, ...]
    flips: tuple[Flip, ...]
    broken: tuple[Broken, ...]
    sealed: float
    """Share of the items that was left out, for the gate alone."""

    def broke_at(self) -> dict[str, int]:
        """Return how many items broke at each version and stayed broken."""
        counts = dict.fromkeys(self.versions, 0)
        for each in self.broken:
            counts[each.version] += 1
        return counts


def is_sealed(item: str, share: float) -> bool:
    """Say whether an item is of the fixed share that only a gate looks at."""
    digest = hashlib.sha256(f"sealed {item}".encode()).digest()
    return int.from_bytes(digest[:8], "big") < share * 2**64


def part_of(evaluation: Evaluation, share: float, *, sealed: bool) -> Evaluation:
    """Return the evaluation with its sealed items alone, or without them."""
    kept = tuple(
        dataclasses.replace(
            row, samples=tuple(each for each in row.samples if is_sealed(each.cluster or each.id, share) == sealed)
        )
        for row in evaluation.benchmarks
    )
    return dataclasses.replace(evaluation, benchmarks=kept)


def drift(versions: Sequence[Version], *, anchor: int = 0, sealed: float = 0.0) -> Drift:
    """Compare every version with the anchor and with the version before it, on the items that both have.

    Args:
        versions: in their order, two at least.
        anchor: place of the version that all others are compared with.
        sealed: share of the items that is left out.
    """
    opened = [_without_sealed(each, sealed) for each in versions] if sealed else list(versions)
    to_anchor = [_compared(opened[anchor], each) for each in opened]
    to_last = [_compared(opened[place - 1], each) if place else {} for place, each in enumerate(opened)]
    names = [(family, row.name) for family, found in opened[anchor].evaluations.items() for row in found.benchmarks]
    names += [
        (family, row.name)
        for each in opened
        for family, found in each.evaluations.items()
        for row in found.benchmarks
        if (family, row.name) not in names
    ]
    rows = []
    for group, part, family, name in _ordered(dict.fromkeys(names)):
        about = _benchmark(opened, family, name)
        cells = tuple(
            _cell(opened[place], family, name, each.get((family, name)), last.get((family, name)), place == anchor)
            for place, (each, last) in enumerate(zip(to_anchor, to_last, strict=True))
        )
        rows.append(
            DriftRow(
                group=group,
                part=part,
                family=family,
                benchmark=name,
                metric=about.metric,
                higher_is_better=about.higher_is_better,
                binary=all(sample.score in (0, 1, None) for sample in about.samples),
                cells=cells,
            )
        )
    return Drift(
        versions=tuple(each.name for each in versions),
        anchor=anchor,
        rows=tuple(rows),
        flips=tuple(_flips(opened)),
        broken=tuple(_broken(opened[anchor:])),
        sealed=sealed,
    )


def _without_sealed(version: Version, share: float) -> Version:
    kept = {name: part_of(found, share, sealed=False) for name, found in version.evaluations.items()}
    return dataclasses.replace(version, evaluations=kept)


def _compared(before: Version, after: Version) -> dict[tuple[str, str], Comparison]:
    shared = [name for name in before.evaluations if name in after.evaluations]
    rows = adjust_run({name: compare_evaluations(before.evaluations[name], after.evaluations[name]) for name in shared})
    return {(family, row.benchmark): row for family, (found, _) in rows.items() for row in found}


def _ordered(names: Mapping[tuple[str, str], None]) -> Iterator[tuple[str, str, str, str]]:
    """Yield the benchmarks in the order of the grid, those without a place in it last."""
    seen = set()
    for (group, part, family, _), found in zip(PLACES, placed(names), strict=True):
        for name in found:
            seen.add((family, name))
            yield group, part, family, name
    for family, name in names:
        if (family, name) not in seen:
            yield *OTHER, family, name


def _benchmark(versions: Sequence[Version], family: str, name: str) -> Benchmark:
    return next(
        row
        for each in versions
        if family in each.evaluations
        for row in each.evaluations[family].benchmarks
        if row.name == name
    )


def _cell(
    version: Version, family: str, name: str, row: Comparison | None, last: Comparison | None, is_anchor: bool
) -> DriftCell:
    if family not in version.evaluations:
        return DriftCell(status="NOT_RUN", reason=f"{family} was not measured")
    if row is None:
        return DriftCell(status="NOT_RUN", reason="the anchor was not measured by it")
    if all(each.name != name for each in version.evaluations[family].benchmarks):
        return DriftCell(status="NOT_RUN", reason="this version was not measured by it")
    if row.status != "MEASURED" or row.before is None:
        return DriftCell(status=row.status, reason=row.reason)
    step = last if last is not None and last.status == "MEASURED" else None
    return DriftCell(
        status="MEASURED",
        n=row.n,
        score=row.after,
        change=None if is_anchor else row.delta,
        low=None if is_anchor else row.ci_low,
        high=None if is_anchor else row.ci_high,
        verdict="not measured" if is_anchor else row.verdict,
        step=None if step is None else step.delta,
        step_verdict="not measured" if step is None else step.verdict,
    )


def _scored(versions: Sequence[Version]) -> Iterator[tuple[str, Benchmark, list[dict[str, Sample]]]]:
    """Yield each benchmark of the first version with the scored samples of every version, by id.

    Where a version was not measured by it, or by another version of the benchmark, it has none.
    """
    for family, found in versions[0].evaluations.items():
        for row in found.benchmarks:
            if row.status == "MEASURED":
                yield family, row, [_samples(each, family, row) for each in versions]


def _samples(version: Version, family: str, asked: Benchmark) -> dict[str, Sample]:
    found = version.evaluations.get(family)
    same = [
        row
        for row in (found.benchmarks if found else ())
        if (row.name, row.version, row.metric, row.judge) == (asked.name, asked.version, asked.metric, asked.judge)
        and row.status == "MEASURED"
    ]
    return {sample.id: sample for row in same for sample in row.samples if sample.score is not None}


def _flips(versions: Sequence[Version]) -> Iterator[Flip]:
    for place, after in enumerate(versions[1:], start=1):
        for family, row, (old, new) in _scored([versions[place - 1], after]):
            for key, sample in old.items():
                later = new.get(key)
                if later is None or sample.score is None or later.score is None or sample.score == later.score:
                    continue
                better = row.higher_is_better
                yield Flip(
                    family=family,
                    benchmark=row.name,
                    item=key,
                    prompt=_prompt(row, sample),
                    version=after.name,
                    before=sample.score,
                    after=later.score,
                    worse=None if better is None else (later.score < sample.score) == better,
                )


def _broken(versions: Sequence[Version]) -> Iterator[Broken]:
    """Yield the items of the anchor that broke and stayed broken, by scores of 0 and 1."""
    for family, row, by_version in _scored(versions):
        if row.higher_is_better is None or any(sample.score not in (0, 1) for sample in by_version[0].values()):
            continue
        good = 1.0 if row.higher_is_better else 0.0
        for key, sample in by_version[0].items():
            scores = [found[key].score if key in found else None for found in by_version]
            known = [(place, score) for place, score in enumerate(scores) if score is not None]
            if sample.score != good or known[-1][1] == good:
                continue
            first = max(place for place, score in known if score == good)
            place = next(place for place, _ in known if place > first)
            yield Broken(
                family=family,
                benchmark=row.name,
                item=key,
                prompt=_prompt(row, sample),
                version=versions[place].name,
                good=good,
                bad=1 - good,
            )


def _prompt(row: Benchmark, sample: Sample) -> str:
    return "" if row.sensitive else str(sample.extra.get("user_prompt") or sample.prompt)
