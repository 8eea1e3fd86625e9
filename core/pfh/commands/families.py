"""One benchmark family of two models, compared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from pfh.commands.outcomes import family_record
from pfh.commands.subjects import StoredFamily
from pfh.errors import UserError
from pfh.hooks.evals import Analysis, AnalysisSpec
from pfh.hooks.evaluation import Benchmark, Evaluation
from pfh.hooks.tables import LongTable
from pfh.registry.plugins import Plugins
from pfh.results.records import FamilyRecord
from pfh.statistics.noise_floor import with_noise_floor
from pfh.statistics.paired import compare_evaluations, compare_seeds

if TYPE_CHECKING:
    from pydantic import BaseModel


Measured = dict[str, tuple[str, Evaluation]]
"""Family to (key in the store, evaluation)."""


def compare_run_family(
    plugins: Plugins,
    family: str,
    before: Measured,
    after: Measured,
    options: Mapping[str, BaseModel | None],
    curves: tuple[dict[str, float], ...],
) -> tuple[FamilyRecord, tuple[LongTable, ...]]:
    """Compare one family before and after, and let its plugin say more."""
    (before_key, start), (after_key, tuned) = before[family], after[family]
    comparisons = compare_evaluations(start, tuned)
    analysis = plugins.analyze(
        family,
        AnalysisSpec(
            before=start,
            after=tuned,
            comparisons=comparisons,
            options=options[f"evals:{family}"],
            others={name: (before[name][1], after[name][1]) for name in before if name != family},
            curves=curves,
        ),
    )
    return family_record(family, comparisons, analysis, before_key, after_key), analysis.long_tables


def paired_benchmarks(before: Evaluation, after: Evaluation) -> list[tuple[Benchmark, Benchmark]]:
    """Pair the benchmarks of two evaluations by their names; those of one alone are left out."""
    later = {benchmark.name: benchmark for benchmark in after.benchmarks}
    return [(benchmark, later[benchmark.name]) for benchmark in before.benchmarks if benchmark.name in later]


def compare_family(
    name: str,
    pairs: Sequence[tuple[StoredFamily, StoredFamily]],
    again: Evaluation | None,
    others: Mapping[str, tuple[Evaluation, Evaluation]],
    plugins: Plugins,
    options: BaseModel | None,
) -> tuple[FamilyRecord, tuple[LongTable, ...]]:
    """Compare one family before and after, one pair a seed, and let its plugin say more if there is one."""
    before, after = pairs[0]
    if len(pairs) > 1:
        rows = compare_seeds([(x.evaluation, y.evaluation) for x, y in pairs])
    else:
        rows = compare_evaluations(before.evaluation, after.evaluation)
    if again is not None:
        rows = with_noise_floor(rows, before.evaluation, after.evaluation, again)
    analysis = Analysis()
    if name in plugins.catalogue.names("evals"):
        chosen = options or stored_options(name, before, plugins)
        analysis = plugins.analyze(
            name,
            AnalysisSpec(
                before=before.evaluation, after=after.evaluation, comparisons=rows, options=chosen, others=others
            ),
        )
    return family_record(name, rows, analysis, before.key, after.key), analysis.long_tables


def stored_options(family: str, stored: StoredFamily, plugins: Plugins) -> BaseModel | None:
    """Return the options that an evaluation was made with, or the defaults where the plugin has changed since."""
    try:
        return plugins.options("evals", family, stored.inputs.get("options") or {})
    except UserError:
        return plugins.options("evals", family, {})
