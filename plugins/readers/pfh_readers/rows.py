"""Evaluations from rows of (benchmark, metric, id, score), as most tools have them."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path

from pfh.errors import UserError
from pfh.hooks.evaluation import Benchmark, Evaluation
from pfh.hooks.readers import Log
from pfh.hooks.samples import Sample
from pfh.text import printable

from pfh_readers.lines import Skipped
from pfh_readers.names import clean
from pfh_readers.scores import finite


@dataclasses.dataclass(frozen=True, kw_only=True)
class Scores:
    """One document with its scores by metric."""

    benchmark: str
    sample: Sample
    values: Mapping[str, object]


def sample(
    document: str,
    *,
    prompt: str = "",
    completion: str = "",
    target: str | None = None,
    category: str = "",
    choices: int | None = None,
) -> Sample:
    """Return a sample without a score; its prompt is hashed where there is one."""
    told = hashlib.sha256(prompt.encode("utf-8", "replace")).hexdigest() if prompt else ""
    return Sample(
        id=document,
        benchmark="",
        category=clean(category),
        prompt=prompt,
        completion=completion,
        target=target,
        score=None,
        choices=choices,
        extra={"prompt_hash": told} if told else {},
    )


def log_of(
    path: Path,
    family: str,
    model: str,
    rows: Iterable[Scores],
    skipped: Skipped,
    *,
    directions: Mapping[str, bool],
    settings: Mapping[str, Mapping[str, str]] | None = None,
) -> Log:
    """Return the log of `rows`: a benchmark for every metric; the first of several has the name alone.

    Raises:
        UserError: there is no row.
    """
    measures: dict[tuple[str, str], dict[str, Sample]] = {}
    repeated: dict[str, int] = {}
    for row in rows:
        for metric, value in row.values.items():
            samples = measures.setdefault((row.benchmark, metric), {})
            if row.sample.id in samples:
                repeated[row.benchmark] = repeated.get(row.benchmark, 0) + 1
                continue
            samples[row.sample.id] = dataclasses.replace(row.sample, score=finite(value))
    if not measures:
        raise UserError(f"{path} holds no document with a score. {' '.join(skipped.lines)}".rstrip())
    for benchmark, count in repeated.items():
        skipped.say(f"{clean(benchmark)}: {count} scores of documents that were there already; the first counts")
    benchmarks: list[Benchmark] = []
    first: dict[str, str] = {}
    for (benchmark, metric), samples in measures.items():
        name = clean(f"{benchmark} [{metric}]" if benchmark in first else benchmark)
        missing = sum(each.score is None for each in samples.values())
        if missing:
            skipped.say(f"{name}: {missing} of {len(samples)} documents have no finite score")
        benchmarks.append(
            Benchmark(
                name=name,
                identity=clean(f"{benchmark} [{metric}]"),
                version="1",
                metric=clean(metric),
                higher_is_better=directions.get(metric),
                source=f"{family} log",
                same_documents_as=first.get(benchmark, ""),
                samples=tuple(dataclasses.replace(each, benchmark=name) for each in samples.values()),
            )
        )
        first.setdefault(benchmark, name)
    by_benchmark = settings or {}
    return Log(
        model=clean(model),
        evaluations=(Evaluation(family=family, benchmarks=tuple(benchmarks)),),
        settings={each.name: by_benchmark.get(each.identity.rpartition(" [")[0], {}) for each in benchmarks},
        notes=tuple(printable(line, lines=False) for line in skipped.lines),
    )
