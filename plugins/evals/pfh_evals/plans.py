"""What a family would put to a model, for a dry run: documents and requests of every benchmark."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from pfh.hooks.tables import Table

Scores = Literal["0 or 1", "other", "of all together"]


@dataclass(frozen=True, kw_only=True)
class Planned:
    """One benchmark before it is put to a model."""

    benchmark: str
    documents: int | None
    """None where it cannot be run."""
    requests: int | None
    scores: Scores
    """What a document scores; "of all together" where no single one does."""
    source: str
    """Where the documents come from, or why there are none."""


def plan_table(family: str, rows: Sequence[Planned], note: str = "") -> Table:
    """Return the table of a family's plan."""
    return Table(
        title=f"What the family {family} would ask",
        columns=("benchmark", "documents", "requests", "scores", "source"),
        rows=tuple((row.benchmark, row.documents, row.requests, row.scores, row.source) for row in rows),
        note=note,
    )
