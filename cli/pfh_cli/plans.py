"""What the families of a dry run would put to a model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pfh.plugins import Plugins
    from pfh.run import EvalChoice
    from pydantic import BaseModel


def asked(
    evals: Sequence[EvalChoice],
    filled: Mapping[str, BaseModel | None],
    plugins: Plugins,
    *,
    limit: int | None,
    seed: int,
) -> dict[str, Any]:
    """Return family to the table of what it would ask, as JSON; without the families that do not say."""
    from pfh.data import HubData
    from pfh.specs import PlanSpec

    found: dict[str, Any] = {}
    for choice in evals:
        spec = PlanSpec(
            options=filled[f"evals:{choice.family}"],
            data=HubData(),
            benchmarks=choice.benchmarks,
            limit=limit,
            seed=seed,
        )
        table = plugins.plan(choice.family, spec)
        if table is not None:
            rows = [dict(zip(table.columns, row, strict=True)) for row in table.rows]
            found[choice.family] = {"title": table.title, "rows": rows, "note": table.note}
    return found
