"""How far replies to logged requests differ, and which lost what, worst first."""

from __future__ import annotations

from collections import Counter

from pfh.hooks.evals import Analysis, AnalysisSpec
from pfh.hooks.samples import Sample
from pfh.hooks.tables import Cell, Quantity, Table

from pfh_evals.pairs import Pairs, pairs_of
from pfh_evals.traffic.measures import MEASURES, SOUND, lost, overlap

_SHOWN = 50
_MOSTLY = 0.5
"""Word overlap of replies that are mostly the same."""


def analyze_traffic(spec: AnalysisSpec) -> Analysis:
    """Return the tables and findings of the family."""
    pairs = pairs_of(spec)
    every = next(iter(pairs.values()), [])
    if not every:
        return Analysis()
    tables = [_differences(every), _by_measure(every), _worst(every)]
    return Analysis(tables=tuple(table for table in tables if table.rows), findings=tuple(_findings(every)))


def _differences(pairs: Pairs) -> Table:
    kinds = Counter(_kind(*pair) for pair in pairs)
    rows = [(kind, kinds[kind], Quantity(value=kinds[kind] / len(pairs), unit="share")) for kind in _KINDS]
    return Table(
        title="How far the replies differ",
        columns=("reply after, against before", "requests", "share"),
        rows=tuple(rows),
        note="Other words are no fault: what was lost is below.",
    )


_KINDS = ("the same text", "mostly the same words", "mostly other words")


def _kind(before: Sample, after: Sample) -> str:
    if before.completion == after.completion:
        return _KINDS[0]
    return _KINDS[1] if overlap(before.completion, after.completion) >= _MOSTLY else _KINDS[2]


def _by_measure(pairs: Pairs) -> Table:
    rows: list[tuple[Cell, ...]] = []
    for each in MEASURES:
        if not each.sound and each.name != "refused":
            continue
        found = [(_score(x, each.name), _score(y, each.name)) for x, y in pairs]
        known = [(x, y) for x, y in found if x is not None and y is not None]
        if known:
            gone = sum(x == 1 and y == 0 for x, y in known)
            came = sum(x == 0 and y == 1 for x, y in known)
            rows.append((each.name, len(known), gone, came))
    return Table(
        title="What replies lost and gained",
        columns=("rule", "requests", "only before", "only after"),
        rows=tuple(rows),
    )


def _worst(pairs: Pairs) -> Table:
    ranked = sorted(
        ((lost(x.extra["scores"], y.extra["scores"]), x, y) for x, y in pairs),
        key=lambda each: (-len(each[0]), overlap(each[1].completion, each[2].completion)),
    )
    rows = tuple(
        (y.extra["line"], x.id, ", ".join(gone), str(x.status), str(y.status), _words(x), _words(y))
        for gone, x, y in ranked
        if gone
    )
    return Table(
        title="Requests that lost something, worst first",
        columns=("line", "sample", "lost", "before", "after", "words before", "words after"),
        rows=rows[:_SHOWN],
        note=f"Texts are under Samples, benchmark {SOUND}, worse first; they are folded until you ask for them. "
        f"{len(rows)} requests of {len(pairs)} lost something.",
    )


def _words(sample: Sample) -> int:
    return len(sample.completion.split())


def _score(sample: Sample, name: str) -> float | None:
    value: float | None = sample.extra["scores"].get(name)
    return value


def _findings(pairs: Pairs) -> list[str]:
    gone = [each for each in ((lost(x.extra["scores"], y.extra["scores"])) for x, y in pairs) if each]
    refused = [sum(bool(pair[side].extra["refused"]) for pair in pairs) for side in (0, 1)]
    found = []
    if gone:
        names = [name for each in gone for name in each]
        most = max(set(names), key=names.count)
        found.append(
            f"{len(gone)} of {len(pairs)} logged requests get a reply that lost something, most often {most} "
            f"({names.count(most)})."
        )
    if refused[0] != refused[1]:
        found.append(f"Refusals of logged requests went from {refused[0]} to {refused[1]} of {len(pairs)}.")
    return found
