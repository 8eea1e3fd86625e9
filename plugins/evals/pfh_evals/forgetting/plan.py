"""What a battery holds and costs, without a model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from pfh.errors import DataUnavailableError
from pfh.hooks.tables import Table, Value

from pfh_evals.forgetting.battery import category_of
from pfh_evals.forgetting.tasks import CannotRunError, Loaded

PROBED = 5
"""Documents of a task whose prompts are built, to tell how many requests a document makes and how long they are."""

Ask = tuple[str, int | None, Callable[[], Loaded]]
"""Benchmark, documents a task at most, and how its tasks are loaded."""


def planned(asks: Sequence[Ask]) -> Table:
    """Return documents, requests and prompt characters of every benchmark, and why one cannot be run."""
    rows = [_row(*ask) for ask in asks]
    totals = [sum(int(row[column] or 0) for row in rows) for column in (3, 4, 5)]
    return Table(
        title="What the family forgetting would ask",
        columns=("benchmark", "category", "tasks", "documents", "requests", "thousand characters", "source"),
        rows=(*rows, ("all", "", None, *totals, "")),
        note=f"Requests and characters are counted on the first {PROBED} documents of each task and scaled up; what "
        "prompts share is counted each time. A token of English text is about four characters.",
    )


def _row(name: str, limit: int | None, load: Callable[[], Loaded]) -> tuple[Value, ...]:
    try:
        loaded = load()
    except (CannotRunError, DataUnavailableError) as error:
        return (name, category_of(name), None, None, None, None, f"cannot be run: {error}")
    documents = requests = characters = 0.0
    for task in loaded.tasks.values():
        held = len(task.eval_docs) if limit is None else min(limit, len(task.eval_docs))
        task.build_all_requests(limit=min(held, PROBED))
        scale = held / min(held, PROBED)
        documents += held
        requests += scale * len(task.instances)
        characters += scale * sum(_length(instance) for instance in task.instances)
    thousands = round(characters / 1000)
    return (name, category_of(name), len(loaded.tasks), int(documents), round(requests), thousands, loaded.source)


def _length(instance: Any) -> int:  # noqa: ANN401 - lm-eval's own
    return sum(len(part) for part in instance.args if isinstance(part, str))
