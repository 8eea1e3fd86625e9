"""Results as a data frame, for notebooks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from pfh.hooks.comparison import Comparison
from pfh.statistics.single import Measurement

if TYPE_CHECKING:
    from pandas import DataFrame

    from pfh.results.records import RunResults


def frame(results: RunResults, *, categories: bool = False) -> DataFrame:
    """Return `results` with a row a benchmark, or a category of one."""
    import pandas as pd

    rows: list[dict[str, Any]] = []
    for number, stage in enumerate(results.stages, start=1):
        models = {"model_before": stage.before.name, "model_after": stage.after.name}
        for family in stage.families:
            told = {"stage": number, "method": stage.method, **models, "family": family.family}
            rows += [told | figures for row in family.comparisons for figures in _figures(row, categories)]
    for model in results.measured:
        for measured in model.families:
            told = {"model": model.model.name, "family": measured.family}
            rows += [told | figures for row in measured.benchmarks for figures in _figures(row, categories)]
    return pd.DataFrame(rows)


def _figures(row: Comparison | Measurement, categories: bool) -> Iterator[dict[str, Any]]:
    figures = asdict(row)
    by_category = figures.pop("categories")
    if not categories:
        yield figures
        return
    for category in by_category:
        yield {"benchmark": row.benchmark, "metric": row.metric, **category}
