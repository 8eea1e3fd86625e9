"""Plain tables with an id and a score in every row: CSV, TSV, JSON lines or Parquet."""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pfh import hookimpl
from pfh.errors import UserError, did_you_mean
from pfh.hooks.evaluation import Benchmark, Evaluation
from pfh.hooks.readers import Log
from pfh.hooks.samples import Sample
from pfh.text import printable
from pydantic import BaseModel, ConfigDict, Field

from pfh_readers.lines import LONGEST_LINE, Skipped, is_array, opened, plain_name, read_lines
from pfh_readers.names import clean
from pfh_readers.scores import finite

if TYPE_CHECKING:
    from pfh.hooks.readers import LogSpec

FAMILY = "table"
_FORMS = (".csv", ".tsv", ".json", ".jsonl", ".ndjson", ".parquet")

USUAL: Mapping[str, tuple[str, ...]] = {
    "id": ("id", "sample_id", "question_id", "doc_id", "instance_id", "task_id", "example_id", "qid", "key", "index"),
    "score": ("score", "correct", "is_correct", "accuracy", "acc", "exact_match", "passed", "pass", "reward"),
    "benchmark": ("benchmark", "task", "dataset", "eval"),
    "category": ("category", "subject", "subset", "topic"),
    "prompt": ("prompt", "question", "input", "query"),
    "completion": ("completion", "response", "output", "generation", "prediction"),
    "target": ("target", "reference", "gold", "expected", "ground_truth"),
    "prompt_hash": ("prompt_hash",),
    "cluster": ("cluster", "cluster_id", "group_id", "passage_id"),
}
"""What columns are usually called; the first that is there is taken."""

GOOD = ("correct", "is_correct", "accuracy", "acc", "exact_match", "passed", "pass")
"""Names of scores of which more is better, whoever writes them."""


class Options(BaseModel):
    """Which column is what."""

    model_config = ConfigDict(extra="forbid")

    id: str = Field(default="", description="column of the document's id; by its usual names where it is not given")
    score: str = Field(default="", description="column of the score")
    benchmark: str = Field(default="", description="column of the benchmark; without one all rows are of one")
    category: str = Field(default="", description="column of the document's category")
    prompt: str = Field(default="", description="column of the prompt")
    completion: str = Field(default="", description="column of what the model wrote")
    target: str = Field(default="", description="column of the right answer")
    prompt_hash: str = Field(default="", description="column of a hash of the prompt, where that itself is not there")
    cluster: str = Field(default="", description="column of what documents have in common that belong together")
    higher_is_better: bool | None = Field(default=None, description="direction of the score, where one is good")


@hookimpl
def options() -> type[Options]:
    """Name the options."""
    return Options


@hookimpl
def read_log(spec: LogSpec) -> Log | None:
    """Read one table; a file without an id and a score is left to others unless the user calls it a table."""
    files = _tables(spec)
    chosen = spec.options if isinstance(spec.options, Options) else Options()
    notes: list[str] = []
    benchmarks: list[Benchmark] = []
    for file in files:
        skipped = Skipped()
        rows = _rows(file, skipped)
        first = next(rows, None)
        if first is None:
            if spec.named:
                raise UserError(f"{file} holds no row{f': {skipped.lines[0]}' if skipped.lines else ''}.")
            return None
        columns = _columns(file, list(first[1]), chosen)
        if not spec.named and not {"id", "score"} <= columns.keys():
            return None
        _check(file, list(first[1]), columns)
        named = FAMILY if len(files) == 1 else clean(_stem(file))
        benchmarks += _benchmarks(file, first, rows, columns, chosen, skipped, named)
        told = ", ".join(f"{what} from {column!r}" for what, column in columns.items())
        notes += [f"{file.name}: {told}; others by -o table.WHAT=COLUMN", *skipped.lines]
    names = [benchmark.name for benchmark in benchmarks]
    twice = next((name for name in names if names.count(name) > 1), "")
    if twice:
        raise UserError(f"{spec.path} holds {twice} in several tables: name one of them.")
    if not benchmarks:
        return None
    return Log(
        model=clean(_stem(spec.path)),
        evaluations=(Evaluation(family=FAMILY, benchmarks=tuple(benchmarks)),),
        settings={},
        notes=tuple(printable(note, lines=False) for note in notes),
    )


def _tables(spec: LogSpec) -> list[Path]:
    """Return the tables of a log: the one file, or a folder of nothing but CSV and TSV; of any form if it is named."""
    if spec.path.is_file():
        return [spec.path] if _suffix(spec.path) in _FORMS else []
    if spec.named:
        return [file for file in spec.files if _suffix(file) in _FORMS]
    return list(spec.files) if all(_suffix(file) in (".csv", ".tsv") for file in spec.files) else []


def _suffix(file: Path) -> str:
    return Path(plain_name(file)).suffix.lower()


