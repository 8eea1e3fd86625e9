"""What the family would put to a model, without the model."""

from __future__ import annotations

from pfh.errors import DataUnavailableError
from pfh.hooks.evals import PlanSpec
from pfh.hooks.tables import Table

from pfh_evals.behaviour import needle, robustness, tool_likelihood
from pfh_evals.behaviour.asks import Generated, limited
from pfh_evals.behaviour.invariants.judged import can_prove
from pfh_evals.behaviour.invariants.measure import items
from pfh_evals.behaviour.robustness import Robust
from pfh_evals.behaviour.select import Chosen, NeedleLikelihood, Own, select
from pfh_evals.plans import Planned, Scores, plan_table


def planned(spec: PlanSpec) -> Table:
    """Return the table of the family's plan; a reply that several benchmarks read is requested once.

    Raises:
        UserError: a benchmark was asked for that the family does not have.
    """
    seen: set[str] = set()
    return plan_table(
        "behaviour",
        [_planned(each, spec, seen) for each in select(spec.benchmarks, spec)],
        "Benchmarks of one group read the same replies.",
    )


def _planned(each: Chosen, spec: PlanSpec, seen: set[str]) -> Planned:
    scores: Scores = "0 or 1"
    try:
        if isinstance(each, Generated):
            asks, source = each.load(spec)
            ids = {item.id for item in limited(asks, spec.limit)}
            documents, requests = len(ids), len(ids - seen)
            seen |= ids
            scores = "0 or 1" if each.binary else "other"
        elif isinstance(each, Own):
            found, source = items(each.opened, each.invariant, spec.data, spec.limit)
            documents, requests = len(found), sum(len(put.chats) for put in found)
            scores = "0 or 1" if requests == documents else "other"
            source = f"{source}; {can_prove(each.opened.hold(each.invariant), documents)}"
        elif isinstance(each, Robust):
            put, source = each.load(spec)
            documents, requests = len(put), len(robustness.requests(put))
            scores = "other" if each.share else "0 or 1"
        elif isinstance(each, NeedleLikelihood):
            documents, source = len(limited(needle.asks_of(each.length), spec.limit)), "built in"
            requests = documents * needle.CANDIDATES
        else:
            contrasts = [tool_likelihood.contrasts(item)[1] for item in tool_likelihood.asks(spec)]
            documents, source = sum(len(wrong) for wrong in contrasts), "built in"
            requests = documents + len(contrasts)
    except DataUnavailableError as error:
        return Planned(
            benchmark=each.name, documents=None, requests=None, scores=scores, source=f"cannot be run: {error}"
        )
    return Planned(benchmark=each.name, documents=documents, requests=requests, scores=scores, source=source)
