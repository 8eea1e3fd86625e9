"""What the family would read a model by, without the model."""

from __future__ import annotations

from collections.abc import Callable

from pfh.errors import DataUnavailableError
from pfh.hooks.evals import PlanSpec
from pfh.hooks.tables import Table

from pfh_evals.plans import Planned, plan_table
from pfh_evals.representation import documents
from pfh_evals.representation import probes as linear
from pfh_evals.representation.benchmarks import GROUPS, select

Counted = tuple[int, int, str]
"""Documents that are scored, texts that the model reads, and where they come from."""


def planned(spec: PlanSpec) -> Table:
    """Return the table of the family's plan.

    Raises:
        UserError: a benchmark was asked for that the family does not have, or a source is malformed.
    """
    chosen = select(spec.benchmarks)
    counts: dict[str, Callable[[PlanSpec], Counted]] = {"cka": _texts, "probes": _probed, "refusal": _requests}
    rows = []
    for group, names in GROUPS.items():
        named = [name for name in names if name in chosen]
        if not named:
            continue
        held: Counted | tuple[None, None, str] = (None, None, "weights")
        if group in counts:
            try:
                held = counts[group](spec)
            except DataUnavailableError as error:
                held = (None, None, f"cannot be run: {error}")
        documents_, texts, source = held
        rows += [
            Planned(
                benchmark=name,
                documents=documents_,
                requests=texts if name == named[0] else 0,
                scores="0 or 1" if group == "probes" else "other" if group == "refusal" else "of all together",
                source=source,
            )
            for name in named
        ]
    return plan_table("representation", rows, "Texts of a group are read once; the refusal direction reads them anew.")


def _texts(spec: PlanSpec) -> Counted:
    found = documents.instructions(spec.options.instructions, spec.data, spec.limit)
    return len(found.texts), len(found.texts), found.origin


def _probed(spec: PlanSpec) -> Counted:
    statements, origin = documents.statements(spec.options.statements, spec.data, spec.limit)
    return len(linear.split(statements).test), len(statements), origin


def _requests(spec: PlanSpec) -> Counted:
    options = spec.options
    requests = documents.requests(
        options.harmful,
        options.harmless,
        spec.data,
        train=options.refusal_train,
        validation=options.refusal_validation,
        limit=spec.limit,
    )
    held_out = len(requests.held_out["harmful"])
    return held_out, held_out + sum(map(len, requests.train.values())), requests.origin
