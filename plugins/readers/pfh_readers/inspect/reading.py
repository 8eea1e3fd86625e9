"""Reads Inspect's logs without Inspect: `.eval` (a zip with header.json and samples/ID_epoch_N.json) and `.json`.

Every scorer becomes a benchmark, and every key of a scorer that returns several values. The first has the task's name.
Epochs of a sample are averaged, as Inspect does by default.
"""

from __future__ import annotations

import hashlib
import json
import math
import struct
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from pfh.errors import UserError
from pfh.hooks.evaluation import Benchmark, Evaluation
from pfh.hooks.readers import Log
from pfh.hooks.samples import Sample, SampleStatus

from pfh_readers.lines import Skipped

FAMILY = "inspect"
GRADES = {"C": 1.0, "P": 0.5, "I": 0.0, "N": 0.0, "yes": 1.0, "true": 1.0, "no": 0.0, "false": 0.0}
"""Inspect's own values of its grades: correct, partial, incorrect, no answer."""
MEANS = ("accuracy", "mean")
"""Metrics of Inspect that are means over samples."""

_ZSTD = 93
_GENERATION = (
    *("temperature", "top_p", "top_k", "max_tokens", "stop_seqs", "system_message", "num_choices"),
    *("frequency_penalty", "presence_penalty", "reasoning_effort", "reasoning_tokens"),
)
_Json = Mapping[str, Any]


def read_inspect(path: Path) -> Log:
    """Read one log file.

    Raises:
        UserError: it is no log of Inspect, or has no sample with a score.
    """
    skipped = Skipped()
    if path.suffix == ".eval":
        header, samples = _from_zip(path, skipped)
    elif path.suffix == ".json":
        header, samples = _from_json(path)
    else:
        raise UserError(f"{path} is no log of Inspect: it writes .eval files (or .json).")
    about = header.get("eval")
    if not isinstance(about, Mapping):
        raise UserError(f"{path} is no log of Inspect: it does not say what was evaluated.")
    epochs = _by_scorer(path, samples, skipped)
    expected = (about.get("dataset") or {}).get("samples")
    if header.get("status") != "success":
        skipped.say(f"{path.name}: the evaluation ended as {header.get('status', 'unknown')!r}")
    scored = {scorer: _averaged(samples) for scorer, samples in epochs.items()}
    if not scored:
        raise UserError(f"{path} holds no sample with a score. {' '.join(skipped.lines)}")
    most = max(len(samples) for samples in scored.values())
    if isinstance(expected, int) and most < expected:
        skipped.say(f"{path.name}: the dataset has {expected} samples, the log {most} with a score")
    task = str(about.get("task_display_name") or about.get("task") or path.stem)
    benchmarks = tuple(
        _benchmark(task if place == 0 else f"{task} [{scorer}]", scorer, samples, header, one=len(scored) == 1)
        for place, (scorer, samples) in enumerate(scored.items())
    )
    return Log(
        model=str(about.get("model", path.stem)),
        evaluations=(Evaluation(family=FAMILY, benchmarks=benchmarks),),
        settings={benchmark.name: _settings(header) for benchmark in benchmarks},
        notes=tuple(skipped.lines),
    )


def _from_zip(path: Path, skipped: Skipped) -> tuple[_Json, Iterator[tuple[str, _Json]]]:
    try:
        archive = zipfile.ZipFile(path)
    except zipfile.BadZipFile as error:
        raise UserError(f"{path} is no .eval log, or is cut off ({error}).") from error
    names = archive.namelist()
    start = "header.json" if "header.json" in names else "_journal/start.json"
    if start not in names:
        raise UserError(f"{path} is no log of Inspect: it has neither header.json nor _journal/start.json.")
    try:
        header = _member(path, archive.getinfo(start))
    except (ValueError, OSError, zipfile.BadZipFile) as error:
        raise UserError(f"{path}: {start} cannot be read ({error}).") from error

    def samples() -> Iterator[tuple[str, _Json]]:
        for info in archive.infolist():
            if not info.filename.startswith("samples/"):
                continue
            try:
                yield info.filename, _member(path, info)
            except (ValueError, OSError, zipfile.BadZipFile, struct.error) as error:
                skipped.say(f"{path.name}, {info.filename}: cannot be read ({error}); skipped")

    return header, samples()


