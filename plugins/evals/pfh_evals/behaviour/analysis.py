"""What lies under the family's rates: classes of replies before and after, agreement, positions, and the grid."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from pfh.hooks.evals import Analysis, AnalysisSpec
from pfh.hooks.samples import Sample
from pfh.hooks.tables import Cell, Quantity, Table

from pfh_evals.behaviour.grid import grid_table
from pfh_evals.behaviour.invariants import judged
from pfh_evals.behaviour.robustness import LETTERS, position_bias, positions
from pfh_evals.pairs import Pairs, pairs_of

_MORE_CUT = 0.05
"""A rise of the share of truncated replies above which a row is marked."""


def analyze_behaviour(spec: AnalysisSpec) -> Analysis:
    """Return the tables and findings of the family."""
    pairs = pairs_of(spec)
    claims = judged.claims(pairs)
    tables: list[Table] = [
        grid_table(spec),
        *judged.tables(claims, pairs),
        _classes(pairs),
        _robust(pairs),
        _replies(pairs),
    ]
    findings = [
        *judged.told(claims, pairs),
        *_cut(pairs),
        *_position(pairs),
        *_retention(pairs),
        *_calls(pairs),
        *_notation(pairs),
    ]
    return Analysis(tables=tuple(table for table in tables if table.rows), findings=tuple(findings), claims=claims)


def _classes(pairs: dict[str, Pairs]) -> Table:
    rows = []
    for name in ("tool-call", "tool-abstention", "json", "table"):
        counts = [Counter(pair[side].extracted or "" for pair in pairs.get(name, ())) for side in (0, 1)]
        rows += [(name, label, counts[0][label], counts[1][label]) for label in sorted(counts[0] | counts[1])]
    return Table(
        title="What replies are, before and after",
        columns=("benchmark", "class", "before", "after"),
        rows=tuple(rows),
        note="One class a reply. A call that cannot be read is right nowhere; abstaining is read beside tool-choice, "
        "as a model that never calls abstains perfectly.",
    )


def _robust(pairs: dict[str, Pairs]) -> Table:
    rows: list[tuple[Cell, ...]] = []
    for name in ("options", "wording", "surface", "languages"):
        for side, when in enumerate(("before", "after")):
            samples = [pair[side] for pair in pairs.get(name, ())]
            if samples:
                kinds = Counter(_consistency(sample) for sample in samples)
                shares = [Quantity(value=kinds[kind] / len(samples), unit="share") for kind in _KINDS]
                mean = sum(sum(each.extra["right"]) / len(each.extra["right"]) for each in samples) / len(samples)
                cells: list[Cell] = [name, when, len(samples), Quantity(value=mean, unit="share"), *shares]
                rows.append(tuple(cells))
    return Table(
        title="Answers over the variants of a question",
        columns=("benchmark", "model", "questions", "right, mean of variants", *_KINDS),
        rows=tuple(rows),
        note="Agreement by itself has no good direction: a model that always says B agrees with itself.",
    )


_KINDS = ("right in all", "the same wrong answer in all", "different answers")


def _consistency(sample: Sample) -> str:
    if all(sample.extra["right"]):
        return _KINDS[0]
    return _KINDS[1] if len(set(sample.extra["contents"])) == 1 else _KINDS[2]


def _replies(pairs: dict[str, Pairs]) -> Table:
    rows: list[tuple[Cell, ...]] = []
    for name, found in pairs.items():
        if "refused" in found[0][0].extra:
            cells: list[Cell] = [
                Quantity(value=sum(test(pair[side]) for pair in found) / len(found), unit="share")
                for test in (_is_refused, _is_cut, _is_empty, _is_unreadable)
                for side in (0, 1)
            ]
            rows.append((name, *cells))
    kinds = ("refused", "truncated", "empty", "unreadable")
    return Table(
        title="Replies that refuse, are cut off, empty or unreadable",
        columns=("benchmark", *(f"{kind} {when}" for kind in kinds for when in ("before", "after"))),
        rows=tuple(rows),
        note="Without these columns a safety tuning reads as lost skill, and a longer reply as a worse one.",
    )


def _is_refused(sample: Sample) -> bool:
    return bool(sample.extra.get("refused"))


def _is_cut(sample: Sample) -> bool:
    return sample.cut


def _is_empty(sample: Sample) -> bool:
    return bool(sample.extra.get("empty"))


def _is_unreadable(sample: Sample) -> bool:
    return sample.status == "format_failure"


def _cut(pairs: dict[str, Pairs]) -> list[str]:
    found = []
    for name, each in pairs.items():
        before, after = (sum(pair[side].cut for pair in each) / len(each) for side in (0, 1))
        if after - before > _MORE_CUT:
            found.append(
                f"{name}: replies cut off at the length limit rose from {before:.0%} to {after:.0%}; a longer reply is "
                "not a worse one: raise -o behaviour.max_new_tokens before reading its score."
            )
    return found


def _position(pairs: dict[str, Pairs]) -> list[str]:
    found = pairs.get("options", [])
    if not found:
        return []
    sides = [[pair[side] for pair in found] for side in (0, 1)]
    before, after = (position_bias(samples) for samples in sides)
    shares = positions(sides[1])
    most = max(shares, key=shares.__getitem__)
    return [
        f"options: the distance of the chosen positions from all equally often went from {before:.2f} to {after:.2f}; "
        f"after, {LETTERS[most]} is chosen in {shares[most]:.0%} of all orders."
    ]


def _retention(pairs: dict[str, Pairs]) -> list[str]:
    late, control = pairs.get("retention", []), pairs.get("retention-control", [])
    if not late or not control:
        return []
    gaps = [_mean(control, side) - _mean(late, side) for side in (0, 1)]
    return [
        f"retention: a rule of the first turn is kept less often than one of the last by {gaps[0]:+.0%} before and "
        f"{gaps[1]:+.0%} after."
    ]


def _calls(pairs: dict[str, Pairs]) -> list[str]:
    found = pairs.get("tool-choice", [])
    never = [when for side, when in enumerate(("before", "after")) if found and not _mean(found, side)]
    return [f"tools: {when} no tool was ever chosen rightly, so that its abstentions say nothing." for when in never]


def _notation(pairs: dict[str, Pairs]) -> list[str]:
    found = pairs.get("tool-choice", [])
    counts = [Counter(pair[side].extra.get("notation", "none") for pair in found) for side in (0, 1)]
    for count in counts:
        count.pop("none", None)
    if not all(counts):
        return []
    (first, _), (last, _) = (count.most_common(1)[0] for count in counts)
    return [f"tools: calls were mostly written as {first} before, and as {last} after."] if first != last else []


def _mean(pairs: Sequence[tuple[Sample, Sample]], side: int) -> float:
    scores = [pair[side].score for pair in pairs]
    held = [score for score in scores if score is not None]
    return sum(held) / len(held) if held else 0.0
