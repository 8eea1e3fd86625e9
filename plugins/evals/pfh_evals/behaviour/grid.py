"""The grid of CapTrack (arXiv 2603.06610): what a model CAN do, WILL do, and HOW, from all families of a comparison.

Nothing is measured twice: other families' rows are read from their own samples. What was not measured has its status in
place of figures, never 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase

from pfh.hooks.comparison import Comparison
from pfh.hooks.evals import AnalysisSpec
from pfh.hooks.tables import Cell, Quantity, Table
from pfh.statistics.paired import compare_evaluations

_PLACES: tuple[tuple[str, str, str, tuple[str, ...]], ...] = (
    ("CAN", "skills of the training", "target", ("*",)),
    ("CAN", "knowledge and reasoning", "forgetting", ("*",)),
    ("CAN", "robustness", "behaviour", ("options", "wording", "surface", "languages")),
    ("CAN", "reasoning", "reasoning", ("*",)),
    ("WILL", "refusals", "safety", ("*",)),
    ("WILL", "refusals", "policy", ("refusal",)),
    ("WILL", "willingness", "behaviour", ("underspecified", "specified", "uncertainty", "certainty")),
    ("WILL", "scope and style", "policy", ("length", "hedging", "markdown", "distinct-2", "verbosity")),
    ("WILL", "scope and style", "behaviour", ("scope", "directness")),
    ("HOW", "instructions", "forgetting", ("ifeval*",)),
    ("HOW", "instructions", "behaviour", ("constraints", "retention*")),
    ("HOW", "forms", "policy", ("json", "adherence", "truncation", "loops")),
    ("HOW", "forms", "behaviour", ("json", "table")),
    ("HOW", "tools", "behaviour", ("tool-*",)),
    ("HOW", "long texts", "behaviour", ("needle*",)),
    ("HOW", "sources", "behaviour", ("citation-*",)),
)
_ARROWS = {True: "↑", False: "↓", None: "–"}


def grid_table(spec: AnalysisSpec) -> Table:
    """Return the whole grid, a row a benchmark in the order of the grid."""
    rows_of: dict[str, Sequence[Comparison]] = {spec.before.family: spec.comparisons}
    rows_of |= {family: compare_evaluations(before, after) for family, (before, after) in spec.others.items()}
    shown: set[tuple[str, str]] = set()
    rows: list[tuple[Cell, ...]] = []
    ordered = sorted(range(len(_PLACES)), key=lambda place: "*" in _PLACES[place][3])  # names before what is left
    cells: dict[int, list[tuple[Cell, ...]]] = {place: [] for place in range(len(_PLACES))}
    for place in ordered:
        group, part, family, names = _PLACES[place]
        for row in rows_of.get(family, ()):
            key = (family, row.benchmark)
            if key not in shown and any(fnmatchcase(row.benchmark, name) for name in names):
                shown.add(key)
                cells[place].append((group, part, f"{family}/{row.benchmark}", *_figures(row)))
    for place, (group, part, family, _) in enumerate(_PLACES):
        rows += cells[place]
        if family not in rows_of:
            rows.append((group, part, family, None, None, None, None, None, "not measured"))
    return Table(
        title="The grid: what it CAN do, WILL do, and HOW",
        columns=("group", "part", "benchmark", "good", "before", "after", "change", "n", "verdict"),
        rows=tuple(rows),
        note="Rows of other families are read from their own samples: nothing is measured twice. ↑ more is better, ↓ "
        "less is, – neither. A cell without a figure was not measured, and says why; no average is taken over a group.",
    )


def _figures(row: Comparison) -> tuple[Cell, ...]:
    arrow = _ARROWS[row.higher_is_better]
    if row.status != "MEASURED" or row.before is None or row.after is None or row.delta is None:
        return (arrow, None, None, None, None, f"{row.status}: {row.reason}")
    binary = row.n10 is not None
    return (
        arrow,
        Quantity(value=row.before, unit="share" if binary else "number"),
        Quantity(value=row.after, unit="share" if binary else "number"),
        Quantity(value=row.delta, unit="points" if binary else "difference", low=row.ci_low, high=row.ci_high),
        row.n,
        row.verdict,
    )
