"""What became of the replies on the ladder: the table of classes before and after, and what chance explains."""

from __future__ import annotations

from collections import Counter

import numpy as np
from pfh.hooks.tables import Cell, Quantity, Table

from pfh_evals.pairs import Pairs
from pfh_evals.reasoning.puzzles import CLASSES, WELL_FORMED

_SURE = 0.05


def ladder_tables(pairs: dict[str, Pairs]) -> list[Table]:
    """Return the 6 x 6 table, and feasibility beside chance."""
    found = pairs.get("ladder-form", [])
    if not found:
        return []
    counts = Counter((str(x.extra["class"]), str(y.extra["class"])) for x, y in found)
    rows: list[tuple[Cell, ...]] = [(first, *(counts[first, last] for last in CLASSES)) for first in CLASSES]
    return [
        Table(
            title="The ladder: replies before (rows) and after (columns)",
            columns=("before", *CLASSES),
            rows=tuple(rows),
            note="One class a reply, the first that fits.",
        ),
        _beside_chance(found),
    ]


def _beside_chance(pairs: Pairs) -> Table:
    rows: list[tuple[Cell, ...]] = []
    for side, when in enumerate(("before", "after")):
        well = [pair[side] for pair in pairs if pair[side].extra["class"] in WELL_FORMED]
        if well:
            feasible = sum(each.extra["class"] != "infeasible" for each in well)
            chance = sum(each.extra["chance"] for each in well) / len(well)
            rate = feasible / len(well)
            beyond = (rate - chance) / (1 - chance) if chance < 1 else None
            rows.append(
                (
                    when,
                    len(well),
                    Quantity(value=rate, unit="share"),
                    Quantity(value=chance, unit="share"),
                    beyond if beyond is None else Quantity(value=beyond, unit="number"),
                    Quantity(value=feasible / len(pairs), unit="share"),
                    Quantity(value=sum(each.extra["size"] for each in well) / len(well), unit="number"),
                )
            )
    return Table(
        title="Feasible, beside chance",
        columns=(
            "replies",
            "well-formed",
            "feasible of these",
            "by chance at their size",
            "beyond chance",
            "well-formed and feasible, of all",
            "parts of an answer",
        ),
        rows=tuple(rows),
        note="Chance is the share of feasible among the answers of a reply's own size: short answers are nearly always "
        "feasible. Beyond chance is (rate - chance)/(1 - chance).",
    )


def ladder_findings(pairs: dict[str, Pairs]) -> list[str]:
    """Say what the replies are that became well-formed, and whether the classes changed at all."""
    found = pairs.get("ladder-form", [])
    became = [y for x, y in found if x.extra["class"] not in WELL_FORMED and y.extra["class"] in WELL_FORMED]
    said = []
    if became:
        feasible = sum(each.extra["class"] != "infeasible" for each in became)
        chance = sum(each.extra["chance"] for each in became)
        said.append(
            f"Of the {len(became)} replies that became well-formed, {feasible} are feasible; {chance:.1f} would be by "
            "chance at their size."
        )
    p_value = homogeneity_p([(str(x.extra["class"]), str(y.extra["class"])) for x, y in found])
    if p_value is not None and p_value < _SURE:
        said.append(f"The classes of replies changed (Stuart and Maxwell's test, p = {p_value:.2g}).")
    return said


def homogeneity_p(pairs: list[tuple[str, str]]) -> float | None:
    """Return the p-value of equal shares of all classes before and after (Stuart 1955, Maxwell 1970).

    Classes that are as often before as after, pair by pair the same ones, tell nothing and are left out; None where
    nothing changed.
    """
    from scipy.stats import chi2

    table = np.zeros((len(CLASSES), len(CLASSES)))
    for first, last in pairs:
        table[CLASSES.index(first), CLASSES.index(last)] += 1
    rows, columns = table.sum(1), table.sum(0)
    used = np.flatnonzero(rows + columns - 2 * np.diag(table))
    if len(used) < 2:
        return None
    table = table[np.ix_(used, used)]
    rows, columns = table.sum(1), table.sum(0)
    difference = rows - columns
    covariance = -(table + table.T)
    np.fill_diagonal(covariance, rows + columns - 2 * np.diag(table))
    statistic = float(difference @ np.linalg.pinv(covariance) @ difference)
    return float(chi2.sf(statistic, np.linalg.matrix_rank(covariance)))