def _member(path: Path, info: zipfile.ZipInfo) -> _Json:
    """Read one file of the zip; Inspect packs with Zstandard, which Python's zipfile does not know."""
    if info.compress_type != _ZSTD:
        with zipfile.ZipFile(path) as archive, archive.open(info) as stream:
            found = json.load(stream)
    else:
        import pyarrow as pa

        with path.open("rb") as file:
            file.seek(info.header_offset)
            name, extra = struct.unpack("<HH", file.read(30)[26:30])
            file.seek(name + extra, 1)
            packed = file.read(info.compress_size)
        found = json.loads(pa.input_stream(pa.py_buffer(packed), compression="zstd").read())
    if not isinstance(found, dict):
        raise ValueError("no JSON object")
    return found


def _from_json(path: Path) -> tuple[_Json, Iterator[tuple[str, _Json]]]:
    try:
        found = json.loads(path.read_bytes())
    except ValueError as error:
        raise UserError(f"{path} is no JSON, or is cut off ({error}).") from error
    samples = found.get("samples") if isinstance(found, dict) else None
    if not isinstance(samples, list):
        raise UserError(f"{path} is no log of Inspect: it has no samples.")
    return found, ((f"sample {place}", sample) for place, sample in enumerate(samples, start=1))


def _by_scorer(
    path: Path, samples: Iterator[tuple[str, _Json]], skipped: Skipped
) -> dict[str, dict[str, list[Sample]]]:
    """Return scorer to sample id to its epochs."""
    found: dict[str, dict[str, list[Sample]]] = {}
    first: dict[tuple[str, str], str] = {}
    for place, row in samples:
        if not isinstance(row, Mapping) or row.get("id") is None:
            skipped.say(f"{path.name}, {place}: has no id, so it cannot be paired; skipped")
            continue
        key = (str(row["id"]), str(row.get("epoch", 1)))
        if key in first:
            skipped.say(f"{path.name}, {place}: repeats sample {key[0]}, epoch {key[1]}, of {first[key]}; skipped")
            continue
        first[key] = place
        try:
            for scorer, sample in _scored(row):
                found.setdefault(scorer, {}).setdefault(sample.id, []).append(sample)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            skipped.say(f"{path.name}, {place}: is no sample of Inspect ({type(error).__name__}: {error}); skipped")
    return found


def _scored(row: _Json) -> Iterator[tuple[str, Sample]]:
    prompt = _prompt(row)
    output = row.get("output") or {}
    target = row.get("target")
    metadata = row.get("metadata") or {}
    base = Sample(
        id=str(row["id"]),
        benchmark="",
        category=str(metadata.get("category") or metadata.get("subject") or ""),
        prompt=prompt,
        completion=_text(output.get("completion") or "", row),
        target=target if isinstance(target, str) else ", ".join(map(str, target or ())),
        score=None,
        choices=len(row.get("choices") or ()) or None,
        tokens=(output.get("usage") or {}).get("output_tokens"),
        extra={"prompt_hash": hashlib.sha256(prompt.encode("utf-8", "replace")).hexdigest()},
    )
    for scorer, score in (row.get("scores") or {}).items():
        answer, value = score.get("answer"), score.get("value")
        sample = replace(base, extracted=answer or None, status=_status(row, score, output))
        if isinstance(value, Mapping):
            for key, part in value.items():
                yield f"{scorer}, {key}", replace(sample, score=_number(part))
        else:
            yield scorer, replace(sample, score=_number(value))


def _status(row: _Json, score: _Json, output: _Json) -> SampleStatus:
    if row.get("error"):
        return "error"
    stops = [choice.get("stop_reason") for choice in output.get("choices") or ()]
    if row.get("limit") or stops[:1] == ["max_tokens"]:
        return "truncated"
    empty = score.get("answer") == "" or score.get("reason") == "invalid_response_format"
    return "format_failure" if empty else "ok"


