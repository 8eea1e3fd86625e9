"""The study's questions put to its changes: profiles, answers, trade-offs, spread, recommendations."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from pfh.results.study.changes import FinishedRun, by_run, scores_of
from pfh.results.study.questions import Cells, answers
from pfh.results.study.recommendations import TARGET, Candidate, recommend
from pfh.results.study.records import EffectRecord, RunRow, Share, StudyResults, TradeOff
from pfh.results.summary import matching, summarize
from pfh.statistics.adjustment import adjust
from pfh.statistics.crossed import Effect, effect, joint_draws, pareto_probabilities

if TYPE_CHECKING:
    from pandas import DataFrame

NONE = "none"
"""The method that trains nothing: its changes are the noise."""


def analyze_study(name: str, runs: Sequence[FinishedRun], missing: int, table: DataFrame) -> StudyResults:
    """Return what a study found out.

    Args:
        name: the study's.
        runs: the finished ones.
        missing: how many are not.
        table: their changes (`long_table`).
    """
    effects = _effects(table)
    cells = _cells(table)
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
            )
            for run in runs
        ),
        missing=missing,
        contrasts=len(effects),
        effects=tuple(sorted(effects, key=lambda row: (row.start, row.domain, row.family, row.category, row.change))),
        answers=answers(runs, cells, effects, by_run(table)),
        trade_offs=_trade_offs(cells),
        matched=_matched(runs),
        shares=_shares(runs, by_run(table)),
        turning=_turning(table),
        recommendations=recommend(_candidates(runs, cells)),
    )


def _effects(table: DataFrame) -> list[EffectRecord]:
    """Return the change of every method from every start in every domain: by family, benchmark and category."""
    found: list[tuple[dict[str, str], Effect]] = []
    for key, part in table.groupby(["start", "domain", "method", "family"], sort=True):
        start, domain, method, family = map(str, key)
        cell = {"start": start, "domain": domain, "method": method, "family": family}
        found.append(({**cell, "category": ""}, effect(scores_of(part))))
        for benchmark, rows in part.groupby("benchmark", sort=True):
            found.append(({**cell, "category": str(benchmark)}, effect(scores_of(rows))))
            categories = [each for each in rows["category"].unique() if each]
            if len(categories) > 1:
                for category in sorted(categories):
                    inside = rows[rows["category"] == category]
                    found.append(({**cell, "category": f"{benchmark}: {category}"}, effect(scores_of(inside))))
    adjusted = adjust([each.p_value for _, each in found])
    return [_record(cell, each, p) for (cell, each), p in zip(found, adjusted, strict=True)]


def _record(cell: Mapping[str, str], each: Effect, p_adjusted: float) -> EffectRecord:
    low, high = each.interval()
    return EffectRecord(
        **cell,
        change=each.mean,
        low=low,
        high=high,
        p_value=each.p_value,
        p_adjusted=p_adjusted,
        seeds=each.seeds,
        documents=each.documents,
        seed_error=each.seed_error,
        document_error=each.document_error,
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
            found.append(
                TradeOff(
                    method=name,
                    against=other,
                    gain=effect(gains[name]).mean,
                    change=effect(cells[name, other]).mean,
                    pareto=share,
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


def _shares(runs: Sequence[FinishedRun], changes: Mapping[str, Mapping[str, float]]) -> tuple[Share, ...]:
    """Return the shares of the sum of squares of the trained runs' changes, one source after the other (type I)."""
    found = []
    trained = [run for run in runs if run.method != NONE and run.name in changes]
    for family in sorted({name for run in trained for name in changes[run.name]}):
        rows = [run for run in trained if family in changes[run.name]]
        values = np.array([changes[run.name][family] for run in rows])
        total = float(((values - values.mean()) ** 2).sum()) if len(rows) > 1 else 0.0
        if total == 0:
            continue
        sources = {
            "method": [run.method for run in rows],
            "hyper-parameter": [run.label for run in rows],
            "domain": [run.domain for run in rows],
            "start": [run.start for run in rows],
            "seed": [str(run.seed) for run in rows],
        }
        design = np.ones((len(rows), 1))
        left = total
        for source, levels in sources.items():
            dummies = np.array([[float(level == each) for each in sorted(set(levels))] for level in levels])
            design = np.hstack([design, dummies])
            fitted = design @ np.linalg.lstsq(design, values, rcond=None)[0]
            rest = float(((values - fitted) ** 2).sum())
            found.append(Share(family=family, source=source, share=max(0.0, left - rest) / total))
            left = min(left, rest)
        found.append(Share(family=family, source="rest", share=left / total))
    return tuple(found)


def _turning(table: DataFrame) -> tuple[str, ...]:
    """Name the changes whose direction is not that of every seed."""
    said = []
    for key, part in table.groupby(["start", "domain", "method", "family"], sort=True):
        by_seed = part.groupby(["seed", "benchmark"])["change"].mean().groupby("seed").mean()
        if len(by_seed) > 1 and by_seed.min() < 0 < by_seed.max():
            figures = ", ".join(f"seed {seed} {100 * value:+.1f}" for seed, value in by_seed.items())
            start, domain, method, family = map(str, key)
            said.append(f"{method} on {domain} from {start} turns with the seed in {family} (points): {figures}.")
    return tuple(said)


def _candidates(runs: Sequence[FinishedRun], cells: Cells) -> list[Candidate]:
    seconds: dict[str, list[float]] = defaultdict(list)
    for run in runs:
        if run.method != NONE:
            seconds[run.label].append(summarize(run.results).device_seconds)
    return [
        Candidate(
            method=method,
            effects={family: effect(scores) for (other, family), scores in cells.items() if other == method},
            device_seconds=float(np.mean(took)),
        )
        for method, took in seconds.items()
    ]
