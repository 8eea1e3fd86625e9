"""Evaluations and their samples as files."""

from __future__ import annotations

import dataclasses
import gc
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pfh.errors import content_of, reading
from pfh.hooks.evaluation import Benchmark, Evaluation
from pfh.hooks.samples import Sample

if TYPE_CHECKING:
    from numpy.typing import NDArray


_DESCRIPTION = tuple(each.name for each in fields(Benchmark) if each.name != "samples")


_ARRAYS = "arrays.safetensors"


def write_evaluation(folder: Path, evaluation: Evaluation) -> None:
    """Write benchmarks.json (all but the samples), samples.parquet and the arrays, if any, into `folder`."""
    described = [{name: getattr(benchmark, name) for name in _DESCRIPTION} for benchmark in evaluation.benchmarks]
    about = {"family": evaluation.family, "model": evaluation.model, "reference": evaluation.reference}
    (folder / "benchmarks.json").write_text(json.dumps({**about, "benchmarks": described}, indent=1))
    write_samples(folder / "samples.parquet", [s for benchmark in evaluation.benchmarks for s in benchmark.samples])
    if evaluation.arrays:
        from numpy import ascontiguousarray
        from safetensors.numpy import save_file

        save_file({name: ascontiguousarray(array) for name, array in evaluation.arrays.items()}, folder / _ARRAYS)


def read_evaluation(folder: Path) -> Evaluation:
    """Read what `write_evaluation` wrote.

    Raises:
        UserError: the folder holds something else, as a store from elsewhere may.
    """
    with reading(f"The evaluation in {folder}", "remove that folder, and what needs it is measured again"):
        return _read_evaluation(folder)


def _read_evaluation(folder: Path) -> Evaluation:
    from pydantic import TypeAdapter

    samples: dict[str, list[Sample]] = {}
    for sample in read_samples(folder / "samples.parquet"):
        samples.setdefault(sample.benchmark, []).append(sample)
    stored = json.loads(content_of(folder / "benchmarks.json"))
    described = TypeAdapter(list[Benchmark]).validate_python(stored["benchmarks"])
    benchmarks = tuple(dataclasses.replace(each, samples=tuple(samples.get(each.name, ()))) for each in described)
    return Evaluation(
        family=str(stored["family"]),
        benchmarks=benchmarks,
        arrays=_read_arrays(folder / _ARRAYS),
        model=str(stored.get("model", "")),
        reference=str(stored.get("reference", "")),
    )


def _read_arrays(file: Path) -> dict[str, NDArray[Any]]:
    if not file.exists():
        return {}
    from safetensors.numpy import load_file

    return dict(load_file(file))


@contextmanager
def without_garbage_collection() -> Iterator[None]:
    """Look for no garbage cycles within: while many objects are made that all stay, each look costs and finds none."""
    running = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if running:
            gc.enable()


def write_samples(path: Path, samples: Sequence[Sample]) -> None:
    """Write `samples` as one Parquet table, a column a field, in the order given."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    types = _column_types()
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
    """Read what `write_samples` wrote.

    Raises:
        ValueError: it is something else.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    table, types = pq.read_table(path), _column_types()
    for name in table.column_names:
        if table.schema.field(name).type != types.get(name, pa.string()):
            raise ValueError(f"the column {name} of {path.name} holds no {types.get(name, pa.string())}")
    columns = {name: table.column(name).to_pylist() for name in table.column_names}
    columns["extra"] = [json.loads(extra) for extra in columns["extra"]]
    return tuple(Sample(**dict(zip(columns, values, strict=True))) for values in zip(*columns.values(), strict=True))


def _column_types() -> dict[str, Any]:
    """Return the types of the columns that are no text."""
    import pyarrow as pa

    return {"score": pa.float64(), "choices": pa.int64(), "tokens": pa.int64()}


def _storable(text: str | None) -> str | None:
    return text if text is None else text.encode("utf-8", "replace").decode()
