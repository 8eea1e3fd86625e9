"""The grid of CapTrack (arXiv 2603.06610): what a model CAN do, WILL do, and HOW, from all families of a comparison.

Nothing is measured twice: other families' rows are read from their own samples. What was not measured has its status in
place of figures, never 0.
"""

from __future__ import annotations

from collections.abc import Sequence

from pfh.hooks.comparison import Comparison
from pfh.hooks.evals import AnalysisSpec
from pfh.hooks.tables import Cell, Quantity, Table
from pfh.kit.grid import PLACES, placed
from pfh.statistics.paired import compare_evaluations

_OWN = ("invariants/*",)
"""What only a file of the user's own asks for."""
_MOST = 3
"""Names of benchmarks that were not measured, in one cell."""
_ARROWS = {True: "↑", False: "↓", None: "–"}


def grid_table(spec: AnalysisSpec) -> Table:
    """Return the whole grid, a row a benchmark in the order of the grid."""
    rows_of: dict[str, Sequence[Comparison]] = {spec.before.family: spec.comparisons}
    rows_of |= {family: compare_evaluations(before, after) for family, (before, after) in spec.others.items()}
    rows: list[tuple[Cell, ...]] = []
    names = [(family, row.benchmark) for family, found in rows_of.items() for row in found]
    by_name = {(family, row.benchmark): row for family, found in rows_of.items() for row in found}
    for (group, part, family, globs), found in zip(PLACES, placed(names), strict=True):
        rows += [(group, part, f"{family}/{name}", *_figures(by_name[family, name])) for name in found]
        if not found and globs != _OWN:
            rows.append((group, part, _missing(family, globs), None, None, None, None, None, "not measured"))
    return Table(
        title="The grid: what it CAN do, WILL do, and HOW",
        columns=("group", "part", "benchmark", "good", "before", "after", "change", "n", "verdict"),
        rows=tuple(rows),
        whole=True,
        note="Rows of other families are read from their own samples: nothing is measured twice. ↑ more is better, ↓ "
        "less is, – neither. A cell without a figure was not measured, and says why; no average is taken over a group.",
    )


def _missing(family: str, globs: Sequence[str]) -> str:
    names = [glob.strip("-*") for glob in globs if glob != "*"]
    if not names:
        return family
    return f"{family}: {', '.join(names[:_MOST])}{' ...' if len(names) > _MOST else ''}"


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
