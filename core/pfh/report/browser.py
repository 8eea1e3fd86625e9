"""The samples as the report's browser reads them: before and after, side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pfh.hooks.comparison import Comparison
from pfh.hooks.evaluation import Benchmark
from pfh.hooks.samples import Sample
from pfh.results.records import RunResults
from pfh.results.verdict import stage_name
from pfh.statistics.paired import paired_samples
from pfh.text import printable

PairedBenchmarks = Mapping[tuple[int, str], Sequence[tuple[Benchmark, Benchmark]]]
"""(Index of the stage, family) to its benchmarks before and after."""
GroupIndex = dict[tuple[int, str, str], int]
"""(Index of the stage, family, benchmark) to the position of its samples in the browser's groups."""


BROWSED = 5000
"""A report holds about so many samples: beyond, it leaves out such as did not change."""


class _Texts:
    """Every text once: prompts and completions before repeat from stage to stage."""

    def __init__(self) -> None:
        self.index: dict[str, int] = {}

    def add(self, text: str) -> int:
        return self.index.setdefault(printable(text), len(self.index))


def browser_data(results: RunResults, pairs: PairedBenchmarks) -> tuple[dict[str, Any], GroupIndex]:
    """Return what the browser shows, as JSON would hold it, and where each benchmark's samples are in it."""
    texts = _Texts()
    groups: list[dict[str, Any]] = []
    index: GroupIndex = {}
    share = _share(pairs)
    for number, stage in enumerate(results.stages):
        for family in stage.families:
            rows = {row.benchmark: row for row in family.comparisons}
            for before, after in pairs.get((number, family.family), ()):
                samples = paired_samples(before, after)
                row = rows.get(before.name)
                if not samples or row is None:
                    continue
                kept = _kept(samples, share)
                index[number, family.family, before.name] = len(groups)
                groups.append(
                    {
                        "stage": number,
                        "stageName": printable(stage_name(stage)),
                        "family": printable(family.family),
                        "benchmark": printable(before.name),
                        "metric": printable(before.metric),
                        "sensitive": before.sensitive or after.sensitive,
                        "left_out": len(samples) - len(kept),
                        "samples": [_sample(x, y, row, texts) for x, y in kept],
                    }
                )
    return {"texts": list(texts.index), "groups": groups}, index


def _share(pairs: PairedBenchmarks) -> float:
    """Return which share of a benchmark's samples is shown."""
    total = sum(len(before.samples) for benchmarks in pairs.values() for before, _ in benchmarks)
    return min(1.0, BROWSED / total) if total else 1.0


def _kept(samples: Sequence[tuple[Sample, Sample]], share: float) -> list[tuple[Sample, Sample]]:
    """Return the samples to show, in their order: those that changed first, the others evenly spread."""
    room = max(20, round(share * len(samples)))
    if share >= 1 or len(samples) <= room:
        return list(samples)
    changed = [place for place, (x, y) in enumerate(samples) if x.score != y.score]
    same = [place for place, (x, y) in enumerate(samples) if x.score == y.score]
    kept = [*_spread(changed, room), *_spread(same, room - len(changed))]
    return [samples[place] for place in sorted(kept)]


def _spread(places: Sequence[int], count: int) -> list[int]:
    if count >= len(places):
        return list(places)
    return [places[number * len(places) // count] for number in range(max(count, 0))]


def _sample(before: Sample, after: Sample, row: Comparison, texts: _Texts) -> dict[str, Any]:
    transition, change = _transition(before.score, after.score, row)
    judges = _judges(before, after)
    return {
        **({"judges": judges} if judges else {}),
        "id": printable(before.id),
        "category": printable(before.category),
        "prompt": texts.add(before.prompt),
        "target": None if before.target is None else texts.add(before.target),
        "transition": transition,
        "change": change,
        "before": _side(before, texts),
        "after": _side(after, texts),
    }


def _judges(before: Sample, after: Sample) -> str:
    """Say whether several judges agree on the two completions; empty where one labelled alone."""
    labels = [each for side in (before, after) for each in _labels(side)]
    if not labels:
        return ""
    return "agree" if all(len(set(each.values())) == 1 for each in labels) else "disagree"


def _labels(sample: Sample) -> list[dict[str, str]]:
    """Return what each of several judges says of the sample's completions, an item a completion."""
    held = sample.extra.get("labels")
    if not isinstance(held, Mapping) or not all(isinstance(each, list) for each in held.values()):
        return []
    return [dict(zip(held, map(str, labels), strict=True)) for labels in zip(*held.values(), strict=False)]


def _side(sample: Sample, texts: _Texts) -> dict[str, Any]:
    said = "; ".join(", ".join(f"{name}: {label}" for name, label in each.items()) for each in _labels(sample))
    return {
        **({"labels": texts.add(said)} if said else {}),
        "text": texts.add(sample.completion),
        "score": sample.score,
        "status": sample.status,
        "extracted": None if sample.extracted is None else texts.add(sample.extracted),
        "tokens": sample.tokens,
    }


def _transition(before: float | None, after: float | None, row: Comparison) -> tuple[str, str]:
    if before is None or after is None:
        return "not scored", "unscored"
    if row.n10 is not None:
        label = f"{before:.0f}→{after:.0f}"
    else:
        label = "equal" if before == after else "higher" if after > before else "lower"
    if before == after:
        return label, "same"
    if row.higher_is_better is None:
        return label, "changed"
    return label, "better" if (after > before) == row.higher_is_better else "worse"
