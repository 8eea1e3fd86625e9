"""What a plugin adds to a report: tables, plots and long tables."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

Unit = Literal["number", "share", "difference", "points", "p"]
"""What a number is: a mean or another figure, a share of 1, a difference of figures, one of shares, a p-value."""


@dataclass(frozen=True, kw_only=True)
class Quantity:
    """A number of a table as it was computed, with its unit: whoever shows it writes it."""

    value: float
    """Unrounded; a share and a difference of shares are fractions of 1."""
    unit: Unit
    """"number", "share", "difference", "points" (a difference of shares) or "p" (a p-value)."""
    low: float | None = None
    """Lower end of its 95% interval, in the same unit; null where it has none."""
    high: float | None = None
    """Upper end of its 95% interval."""


Value = str | float | int | None


Cell = Quantity | Value


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table for the report, beyond the paired figures that every family gets."""

    title: str
    """What the table shows."""
    columns: tuple[str, ...]
    """Names of the columns."""
    rows: tuple[tuple[Cell, ...], ...]
    """One cell a column in each."""
    note: str = ""
    """How to read it, in a sentence or two."""
    whole: bool = False
    """Shown as it is however long it is; others of more than 16 rows are folded."""
    first: bool = False
    """Shown at the head of its family, before what was found; others stand behind the figures."""


@dataclass(frozen=True, kw_only=True)
class Plot:
    """A plot for the report."""

    title: str
    """What the plot shows."""
    figure: Mapping[str, Any]
    """A Plotly figure as its JSON object: "data" and "layout"."""
    note: str = ""
    """How to read it, in a sentence or two."""


@dataclass(frozen=True, kw_only=True)
class LongTable:
    """Single values, one a row, for notebooks: kept as Parquet beside the results, and not shown in the report."""

    name: str
    """Of the file, in lower case: letters, digits and hyphens."""
    columns: Mapping[str, Sequence[Value]]
    """Name to values, all of one length; a missing number is None, never NaN."""

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[a-z0-9-]+", self.name):
            raise ValueError(f"the long table {self.name!r} is named with other than lower-case letters, digits and -")
        if len({len(values) for values in self.columns.values()}) > 1:
            raise ValueError(f"the columns of the long table {self.name} differ in length")

    @classmethod
    def of_rows(cls, name: str, columns: Sequence[str], rows: Iterable[Sequence[Value]]) -> LongTable:
        """Return the table with these rows, a cell a column in each."""
        values: dict[str, list[Value]] = {column: [] for column in columns}
        for row in rows:
            for column, cell in zip(columns, row, strict=True):
                values[column].append(cell)
        return cls(name=name, columns=values)
