"""What the family would put to a model, without the model."""

from __future__ import annotations

from pfh.errors import DataUnavailableError
from pfh.hooks.evals import PlanSpec
from pfh.hooks.meanings import Names, names_of
from pfh.hooks.tables import Table

from pfh_evals.plans import Planned, Scores, plan_table
from pfh_evals.safety.asks import asks_of
from pfh_evals.safety.attacked import DIRECT
from pfh_evals.safety.benchmarks import SafetyBenchmark
from pfh_evals.safety.latent_benchmarks import LATENT_BY_NAME, choose
from pfh_evals.safety.own.base import OwnBenchmark, kept_of


def planned(spec: PlanSpec) -> Table:
    """Return the table of the family's plan.

    Raises:
        UserError: a benchmark was asked for that the family does not have.
    """
    chosen = choose(spec.benchmarks)
    rates, latent = chosen.rated, chosen.latent
    kinds: dict[str, tuple[SafetyBenchmark, Scores]] = {each.name: (each, "0 or 1") for each in rates}
    kinds |= {each.name: (each.of, "other") for each in latent}
    held = {benchmark.name: _held(benchmark, spec) for benchmark, _ in kinds.values()}
    rows = []
    for name, (benchmark, scores) in kinds.items():
        count, source = held[benchmark.name]
        under_it = LATENT_BY_NAME.get(name)
        asked = count if count is None or under_it is None else under_it.enough(spec.options, count)
        rows.append(Planned(benchmark=name, documents=asked, requests=asked, scores=scores, source=source))
    rows += [_own(benchmark, spec) for benchmark in chosen.own]
    depths = "A depth takes a request more for each prefill that is tried." if latent else ""
    attacks = [name for name in names_of(spec.options, Names.ATTACK) if name != DIRECT]
    under = f"Harmful prompts are put under {', '.join(attacks)} as well, a request an attempt." if attacks else ""
    told = " ".join(part for part in (depths, under) if part)
    return plan_table("safety", rows, told)


def _own(benchmark: OwnBenchmark, spec: PlanSpec) -> Planned:
    try:
        documents, source = benchmark.load(spec.data)
    except DataUnavailableError as error:
        documents, source = None, f"cannot be run: {error}"
    count = None if documents is None else len(kept_of(benchmark, documents, spec.limit))
    requests = None if count is None else count * benchmark.requests(spec.options)
    return Planned(benchmark=benchmark.name, documents=count, requests=requests, scores=benchmark.scores, source=source)


def _held(benchmark: SafetyBenchmark, spec: PlanSpec) -> tuple[int | None, str]:
    """Return how many documents there are, and where they come from or why there are none."""
    try:
        documents, source = benchmark.load(spec.data)
    except DataUnavailableError as error:
        return None, f"cannot be run: {error}"
    return len(asks_of(benchmark, documents, spec.limit)), source
