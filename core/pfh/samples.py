"""Samples: the unit that every figure is computed from, and how they are kept."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

SampleStatus = Literal["ok", "format_failure", "truncated", "refused", "error"]
SAMPLE_STATUSES: tuple[SampleStatus, ...] = get_args(SampleStatus)


@dataclass(frozen=True, kw_only=True, slots=True)
class Sample:
    """One document of a benchmark, put to one model."""

    id: str
    """Stable: a hash of the benchmark, its version and the document's content (`sample_id`)."""
    benchmark: str
    category: str = ""
    prompt: str
    """The rendered text that the model was fed."""
    completion: str
    extracted: str | None = None
    """What the extractor took out of the completion: the answer, or the judge's label."""
    target: str | None = None
    score: float | None
    """The benchmark's metric on this sample; None where it could not be scored."""
    status: SampleStatus = "ok"
    choices: int | None = None
    """Number of options of a multiple-choice document; None for free text."""
    tokens: int | None = None
    """Length of the completion in tokens."""
    extra: Mapping[str, Any] = field(default_factory=dict)
    """Anything else that a later figure needs, as JSON.

    "user_prompt" is the document's own text, for the contamination check: no chat template, no worked examples.
    """


def sample_id(benchmark: str, version: str, document: Mapping[str, Any]) -> str:
    """Return the stable id of `document`: 16 hexadecimal digits of a SHA-256 over its content."""
    text = json.dumps([benchmark, version, document], sort_keys=True, ensure_ascii=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def write_samples(path: Path, samples: Sequence[Sample]) -> None:
    """Write `samples` as one Parquet table, a column a field, in the order given."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    types = {"score": pa.float64(), "choices": pa.int64(), "tokens": pa.int64()}
    encode = json.JSONEncoder(default=str).encode
    columns: dict[str, Any] = {}
    for field_ in dataclasses.fields(Sample):
        values = [getattr(sample, field_.name) for sample in samples]
        if field_.name == "extra":
            values = [encode(dict(extra)) for extra in values]
        kind = types.get(field_.name, pa.string())
        try:
            columns[field_.name] = pa.array(values, kind)
        except UnicodeEncodeError:  # lone surrogates cannot be stored
            columns[field_.name] = pa.array([_storable(value) for value in values], kind)
    pq.write_table(pa.table(columns), path)


def read_samples(path: Path) -> tuple[Sample, ...]:
    """Read what `write_samples` wrote."""
    import pyarrow.parquet as pq

    table = pq.read_table(path)
    columns = {name: table.column(name).to_pylist() for name in table.column_names}
    columns["extra"] = [json.loads(extra) for extra in columns["extra"]]
    return tuple(Sample(**dict(zip(columns, values, strict=True))) for values in zip(*columns.values(), strict=True))


def _storable(text: str | None) -> str | None:
    return text if text is None else text.encode("utf-8", "replace").decode()
