"""The study's questions put to its changes: profiles, answers, trade-offs, spread, recommendations."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from pfh.results.study.adjusting import adjusted_effects
from pfh.results.study.changes import FinishedRun, by_run, mean_changes, scores_of
from pfh.results.study.questions import Cells, asked, broad
from pfh.results.study.recommendations import TARGET, WANTED, Candidate, Wanted, recommend
from pfh.results.study.records import EffectRecord, RunRow, StudyResults, TradeOff
from pfh.results.study.second_opinions import Place, compared, second_opinions
from pfh.results.study.spread import shares_of
from pfh.results.summary import matching, summarize
from pfh.statistics.adjustment import adjust
from pfh.statistics.crossed import Effect, Scores, effect, joint_draws, pareto_probabilities

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from pandas import DataFrame

NONE = "none"
"""The method that trains nothing: its changes are the noise."""


def analyze_study(
    name: str, runs: Sequence[FinishedRun], missing: int, table: DataFrame, wanted: Sequence[Wanted] = WANTED
) -> StudyResults:
    """Return what a study found out.

    Args:
        name: the study's.
        runs: the finished ones.
        missing: how many are not.
        table: their changes (`long_table`).
        wanted: what must hold of a method that is recommended.
    """
    scores = _by_place(table)
    found = _effects(table, scores)
    cells = _cells(table)
    changes = by_run(table)
    trained = [run for run in runs if run.method != NONE]
    drafts = asked(runs, cells, [_record(cell, each, 1.0) for cell, each in found], table)
    tested = [draft.p_value for draft in drafts if draft.p_value is not None]
    adjusted = adjust([*(each.p_value for _, each in found), *tested])
    effects = [_record(cell, each, p) for (cell, each), p in zip(found, adjusted, strict=False)]
    left = iter(adjusted[len(found) :])
    answers = [draft.answered(None if draft.p_value is None else next(left)) for draft in drafts]
    again, not_adjusted = adjusted_effects(trained, changes)
    effects = sorted(effects, key=lambda row: (row.start, row.domain, row.family, row.category, row.change))
    seconds = second_opinions(effects, scores)
    return StudyResults(
        name=name,
        runs=tuple(
            RunRow(
                name=run.name,
                start=run.start,
                method=run.label,
                domain=run.domain,
                seed=run.seed,
                phase=run.phase,
                headline=run.results.headline,
                gates=tuple(f"{gate.contract}: {gate.sentence}" for gate in run.results.gates),
            )
            for run in runs
        ),
        missing=missing,
        contrasts=len(adjusted),
        effects=tuple(effects),
        answers=(*answers, *broad(effects)),
        trade_offs=_trade_offs(cells),
        matched=_matched(runs),
        adjusted=again,
        not_adjusted=not_adjusted,
        stopped_early=_stopped_early(trained),
        second_opinions=tuple(seconds),
        agreement=compared(effects, seconds),
        shares=shares_of(runs, table),
        turning=_turning(table),
        recommendations=recommend(_candidates(trained, cells, wanted), wanted),
    )


def _by_place(table: DataFrame) -> dict[Place, list[Scores]]:
    """Return the changes of every method's families from every start in every domain."""
    groups = table.groupby(["start", "domain", "method", "family"], sort=True)
    return {(str(s), str(d), str(m), str(f)): scores_of(part) for (s, d, m, f), part in groups}


def _effects(table: DataFrame, scores: Mapping[Place, Sequence[Scores]]) -> list[tuple[dict[str, str], Effect]]:
    """Return the change of every method from every start in every domain: by family, benchmark and category."""
    found: list[tuple[dict[str, str], Effect]] = []
    for key, part in table.groupby(["start", "domain", "method", "family"], sort=True):
        start, domain, method, family = map(str, key)
        cell = {"start": start, "domain": domain, "method": method, "family": family}
        whole = effect(scores[start, domain, method, family])
        found.append(({**cell, "category": "", "level": "family"}, whole))
        for kind, rows in part.groupby("benchmark_category", sort=True):
            if 1 < rows["benchmark"].nunique() < part["benchmark"].nunique():
                found.append(({**cell, "category": str(kind), "level": "category"}, effect(scores_of(rows))))
        for benchmark, rows in part.groupby("benchmark", sort=True):
            found.append(({**cell, "category": str(benchmark), "level": "benchmark"}, effect(scores_of(rows))))
            parts = sorted(each for each in rows["category"].unique() if each)
            for name in parts if len(parts) > 1 else ():
                inside = rows[rows["category"] == name]
                found.append(({**cell, "category": f"{benchmark}: {name}", "level": "part"}, effect(scores_of(inside))))
    return found


def _record(cell: Mapping[str, str], each: Effect, p_adjusted: float) -> EffectRecord:
    low, high = each.interval()
    return EffectRecord.model_validate(
        {
            **cell,
            "change": each.mean,
            "low": low,
            "high": high,
            "p_value": each.p_value,
            "p_adjusted": p_adjusted,
            "seeds": each.seeds,
            "documents": each.documents,
            "seed_error": each.seed_error,
            "document_error": each.document_error,
        }
    )


