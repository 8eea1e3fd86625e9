"""Logs of other tools, fuzzed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import strategies as st
from pfh.commands.compare import compare
from pfh.commands.requests import CompareSpec
from pfh.progress import Silent
from pfh.registry.plugins import Plugins
from pfh.store.store import Store

from tests.fuzz.files import ABOUT, RESULTS, ROWS, SAMPLES, TABLE, comma_separated, lines_of, packed, parquet, write
from tests.fuzzing import archive, changed, damaged, folder, json_bytes, json_file, json_lines
from tests.test_readers import inspect_log


def inspect_members() -> dict[str, Any]:
    log = inspect_log({name: [{"match": "C"}] for name in "abc"}, metrics=[("match", "match", "accuracy", 1.0)])
    samples = {f"samples/{each['id']}_epoch_1.json": each for each in log.pop("samples")}
    return {"header.json": log, **samples}


EVALPLUS = {
    "eval": {f"HumanEval/{i}": [{"solution": "x", "base_status": "pass", "plus_status": "fail"}] for i in range(2)}
}
HELM = [
    {"instance_id": f"id{i}", "stats": [{"name": {"name": "exact_match", "split": "test"}, "mean": 1.0}]}
    for i in range(2)
]
HELM_SPEC = {"name": "mmlu:subject=law,model=m", "adapter_spec": {"model": "org/m"}}
OLMES = [{"doc_id": i, "native_id": f"n{i}", "metrics": {"acc_raw": i, "num_tokens": 3}} for i in range(2)]
LIGHTEVAL = [{"doc": {"query": f"q{i}", "id": str(i)}, "metric": {"acc": float(i)}} for i in range(2)]

DETAILS = "details/org/m/2025-05-06T07-08-09.000001/details_lighteval|arc|0_2025-05-06T07-08-09.000001.parquet"
LOGS: dict[str, tuple[dict[str, bytes], dict[str, st.SearchStrategy[bytes]]]] = {
    "lm-eval": (
        {SAMPLES: lines_of(ROWS), RESULTS: json_bytes(ABOUT)},
        {SAMPLES: json_lines(ROWS), RESULTS: json_file(ABOUT)},
    ),
    "inspect": (
        {"1.eval": packed(inspect_members()), "2.json": json_bytes(inspect_log({"a": [{"match": "C"}]}, task="facts"))},
        {"1.eval": archive(inspect_members()), "2.json": json_file(inspect_log({"a": [{"match": "C"}]}, task="facts"))},
    ),
    "table": ({"t.jsonl": lines_of(TABLE)}, {"t.jsonl": json_lines(TABLE)}),
    "table-csv": ({"t.csv": comma_separated(TABLE)}, {"t.csv": damaged(comma_separated(TABLE))}),
    "table-parquet": (
        {"t.parquet": parquet(TABLE)},
        {"t.parquet": st.one_of(changed(TABLE).map(parquet), damaged(parquet(TABLE)))},
    ),
    "evalplus": ({"m_eval_results.json": json_bytes(EVALPLUS)}, {"m_eval_results.json": json_file(EVALPLUS)}),
    "helm": (
        {"per_instance_stats.json": json_bytes(HELM), "run_spec.json": json_bytes(HELM_SPEC)},
        {"per_instance_stats.json": json_file(HELM), "run_spec.json": json_file(HELM_SPEC)},
    ),
    "olmes": (
        {"task-000-arc-predictions.jsonl": lines_of(OLMES)},
        {"task-000-arc-predictions.jsonl": json_lines(OLMES)},
    ),
    "lighteval": (
        {DETAILS: parquet(LIGHTEVAL)},
        {DETAILS: st.one_of(changed(LIGHTEVAL).map(parquet), damaged(parquet(LIGHTEVAL)))},
    ),
}


@pytest.mark.parametrize("name", LOGS)
def test_logs(name: str, tmp_path: Path, fuzzed: Callable[..., None]) -> None:
    valid, strategies = LOGS[name]
    whole, plugins, reader = (
        write(tmp_path / "whole", valid),
        Plugins(),
        name.partition("-csv")[0].partition("-parq")[0],
    )

    def read(files: Mapping[str, bytes]) -> None:
        log = write(tmp_path / "log", files)
        target = next(iter(log.rglob("t.*"))) if reader == "table" and files else log
        first = next(iter(whole.rglob("t.*"))) if reader == "table" else whole
        spec = CompareSpec(models=(f"{reader}:{first}", f"{reader}:{target}"))
        store = Store(write(tmp_path / "store", {}))
        compare(spec, plugins=plugins, store=store, progress=Silent(), output=tmp_path / "out")

    fuzzed(read, valid, folder(strategies, valid))