def _averaged(by_id: Mapping[str, list[Sample]]) -> list[Sample]:
    """Return one sample an id: the first epoch, with the mean score of all."""
    averaged = []
    for epochs in by_id.values():
        scores = [sample.score for sample in epochs if sample.score is not None]
        averaged.append(replace(epochs[0], score=sum(scores) / len(scores) if scores else None))
    return averaged


def _benchmark(name: str, scorer: str, samples: list[Sample], header: _Json, *, one: bool) -> Benchmark:
    metrics = _metrics(header, scorer, one=one)
    metric = next((mean for mean in MEANS if mean in metrics), scorer)
    scores = [sample.score for sample in samples if sample.score is not None]
    said, mean = metrics.get(metric), sum(scores) / len(scores) if scores else 0.0
    differs = isinstance(said, (int, float)) and abs(mean - said) > 1e-9 and header.get("status") == "success"
    why = f"Inspect's {metric} is {said:.6g}, the mean over samples {mean:.6g}" if differs else ""
    return Benchmark(
        name=name,
        version=str(header["eval"].get("task_version", "unknown")),
        metric=metric,
        higher_is_better=True if metric == "accuracy" else None,
        status="NOT_RUN" if differs else "MEASURED",
        reason=f"{why}: it cannot be compared sample by sample" if differs else "",
        judge="" if metric in MEANS else f"Inspect scorer {scorer}",
        source=f"Inspect log, scorer {scorer}",
        samples=tuple(replace(sample, benchmark=name) for sample in samples),
    )


def _metrics(header: _Json, scorer: str, *, one: bool) -> dict[str, Any]:
    """Return what the log says of the metrics of a scorer, or of one key of it."""
    found = (header.get("results") or {}).get("scores") or []
    named = [each for each in found if each.get("name") in (scorer, scorer.rpartition(", ")[2])]
    for each in named or (found[:1] if one else []):
        return {name: metric.get("value") for name, metric in (each.get("metrics") or {}).items()}
    return {}


def _settings(header: _Json) -> dict[str, str]:
    about, plan = header["eval"], header.get("plan") or {}
    generation = {**(about.get("model_generate_config") or {}), **(plan.get("config") or {})}
    steps = [[step.get("solver"), step.get("params_passed") or {}] for step in plan.get("steps") or ()]
    named = {
        "task": about.get("task"),
        "task version": about.get("task_version"),
        "task arguments": about.get("task_args_passed") or {},
        "solvers": steps,
        "epochs": (about.get("config") or {}).get("epochs"),
        "generation settings": {name: generation[name] for name in _GENERATION if generation.get(name) is not None},
    }
    return {name: json.dumps(value, sort_keys=True) for name, value in named.items()}


def _prompt(row: _Json) -> str:
    """Return all that the model was told before it first answered."""
    turns = []
    for message in row.get("messages") or ():
        if message.get("role") == "assistant" and (message.get("source") == "generate" or message.get("model")):
            break
        turns.append(f"{message.get('role')}: {_text(message.get('content'), row)}")
    return "\n".join(turns) or _text(row.get("input"), row)


def _text(content: Any, row: _Json) -> str:  # noqa: ANN401 - a string, or a list of parts
    if isinstance(content, list):
        parts = (part.get("text", part.get("content", "")) if isinstance(part, Mapping) else part for part in content)
        return "\n".join(_text(part, row) for part in parts)
    text = "" if content is None else str(content)
    kept = (row.get("attachments") or {}).get(text.removeprefix("attachment://"))
    return kept if kept is not None and text.startswith("attachment://") else text


def _number(value: Any) -> float | None:  # noqa: ANN401
    if isinstance(value, str) and value in GRADES:
        return GRADES[value]
    if isinstance(value, str) and value.lower() in GRADES:
        return GRADES[value.lower()]
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None
