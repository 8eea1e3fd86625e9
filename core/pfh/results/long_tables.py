"""Long tables: the single values behind a family's tables and plots, as Parquet beside the results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pfh.hooks.tables import LongTable, Value
from pfh.results.records import RunResults
from pfh.text import json_ready

FOLDER = "tables"


LongTables = Mapping[tuple[int, str], Sequence[LongTable]]
"""(Index of the stage, family) to what its analysis left."""


def write_long_tables(folder: Path, results: RunResults, tables: LongTables) -> None:
    """Write FOLDER/FAMILY-NAME.parquet for every table; those of all stages are in one file.

    The first columns are `stage`, counted from 1, and `model_before` and `model_after`, as the results name them.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    parts: dict[str, list[Any]] = {}
    for (number, family), found in tables.items():
        stage = results.stages[number]
        for table in found:
            rows = max((len(values) for values in table.columns.values()), default=0)
            told: dict[str, Sequence[Value]] = {
                "stage": [number + 1] * rows,
                "model_before": [stage.before.name] * rows,
                "model_after": [stage.after.name] * rows,
            }
            columns = {
                name: [json_ready(value) for value in values] for name, values in {**told, **table.columns}.items()
            }
            parts.setdefault(f"{family}-{table.name}", []).append(pa.table(columns))
    for name, each in parts.items():
        (folder / FOLDER).mkdir(exist_ok=True)
        whole = pa.concat_tables(each, promote_options="permissive")
        pq.write_table(whole, folder / FOLDER / f"{name}.parquet", compression="zstd")
