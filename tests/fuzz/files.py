"""Valid files that the fuzzing tests change, and the way in which they are written."""

from __future__ import annotations

import csv
import io
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pfh.hooks.backends import EngineSpec, GenerationRequest, Sampling
from pfh.progress import Silent
from pfh.sources.models import resolve
from pfh_backends.hf.engine import HfEngine

from tests.fuzzing import json_bytes
from tests.test_readers import line, results

ROWS = [line(i, float(i < 2)) for i in range(3)]
ABOUT = results({"sums": {"acc,none": 0.67}})
SAMPLES, RESULTS = "samples_sums_2025-05-06T07-08-09.000001.jsonl", "results_2025-05-06T07-08-09.000001.json"


def lines_of(rows: list[Any]) -> bytes:
    return b"".join(json_bytes(row) + b"\n" for row in rows)


def write(place: Path, files: Mapping[str, bytes]) -> Path:
    """Make `place` a folder of just these files."""
    shutil.rmtree(place, ignore_errors=True)
    for name, content in files.items():
        file = place / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
    return place


def packed(members: Mapping[str, Any]) -> bytes:
    import zipfile

    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as file:
        for name, value in members.items():
            file.writestr(name, json.dumps(value))
    return stream.getvalue()


def parquet(rows: Any) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    stream = io.BytesIO()
    try:
        pq.write_table(pa.Table.from_pylist(rows), stream)
    except (pa.ArrowException, TypeError, ValueError, AttributeError, OverflowError):
        stream = io.BytesIO()
        pq.write_table(pa.Table.from_pylist([{"text": str(rows)[:1000]}]), stream)
    return stream.getvalue()


def comma_separated(rows: list[dict[str, Any]]) -> bytes:
    stream = io.StringIO()
    writer = csv.DictWriter(stream, list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
    return stream.getvalue().encode()


TABLE = [{"question_id": f"q{i}", "correct": i < 2, "subject": "odd", "answer": "x"} for i in range(3)]


CONTRACT: dict[str, Any] = {
    "contract": 1,
    "for": {"stages": []},
    "may_change": ["lm-eval/*"],
    "must_hold": [{"what": "*", "margin": "2pp", "category": "worst"}],
    "must_improve": [{"what": "lm-eval/sums", "by": 0.01}],
    "must_stay": [{"what": "*", "within": "5pp"}],
    "floors": [{"what": "*", "at_least": 0.5}],
    "otherwise": "report",
    "undecided": "warn",
}


def contract_file(place: Path, content: Any) -> Path:
    file = place / "contract.yaml"
    file.write_bytes(content if isinstance(content, bytes) else json_bytes(content))
    return file


def put(place: Path, source: Path, name: str, content: bytes) -> Path:
    """Return `place`: a folder that links to the files of `source`, but for one of its own."""
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir()
    for file in source.iterdir():
        if file.name != name:
            (place / file.name).symlink_to(file)
    (place / name).write_bytes(content)
    return place


def answer(model: Path) -> None:
    """Load a model and let it write two tokens."""
    checkpoint = resolve(str(model), cache_dir=model.parent / "cache")
    engine = HfEngine(EngineSpec(checkpoint=checkpoint, dtype="float32", progress=Silent()))
    request = GenerationRequest(id="0", messages=({"role": "user", "content": "Hi there"},))
    engine.generate([request], Sampling(max_new_tokens=2))
    engine.close()