def _stem(file: Path) -> str:
    return Path(plain_name(file)).stem if _suffix(file) in _FORMS else file.resolve().name


def _rows(file: Path, skipped: Skipped) -> Iterator[tuple[int, Mapping[str, Any]]]:
    if _suffix(file) in (".jsonl", ".ndjson") or (_suffix(file) == ".json" and is_array(file)):
        yield from read_lines(file, skipped)
    elif _suffix(file) == ".json":
        return
    elif _suffix(file) == ".parquet":
        yield from _parquet_rows(file)
    else:
        yield from _csv_rows(file)


def _csv_rows(file: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    csv.field_size_limit(LONGEST_LINE)
    with io.TextIOWrapper(opened(file), encoding="utf-8-sig", errors="replace", newline="") as stream:
        head = stream.readline(LONGEST_LINE)
        stream.seek(0)
        delimiter = max(",;\t", key=head.count)
        try:
            for row in (reader := csv.DictReader(stream, delimiter=delimiter)):
                yield reader.line_num, {name: value for name, value in row.items() if isinstance(name, str)}
        except (csv.Error, EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise UserError(f"{file} is no table: line {reader.line_num + 1} cannot be read.") from error


def _parquet_rows(file: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    number = 0
    try:
        for batch in pq.ParquetFile(file).iter_batches():
            for row in batch.to_pylist():
                number += 1
                yield number, row
    except (pa.ArrowInvalid, OSError) as error:
        raise UserError(f"{file} is no Parquet file, or is cut off.") from error


def _columns(file: Path, names: list[str], options: Options) -> dict[str, str]:
    """Return what is read to the column that it is read from."""
    plain = {name.strip().lower(): name for name in reversed(names)}
    columns = {}
    for what, usual in USUAL.items():
        given = getattr(options, what)
        if given and given not in names:
            raise UserError(
                f"{file} has no column {given!r} for -o table.{what}.{did_you_mean(given, names)} "
                f"It has {', '.join(names)}."
            )
        found = given or next((plain[name] for name in usual if name in plain), "")
        if found:
            columns[what] = found
    return columns


def _check(file: Path, names: list[str], columns: Mapping[str, str]) -> None:
    for what in ("id", "score"):
        if what not in columns:
            raise UserError(
                f"{file} has no column that is called as {what}s are: name it with -o table.{what}=COLUMN. "
                f"It has {', '.join(names)}."
            )


def _benchmarks(
    file: Path,
    first: tuple[int, Mapping[str, Any]],
    rows: Iterator[tuple[int, Mapping[str, Any]]],
    columns: Mapping[str, str],
    options: Options,
    skipped: Skipped,
    named: str,
) -> tuple[Benchmark, ...]:
    samples: dict[str, list[Sample]] = {}
    seen: dict[tuple[str, str], int] = {}
    for number, row in _chained(first, rows):
        found = {what: row.get(column) for what, column in columns.items()}
        if found["id"] in (None, ""):
            skipped.at(file, number, "has no id")
            continue
        name = clean(_text(found.get("benchmark")) or named)
        key = (name, _text(found["id"]))
        if key in seen:
            skipped.at(file, number, f"repeats id {clean(key[1])} of line {seen[key]}")
            continue
        seen[key] = number
        samples.setdefault(name, []).append(_sample(name, found))
    for name, of_one in samples.items():
        missing = sum(sample.score is None for sample in of_one)
        if missing:
            skipped.say(f"{name}: {missing} of {len(of_one)} documents have no finite score")
    metric = columns["score"]
    direction = True if options.higher_is_better is None and metric.lower() in GOOD else options.higher_is_better
    return tuple(
        Benchmark(
            name=name,
            version="1",
            metric=clean(metric),
            higher_is_better=direction,
            source=clean(f"table, column {metric}"),
            samples=tuple(of_one),
        )
        for name, of_one in samples.items()
    )


def _chained(
    first: tuple[int, Mapping[str, Any]], rows: Iterator[tuple[int, Mapping[str, Any]]]
) -> Iterator[tuple[int, Mapping[str, Any]]]:
    yield first
    yield from rows


def _sample(benchmark: str, found: Mapping[str, Any]) -> Sample:
    prompt, told = _text(found.get("prompt")), _text(found.get("prompt_hash"))
    if prompt and not told:
        told = hashlib.sha256(prompt.encode("utf-8", "replace")).hexdigest()
    return Sample(
        id=_text(found["id"]),
        benchmark=benchmark,
        category=clean(_text(found.get("category"))),
        prompt=prompt,
        completion=_text(found.get("completion")),
        target=_text(found["target"]) if found.get("target") is not None else None,
        score=finite(found.get("score")),
        cluster=_text(found.get("cluster")),
        extra={"prompt_hash": told} if told else {},
    )


def _text(value: object) -> str:
    return "" if value is None else value if isinstance(value, str) else str(value)
