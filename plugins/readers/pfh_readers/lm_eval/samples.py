"""One samples_TASK_DATE.jsonl of lm-eval: every line becomes a pfh sample with the values of its metrics."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pfh.hooks.samples import Sample

from pfh_readers.lines import Skipped, read_lines

INVALID = "[invalid]"
"""What lm-eval's filters return where they find nothing."""

Measure = tuple[str, str]
"""(Filter, metric)."""


@dataclass(kw_only=True)
class TaskSamples:
    """What a samples file holds."""

    scored: dict[Measure, list[Sample]] = field(default_factory=dict)
    opaque: set[Measure] = field(default_factory=set)
    """Those whose value a document is no number, such as the (gold, prediction) of an F1 over all documents."""


def read_samples_file(file: Path, task: str, output_type: str | None, skipped: Skipped) -> TaskSamples:
    """Read the samples of `task`; lines that are none, or repeat an id, are skipped and said.

    Args:
        file: the samples file.
        task: name of the task.
        output_type: of the task's configuration; None where it is not known.
        skipped: takes up what could not be read.
    """
    found = TaskSamples()
    first: dict[tuple[str, str], int] = {}
    times: dict[tuple[str, str], int] = {}
    for number, row in read_lines(file, skipped):
        filter_name = str(row.get("filter", "none"))
        lacking = "doc_id" if row.get("doc_id") is None else "doc_hash" if _document_hash(row) is None else ""
        if lacking:
            skipped.at(file, number, f"has no {lacking}, so it cannot be paired")
            continue
        key = (filter_name, str(row["doc_id"]))
        if key in first:
            skipped.at(file, number, f"repeats doc_id {key[1]} of line {first[key]}")
            continue
        try:
            fields = _fields(row, task, output_type)
            values = {str(name): row[name] for name in row["metrics"]}
        except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
            skipped.at(file, number, f"is no sample of lm-eval ({type(error).__name__}: {error})")
            continue
        first[key] = number
        document = fields["id"]
        time = times[filter_name, document] = times.get((filter_name, document), 0) + 1
        if time > 1:  # a document that the dataset holds several times
            fields["id"] = f"{document}-{time}"
        for metric, value in values.items():
            score = _number(value)
            if score is None and value is not None:
                found.opaque.add((filter_name, metric))
            else:
                found.scored.setdefault((filter_name, metric), []).append(Sample(score=score, **fields))
    return found


def _document_hash(row: Mapping[str, Any]) -> str | None:
    """Return the log's hash of the document; logs of old versions have none, but the document itself."""
    if row.get("doc_hash"):
        return str(row["doc_hash"])
    if row.get("doc") is None:
        return None
    return hashlib.sha256(json.dumps(row["doc"], indent=2, ensure_ascii=False).encode()).hexdigest()


def _fields(row: Mapping[str, Any], task: str, output_type: str | None) -> dict[str, Any]:
    """Return the fields of the sample in a line, all but its score."""
    requests = _in_order(row["arguments"])
    prompt = _text(_argument(requests[0], 0))
    prompt_hash = row.get("prompt_hash") or hashlib.sha256(prompt.encode("utf-8", "replace")).hexdigest()
    own = dict(row.get("pfh") or {})
    return {
        "id": str(_document_hash(row))[:16],
        "benchmark": task,
        "prompt": prompt,
        **(_chosen(row, requests) if _is_choice(requests, output_type) else _written(row, output_type)),
        **own,
        "extra": {"prompt_hash": str(prompt_hash), **own.get("extra", {})},
    }


def _is_choice(requests: list[Any], output_type: str | None) -> bool:
    """Say whether options were scored; without a results file, several requests mean that."""
    return len(requests) > 1 if output_type is None else output_type == "multiple_choice"


def _chosen(row: Mapping[str, Any], requests: list[Any]) -> dict[str, Any]:
    """Return the fields of a multiple-choice sample: the options are what the requests end in."""
    options = [_text(_argument(request, 1)).strip() for request in requests]
    if "acc_mutual_info" in row["metrics"]:
        options = options[: len(options) // 2]  # the same options stand there again, without a context
    logprobs = [float(response[0]) for response in row["filtered_resps"][: len(options)]]
    chosen = options[logprobs.index(max(logprobs))]
    target = str(row["target"])
    named = target.isdecimal() and int(target) < len(options)
    return {
        "completion": chosen,
        "extracted": chosen,
        "target": options[int(target)] if named else target,
        "choices": len(options) if len(options) > 1 else None,
    }


def _written(row: Mapping[str, Any], output_type: str | None) -> dict[str, Any]:
    extracted = _text(_first(row["filtered_resps"]))
    missing = output_type in ("generate_until", None) and extracted.strip() in (INVALID, "")
    return {
        "completion": _text(_first(row["resps"])),
        "extracted": None if missing else extracted,
        "target": str(row["target"]),
        "status": "format_failure" if missing else "ok",
    }


def _number(value: Any) -> float | None:  # noqa: ANN401 - whatever JSON holds
    if isinstance(value, str):  # lm-eval writes what json cannot hold, such as numpy's booleans, as text
        value = {"True": 1.0, "False": 0.0}.get(value, value)
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None


def _in_order(value: Any) -> list[Any]:  # noqa: ANN401
    return list(value.values() if isinstance(value, dict) else value)


def _argument(request: Any, place: int) -> Any:  # noqa: ANN401
    """Return the context (0) or what is asked of it (1); samples that were never written to a file hold plain lists."""
    return request[f"arg_{place}"] if isinstance(request, dict) else request[place]


def _first(value: Any) -> Any:  # noqa: ANN401
    while isinstance(value, list):
        value = value[0] if value else ""
    return value


def _text(value: Any) -> str:  # noqa: ANN401
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
