"""Inspect's logs as evaluations, without Inspect: one file, or a folder with a file a task.

What is measured is (task, scorer, key of its value, reducer of its epochs). The first of the results has the task's
name, the others say what tells them from it: "sums [judge]", "sums [judge, fluency]".
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

from pfh.errors import UserError
from pfh.hooks.evaluation import Benchmark, Evaluation
from pfh.hooks.readers import Log
from pfh.text import printable

from pfh_readers.inspect.archive import InspectFile, Json, open_log_file
from pfh_readers.inspect.scores import MEAN, Measured, measured, read_epochs
from pfh_readers.lines import Skipped
from pfh_readers.names import clean
from pfh_readers.values import listed, mapping

FAMILY = "inspect"
MEANS = ("accuracy", "mean")
"""Metrics of Inspect that are means over samples."""

_GENERATION = (
    *("temperature", "top_p", "top_k", "max_tokens", "stop_seqs", "system_message", "num_choices"),
    *("frequency_penalty", "presence_penalty", "reasoning_effort", "reasoning_tokens"),
)


def read_inspect(path: Path, files: Iterable[Path]) -> Log | None:
    """Read one model's logs, or return None where there are none. Of several logs of a task the newest counts.

    Raises:
        UserError: there are logs of several models, or no sample with a score.
    """
    skipped = Skipped()
    logs = _opened(path, [file for file in files if file.suffix in (".eval", ".json")], skipped)
    if not logs:
        return None
    models = sorted({_model(log) for log in logs})
    if len(models) > 1:
        raise UserError(f"{path} holds logs of {len(models)} models ({', '.join(models[:6])}): name one log or folder.")
    benchmarks: list[Benchmark] = []
    settings: dict[str, Mapping[str, str]] = {}
    for log in _newest(logs, skipped):
        rows = _log_benchmarks(log, skipped)
        benchmarks += rows
        settings |= {benchmark.name: _settings(log.header) for benchmark in rows}
    notes = tuple(printable(line, lines=False) for line in skipped.lines)
    if not benchmarks:
        raise UserError(
            f"{path} holds no sample with a score{f': {notes[0]}' if notes else ''}. Score it with inspect score, or "
            "run the evaluation to its end."
        )
    return Log(
        model=models[0],
        evaluations=(Evaluation(family=FAMILY, benchmarks=tuple(benchmarks)),),
        settings=settings,
        notes=notes,
    )


def _opened(path: Path, files: Sequence[Path], skipped: Skipped) -> list[InspectFile]:
    """Open every log; in a folder one that cannot be read is skipped, and JSON that is no log is left alone."""
    logs = []
    for file in files:
        try:
            log = open_log_file(file, skipped)
        except UserError as error:
            if file == path or (file.suffix == ".json" and not _looks_like_a_log(file)):
                if file.suffix == ".eval":
                    raise
                continue
            skipped.say(f"{error} It is skipped.")
            continue
        if log is not None and isinstance(log.header.get("eval"), Mapping):
            logs.append(log)
        elif file == path and file.suffix == ".eval":
            raise UserError(f"{path} is no log of Inspect: it does not say what was evaluated.")
    return logs


def _looks_like_a_log(file: Path) -> bool:
    with file.open("rb") as stream:
        start = stream.read(400)
    return b'"eval"' in start and b'"status"' in start


def _model(log: InspectFile) -> str:
    return clean(str(log.header["eval"].get("model") or log.file.stem))


def _task(header: Json) -> str:
    about = header["eval"]
    return str(about.get("task_display_name") or about.get("task") or "task").rpartition("/")[2]


def _newest(logs: Sequence[InspectFile], skipped: Skipped) -> list[InspectFile]:
    """Return the newest log of each task: a retry repeats the samples of the log before."""
    by_task: dict[str, list[InspectFile]] = {}
    for log in logs:
        by_task.setdefault(f"{_task(log.header)} {_arguments(log.header)}", []).append(log)
    chosen = []
    for several in by_task.values():
        several.sort(key=lambda log: (str(log.header["eval"].get("created") or ""), log.file.name))
        *older, last = _without_empty(several, skipped)
        for log in older:
            skipped.say(
                f"{log.file.name} ({sum(1 for _ in log.samples)} samples): there is a newer log of "
                f"{_task(log.header)}, {last.file.name}, which is read; to read the older one, name the file"
            )
        chosen.append(last)
    return chosen


def _without_empty(logs: Sequence[InspectFile], skipped: Skipped) -> list[InspectFile]:
    """Return the logs, oldest first, without the newest as long as those hold no sample, as after an early crash."""
    left = list(logs)
    while len(left) > 1:
        newest = left.pop()
        first = next(newest.samples, None)
        if first is not None:
            return [*left, replace(newest, samples=chain([first], newest.samples))]
        skipped.say(f"{newest.file.name} holds no sample, so an older log of {_task(newest.header)} is read")
    return left


def _log_benchmarks(log: InspectFile, skipped: Skipped) -> list[Benchmark]:
    header, name = log.header, log.file.name
    epochs, held = read_epochs(log, skipped)
    wanted = mapping(header["eval"].get("dataset")).get("samples")
    if header.get("status") != "success":
        skipped.say(f"{name}: the evaluation ended as {header.get('status', 'unknown')!r}")
    most = max((len(samples) for samples in epochs.values()), default=0)
    if isinstance(wanted, int) and most < wanted and not mapping(header["eval"].get("config")).get("limit"):
        skipped.say(f"{name}: the dataset has {wanted} samples, the log {most} with a score")
    elif most < held:
        skipped.say(f"{name}: {held - most} of {held} samples have no score")
    rows = measured(log, epochs)
    task = clean(_task(header))
    reducers = {row.reducer for row in rows}
    first, benchmarks = "", []
    for row in rows:
        parts = [row.name, *([row.key] if row.key else []), *([row.reducer] if len(reducers) > 1 else [])]
        label = clean(f"{task} [{', '.join(parts)}]") if first else task
        missing = sum(sample.score is None for sample in row.samples)
        if missing:
            skipped.say(f"{label}: {missing} of {len(row.samples)} documents have no finite score")
        benchmarks.append(_benchmark(label, first, row, header))
        first = first or label
    return benchmarks


def _benchmark(label: str, first: str, row: Measured, header: Json) -> Benchmark:
    metric = _metric(row, header)
    scores = [sample.score for sample in row.samples if sample.score is not None]
    said, mean = row.metrics.get(metric), sum(scores) / len(scores) if scores else 0.0
    whole = header.get("status") == "success" and len(scores) == len(row.samples)
    differs = isinstance(said, int | float) and whole and abs(mean - said) > 1e-9 * max(1.0, abs(said))
    reason = f"Inspect's {metric} is {said:.6g}, the mean over samples {mean:.6g}" if differs else ""
    if not scores:
        reason = "no sample has a finite score"
    return Benchmark(
        name=label,
        identity=clean(f"{_task(header)} [{', '.join(filter(None, (row.name, row.key, row.reducer)))}]"),
        version=_version(header),
        metric=clean(metric),
        higher_is_better=True if metric == "accuracy" else None,
        status="NOT_RUN" if reason else "MEASURED",
        reason=f"{reason}: it cannot be compared sample by sample" if differs else reason,
        judge="" if metric in MEANS else clean(f"Inspect scorer {row.name}"),
        source=clean(f"Inspect log, scorer {row.scorer}"),
        same_documents_as=first,
        samples=tuple(replace(sample, benchmark=label) for sample in row.samples),
    )


def _metric(row: Measured, header: Json) -> str:
    """Return the metric that is the mean over samples; without results, the one that the scorer was declared with."""
    found = next((mean for mean in MEANS if mean in row.metrics), "")
    if found or row.metrics:
        return found or row.name
    declared = json.dumps(header["eval"].get("scorers") or "")
    found = next((mean for mean in MEANS if f'/{mean}"' in declared or f'"{mean}"' in declared), "")
    grades = {sample.score for sample in row.samples} <= {0.0, 0.5, 1.0, None}
    return found or ("accuracy" if grades else MEAN)


def _version(header: Json) -> str:
    version = header["eval"].get("task_version", "unknown")
    return clean(version if isinstance(version, str) else json.dumps(version))


def _arguments(header: Json) -> str:
    given = header["eval"].get("task_args_passed") or header["eval"].get("task_args") or {}
    return json.dumps(given, sort_keys=True)


def _settings(header: Json) -> dict[str, str]:
    """Return what must be equal for two logs to be comparable, each written by its effect."""
    about = header["eval"]
    plan, config = mapping(header.get("plan")), mapping(about.get("config"))
    generation: dict[str, Any] = {}
    for given in (about.get("model_generate_config"), plan.get("config")):
        generation |= {name: value for name, value in mapping(given).items() if value not in (None, [])}
    steps = [mapping(step) for step in listed(plan.get("steps"))]
    solvers = [[step.get("solver"), step.get("params_passed") or {}] for step in steps]
    epochs = config.get("epochs") or 1
    named: dict[str, Any] = {
        "task": _task(header),
        "task version": _version(header),
        "task arguments": about.get("task_args_passed") or {},
        "solvers": solvers,
        "epochs": epochs,
        "generation settings": {name: generation[name] for name in _GENERATION if name in generation},
    }
    if epochs != 1:
        named["reducer"] = config.get("epochs_reducer") or [MEAN]
    return {name: json.dumps(value, sort_keys=True) for name, value in named.items()}
