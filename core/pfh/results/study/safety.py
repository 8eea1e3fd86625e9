"""Safety over the runs of a study: what each method eroded, by benchmark, harm and attack, and at what gain of help."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from pfh.hooks.evaluation import Evaluation
from pfh.kit.harm_categories import given
from pfh.results.study.changes import FinishedRun, scores_of
from pfh.results.study.records import ErosionRecord, HelpfulnessRecord
from pfh.statistics.adjustment import adjust
from pfh.statistics.crossed import Effect, Scores, effect
from pfh.statistics.erosion import LEAST_PROMPTS, together

if TYPE_CHECKING:
    from pandas import DataFrame

COLUMNS = [
    *("start", "method", "domain", "seed", "benchmark", "attack", "harmful", "harm", "document", "before", "change"),
]
BENIGN = "benign prompts"


def safety_table(runs: Iterable[FinishedRun], read: Callable[[str], Evaluation | None]) -> DataFrame:
    """Return a row a run and prompt, under each attack: what the model gave before, and the change, above 0 the worse.

    Args:
        runs: finished ones; of each the last stage counts.
        read: returns the stored evaluation of a key.
    """
    import pandas as pd

    rows: list[dict[str, object]] = []
    for run in runs:
        for record in run.results.stages[-1].families:
            before, after = read(record.before_artifact), read(record.after_artifact)
            if record.family != "safety" or before is None or after is None:
                continue
            rows += [
                {
                    "start": run.start,
                    "method": run.label,
                    "domain": run.domain,
                    "seed": run.seed,
                    "benchmark": each.benchmark,
                    "attack": each.attack,
                    "harmful": each.harmful,
                    "harm": each.domain,
                    "document": each.document,
                    "before": each.before,
                    "change": each.after - each.before,
                }
                for each in given(before, after)
            ]
    return pd.DataFrame(rows, columns=COLUMNS)


def erosion(table: DataFrame) -> tuple[ErosionRecord, ...]:
    """Return every method's cells: benchmarks and domains of harm by attacks, p-values adjusted over all of them."""
    found: list[tuple[tuple[str, str, str], float, Effect]] = []
    harmful = table[table["harmful"].astype(bool)]
    for column in ("benchmark", "harm"):
        named = harmful[harmful[column] != ""]
        for (method, what, attack), part in named.groupby(["method", column, "attack"], sort=True):
            found.append(((str(method), str(what), str(attack)), float(part["before"].mean()), effect(_scores(part))))
    tested = [each for _, _, each in found if each.documents >= LEAST_PROMPTS]
    adjusted = iter(adjust([each.p_value for each in tested]))
    records = []
    for (method, what, attack), before, each in found:
        low, high = each.interval()
        records.append(
            ErosionRecord(
                method=method,
                what=what,
                attack=attack,
                before=before,
                change=each.mean,
                low=low,
                high=high,
                prompts=each.documents,
                p_adjusted=next(adjusted) if each.documents >= LEAST_PROMPTS else None,
            )
        )
    return tuple(records)


def helpfulness(table: DataFrame) -> tuple[HelpfulnessRecord, ...]:
    """Return every method's arrow: harmful prompts it gives in to against benign ones it refuses, direct requests."""
    direct = table[table["attack"] == "direct"]
    found = []
    for method, part in direct.groupby("method", sort=True):
        sides = [part[part["harmful"].astype(bool)], part[~part["harmful"].astype(bool)]]
        if all(len(side) for side in sides):
            harm, refused = (effect(_scores(side)) for side in sides)
            (low, high), (refused_low, refused_high) = harm.interval(), refused.interval()
            found.append(
                HelpfulnessRecord(
                    method=str(method),
                    harm=harm.mean,
                    harm_low=low,
                    harm_high=high,
                    refused=refused.mean,
                    refused_low=refused_low,
                    refused_high=refused_high,
                    together=_quadrant([harm, refused]),
                )
            )
    return tuple(found)


def _scores(part: DataFrame) -> list[Scores]:
    """Return the changes of one cell, in which every benchmark under every attack counts equally."""
    return scores_of(part.assign(benchmark=part["benchmark"] + "+" + part["attack"], benchmark_category=""))


def _quadrant(effects: Sequence[Effect]) -> str:
    """Say where an arrow points, by intervals that leave 0 out."""
    signs = []
    for each in effects:
        low, high = each.interval()
        signs.append(1 if low > 0 else -1 if high < 0 else 0)
    return together(signs[0], signs[1])
