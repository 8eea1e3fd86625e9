"""Reads what `lm-eval run --log_samples --output_path FOLDER` leaves: samples_TASK_DATE.jsonl and results_DATE.json.

Every (task, filter, metric) becomes a benchmark. The first of a task has the task's name, the others say what they
are: "gsm8k [flexible-extract]", "arc_easy [acc_norm]".
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pfh.errors import UserError
from pfh.hooks.evaluation import Benchmark, Evaluation
from pfh.hooks.readers import Log
from pfh.hooks.samples import Sample

from pfh_readers.lines import Skipped
from pfh_readers.lm_eval.samples import Measure, TaskSamples, read_samples_file

FAMILY = "lm-eval"
_SAMPLES = re.compile(r"samples_(?P<task>.+?)(_(?P<date>\d{4}-\d\d-\d\dT[\d.-]+))?\.jsonl")
_RESULTS_DATE = re.compile(r"_(\d{4}-\d\d-\d\dT[\d.-]+)\.json$")
_ROUNDING = 1e-9


def read_lm_eval(path: Path) -> Log:
    """Read one model's folder, or one results file and the samples beside it. Of several runs of a task the newest.

    Raises:
        UserError: there are no sample logs, or of several models, or nothing in them can be read.
    """
    skipped = Skipped()
    folder = path.parent if path.is_file() else _model_folder(path)
    files = _newest(folder, _date(path) if path.is_file() else None, skipped)
    dates = sorted({date for date, _ in files.values()})
    results = {date: _results(folder, date, skipped) for date in dates}
    families: dict[str, list[Benchmark]] = {}
    settings: dict[str, Mapping[str, str]] = {}
    for task, (date, file) in sorted(files.items()):
        about = _about(results[date], task)
        samples = read_samples_file(file, task, about["config"].get("output_type"), skipped)
        for benchmark in _benchmarks(task, about, samples, skipped, complete=not skipped.count(file)):
            families.setdefault(about["pfh"].get("family", FAMILY), []).append(benchmark)
            settings[benchmark.name] = _settings(about)
    for found in results.values():
        for family, benchmark in _unmeasured(found):
            families.setdefault(family, []).append(benchmark)
    if not families:
        raise UserError(f"{folder} holds no sample that can be read. {' '.join(skipped.lines)}")
    model = next((found["model_name"] for found in results.values() if found.get("model_name")), folder.name)
    return Log(
        model=str(model),
        evaluations=tuple(Evaluation(family=name, benchmarks=tuple(rows)) for name, rows in families.items()),
        settings=settings,
        notes=tuple(skipped.lines),
    )


def files_of_a_model(path: Path) -> tuple[Path, ...]:
    """Return every samples and results file that `read_lm_eval` may look at.

    Raises:
        UserError: there are no sample logs, or of several models.
    """
    folder = path.parent if path.is_file() else _model_folder(path)
    date = _date(path) if path.is_file() else ""
    return (*sorted(folder.glob(f"samples_*{date}.jsonl")), *sorted(folder.glob(f"*{date}.json")))


def _model_folder(path: Path) -> Path:
    if any(path.glob("samples_*.jsonl")):
        return path
    below = sorted({file.parent for file in path.glob("*/samples_*.jsonl")})
    if not below:
        raise UserError(f"{path} holds no samples_*.jsonl; lm-eval writes them with --log_samples --output_path.")
    if len(below) > 1:
        raise UserError(f"{path} holds logs of {len(below)} models: name one of {', '.join(map(str, below))}.")
    return below[0]


def _date(results_file: Path) -> str:
    found = _RESULTS_DATE.search(results_file.name)
    if not found:
        raise UserError(f"{results_file} is no results file of lm-eval; give the folder that holds it.")
    return found[1]


def _newest(folder: Path, date: str | None, skipped: Skipped) -> dict[str, tuple[str, Path]]:
    """Return task to (date, samples file): those of `date`, or the newest of each task."""
    chosen: dict[str, tuple[str, Path]] = {}
    for file in sorted(folder.glob("samples_*.jsonl")):
        found = _SAMPLES.fullmatch(file.name)
        if found is None or date not in (None, found["date"]):
            continue
        this, task = (found["date"] or "", file), found["task"]
        if task in chosen:
            older, this = sorted((chosen[task], this))
            skipped.say(f"{older[1].name}: there is a newer log of {task}; skipped")
        chosen[task] = this
    if not chosen:
        raise UserError(f"{folder} holds no samples_*.jsonl{f' of {date}' if date else ''}.")
    return chosen


def _results(folder: Path, date: str, skipped: Skipped) -> Mapping[str, Any]:
    for file in sorted(folder.glob(f"*_{date}.json")) if date else ():
        try:
            found = json.loads(file.read_bytes())
        except ValueError as error:
            skipped.say(f"{file.name} is no JSON ({error}), so task versions and settings are not known; skipped")
            return {}
        if isinstance(found, dict):
            return found
    skipped.say(f"there is no results_{date or '*'}.json in {folder}, so task versions and settings are not known")
    return {}


def _about(results: Mapping[str, Any], task: str) -> dict[str, Any]:
    """Return what a results file says of one task, under names that do not depend on its version."""

    def of(section: str, default: Any = None) -> Any:  # noqa: ANN401 - whatever JSON holds
        found = results.get(section)
        return found.get(task, default) if isinstance(found, Mapping) else default

    return {
        "results": of("results") or {},
        "config": of("configs") or {},
        "version": of("versions"),
        "shots": of("n-shot"),
        "higher_is_better": of("higher_is_better") or {},
        "effective": (of("n-samples") or {}).get("effective"),
        "pfh": of("pfh") or {},
        "run": results,
    }


def _settings(about: Mapping[str, Any]) -> dict[str, str]:
    """Return what must be equal for two logs of a task to be comparable; the prompts themselves are in the samples."""
    if "settings" in about["pfh"]:
        return dict(about["pfh"]["settings"])
    run, config = about["run"], about["config"]
    overrides = run.get("config", {}).get("gen_kwargs") if isinstance(run.get("config"), Mapping) else None
    named = {
        "task version": about["version"],
        "few-shot examples": about["shots"],
        "generation settings": config.get("generation_kwargs"),
        "generation overrides": overrides,
        "chat template": run.get("chat_template_sha"),
        "system instruction": run.get("system_instruction"),
        "few-shot as turns": run.get("fewshot_as_multiturn") if run.get("chat_template_sha") else None,
    }
    return {name: _short(value) for name, value in named.items()} if run else {}


def _benchmarks(
    task: str, about: Mapping[str, Any], samples: TaskSamples, skipped: Skipped, *, complete: bool
) -> Iterator[Benchmark]:
    measures = list(samples.scored) + sorted(samples.opaque - samples.scored.keys())
    name = str(about["pfh"].get("name", task))
    for measure in measures:
        filter_name, metric = measure
        rows = samples.scored.get(measure, [])
        if measure == measures[0] and complete and about["effective"] not in (None, len(rows)):
            skipped.say(f"{task}: the results speak of {about['effective']} documents, the samples are {len(rows)}")
            complete = False
        label = _label(name, measure, measures)
        yield Benchmark(
            name=label,
            version=str(about["pfh"].get("version", about["version"] if about["version"] is not None else "unknown")),
            metric=metric,
            higher_is_better=_direction(about, metric),
            judge=about["pfh"].get("judge", ""),
            sensitive=about["pfh"].get("sensitive", False),
            source=about["pfh"].get("source", f"lm-eval log, filter {filter_name}"),
            samples=tuple(_named(row, label) for row in rows),
            **_state(measure, rows, samples, about, complete=complete),
        )


def _unmeasured(results: Mapping[str, Any]) -> Iterator[tuple[str, Benchmark]]:
    """Yield (family, benchmark) for what an export of pfh lists without samples, with the reason."""
    for task, about in (results.get("pfh") or {}).items():
        if about.get("status", "MEASURED") != "MEASURED":
            metric, direction = next(iter(results["higher_is_better"][task].items()))
            fields = {name: about[name] for name in ("name", "version", "status", "reason", "judge", "source")}
            yield about["family"], Benchmark(metric=metric, higher_is_better=direction, **fields)


def _direction(about: Mapping[str, Any], metric: str) -> bool | None:
    found = about["higher_is_better"].get(metric, True if not about["run"] else None)
    return found if isinstance(found, bool) else None


def _state(
    measure: Measure, rows: list[Sample], samples: TaskSamples, about: Mapping[str, Any], *, complete: bool
) -> dict[str, Any]:
    """Return status and reason: figures that are no mean over samples cannot be compared sample by sample."""
    filter_name, metric = measure
    whole = "lm-eval computes it from all documents together, so it cannot be compared sample by sample"
    if measure in samples.opaque:
        return {"status": "NOT_RUN", "reason": whole}
    said = about["results"].get(f"{metric},{filter_name}")
    scores = [row.score for row in rows if row.score is not None]
    if not complete or not isinstance(said, (int, float)) or not scores:
        return {}
    mean = sum(scores) / len(scores)
    if abs(mean - said) <= _ROUNDING * max(1.0, abs(said)):
        return {}
    return {"status": "NOT_RUN", "reason": f"{whole} (its figure is {said:.6g}, the mean over samples {mean:.6g})"}


def _label(task: str, measure: Measure, measures: list[Measure]) -> str:
    if measure == measures[0]:
        return task
    filter_name, metric = measure
    said = [filter_name] if len({each for each, _ in measures}) > 1 else []
    said += [metric] if len({each for _, each in measures}) > 1 else []
    return f"{task} [{', '.join(said)}]"


def _named(sample: Sample, benchmark: str) -> Sample:
    return sample if sample.benchmark == benchmark else dataclasses.replace(sample, benchmark=benchmark)


def _short(value: Any) -> str:  # noqa: ANN401
    if value is None:
        return "none"
    text = value if isinstance(value, str) else json.dumps(value, sort_keys=True)
    return text if len(text) <= 80 else f"{text[:60]}... ({hashlib.sha256(text.encode()).hexdigest()[:8]})"