def _cells(table: DataFrame) -> Cells:
    """Return the changes of every (method, family) over all starts and domains, these counted equally."""
    return {
        (str(method), str(family)): scores_of(part)
        for (method, family), part in table.groupby(["method", "family"], sort=True)
    }


def _trade_offs(cells: Cells) -> tuple[TradeOff, ...]:
    """Return every method's place between the target's gain and the loss in each other family."""
    found = []
    gains = {method: scores for (method, family), scores in cells.items() if family == TARGET}
    for other in sorted({family for _, family in cells} - {TARGET}):
        methods = [method for method in gains if (method, other) in cells]
        if len(methods) < 2:
            continue
        draws = joint_draws(
            {
                **{(method, TARGET): gains[method] for method in methods},
                **{(method, other): cells[method, other] for method in methods},
            }
        )
        first = {method: draws[method, TARGET] for method in methods}
        second = {method: draws[method, other] for method in methods}
        for method, share in pareto_probabilities(first, second).items():
            name = str(method)
            gain, change = effect(gains[name]), effect(cells[name, other])
            found.append(
                TradeOff(
                    method=name,
                    against=other,
                    gain=gain.mean,
                    change=change.mean,
                    pareto=share,
                    gain_error=gain.error,
                    change_error=change.error,
                    correlation=_correlation(first[method], second[method]),
                )
            )
    return tuple(found)


def _matched(runs: Sequence[FinishedRun]) -> tuple[str, ...]:
    """Say for each start, domain and seed in what its trained runs agree and in what not."""
    groups: dict[tuple[str, str, int], list[FinishedRun]] = defaultdict(list)
    for run in runs:
        if run.method != NONE:
            groups[run.start, run.domain, run.seed].append(run)
    said = []
    for (start, domain, seed), members in groups.items():
        if len(members) < 2:
            continue
        rows = matching([summarize(run.results) for run in members])
        unlike = [f"{row.name} ({row.said})" for row in rows if not row.matched]
        like = [row.name for row in rows if row.matched]
        said.append(
            f"{start}, {domain}, seed {seed}: {len(members)} methods agree in {', '.join(like) or 'nothing'}; "
            f"they differ in {', '.join(unlike) or 'nothing'}."
        )
    return tuple(said)


def _stopped_early(runs: Sequence[FinishedRun]) -> str:
    """Say how much early stopping saved, and what that does to the figures of the study."""
    rows = [row for run in runs for family in run.results.stages[-1].families for row in family.comparisons]
    looked = [(row.documents, row.looked.out_of or row.documents) for row in rows if row.looked is not None]
    if not looked:
        return ""
    seen, total = (sum(column) for column in zip(*looked, strict=True))
    return (
        f"{len(looked)} comparisons with the start could stop early: {total - seen:,} of {total:,} documents were not "
        "looked at. Their own verdicts, in the runs' reports, hold at any stop. The effects here are means over what "
        "was looked at: of a comparison that stopped for a change they lie a little too far from 0."
    )


def _turning(table: DataFrame) -> tuple[str, ...]:
    """Name the changes whose direction is not that of every seed."""
    said = []
    for key, part in table.groupby(["start", "domain", "method", "family"], sort=True):
        by_seed = mean_changes(part, ["seed"])
        if len(by_seed) > 1 and by_seed.min() < 0 < by_seed.max():
            figures = ", ".join(f"seed {seed} {100 * value:+.1f}" for seed, value in by_seed.items())
            start, domain, method, family = map(str, key)
            said.append(f"{method} on {domain} from {start} turns with the seed in {family} (points): {figures}.")
    return tuple(said)


def _candidates(runs: Sequence[FinishedRun], cells: Cells, wanted: Sequence[Wanted]) -> list[Candidate]:
    """Return the trained methods with their effects on what is wanted, over all starts and domains."""
    seconds: dict[str, list[float]] = defaultdict(list)
    for run in runs:
        seconds[run.label].append(summarize(run.results).device_seconds)
    found = []
    for method, took in seconds.items():
        effects = {}
        for want in wanted:
            family, _, benchmark = want.name.partition(":")
            scores = [
                each for each in cells.get((method, family), ()) if not benchmark or _benchmark_of(each) == benchmark
            ]
            if scores:
                effects[want.name] = effect(scores)
        found.append(Candidate(method=method, effects=effects, device_seconds=float(np.mean(took))))
    return found


def _benchmark_of(scores: Scores) -> str:
    return str(scores.benchmark[0]) if isinstance(scores.benchmark, tuple) else str(scores.benchmark)


def _correlation(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    """Return how two means vary together, by ranks, as draws over a few seeds have heavy tails."""
    from scipy.stats import spearmanr

    if not np.ptp(first) or not np.ptp(second):
        return 0.0
    return float(2 * np.sin(np.pi / 6 * float(spearmanr(first, second).statistic)))
