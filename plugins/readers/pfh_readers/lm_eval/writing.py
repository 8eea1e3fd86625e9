"""Writes stored evaluations as lm-eval writes its sample logs, so that tools which read those can read pfh's.

What lm-eval's format has no place for (category, number of options, status) is under the key "pfh" of a line.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pfh import __version__
from pfh.hooks.evaluation import Benchmark, Evaluation
from pfh.hooks.samples import Sample

from pfh_readers.lm_eval.samples import INVALID

FILTER = "none"


def export_lm_eval(
    folder: Path, model: str, evaluations: Sequence[Evaluation], settings: Mapping[str, Mapping[str, str]]
) -> Path:
    """Write results_DATE.json and a samples_TASK_DATE.jsonl a benchmark into a folder named after the model.

    Args:
        folder: where the model's folder is made.
        model: name of the model.
        evaluations: what was measured; benchmarks that are not MEASURED are only in the results, with the reason.
        settings: benchmark to setting to value, which must be equal where two models are compared.

    Returns:
        The folder that holds the files.
    """
    target = folder / re.sub(r"[^\w.+-]", "_", model)
    target.mkdir(parents=True, exist_ok=True)
    date = time.strftime("%Y-%m-%dT%H-%M-%S.") + f"{time.time_ns() // 1000 % 10**6:06}"
    tasks = _task_names(evaluations)
    sections: dict[str, dict[str, Any]] = {
        name: {}
        for name in ("results", "configs", "versions", "n-shot", "higher_is_better", "n-samples", "task_hashes", "pfh")
    }
    for evaluation in evaluations:
        for benchmark in evaluation.benchmarks:
            task = tasks[evaluation.family, benchmark.name]
            for section, value in _described(task, evaluation.family, benchmark).items():
                sections[section][task] = value
            sections["pfh"][task]["settings"] = dict(settings.get(benchmark.name, {}))
            if benchmark.samples:
                rows = [_row(place, sample, benchmark.metric) for place, sample in enumerate(benchmark.samples)]
                sections["task_hashes"][task] = _hash(
                    "".join(row["doc_hash"] + row["prompt_hash"] + row["target_hash"] for row in rows)
                )
                lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
                with (target / f"samples_{task}_{date}.jsonl").open("w", encoding="utf-8", errors="replace") as file:
                    file.writelines(lines)
    results = {
        **sections,
        "group_subtasks": {},
        "config": {"model": "pfh", "model_args": {"pretrained": model}},
        "pfh_version": __version__,
        "date": time.time(),
        "model_source": "pfh",
        "model_name": model,
        "model_name_sanitized": target.name,
    }
    (target / f"results_{date}.json").write_text(
        json.dumps(results, indent=2, ensure_ascii=False), encoding="utf-8", errors="replace"
    )
    return target


def _task_names(evaluations: Sequence[Evaluation]) -> dict[tuple[str, str], str]:
    """Return (family, benchmark) to a name that a file may have, and that no other benchmark has."""
    names: dict[tuple[str, str], str] = {}
    for evaluation in evaluations:
        for benchmark in evaluation.benchmarks:
            name = re.sub(r"[^\w.+-]+", "_", benchmark.name).strip("_") or "benchmark"
            for candidate in (name, f"{evaluation.family}_{name}", *(f"{name}_{i}" for i in range(2, 1000))):
                if candidate not in names.values():
                    names[evaluation.family, benchmark.name] = candidate
                    break
    return names


def _described(task: str, family: str, benchmark: Benchmark) -> dict[str, Any]:
    scores = [sample.score for sample in benchmark.samples if sample.score is not None]
    figures: dict[str, Any] = {"name": task, "alias": task, "sample_len": len(benchmark.samples)}
    if scores:
        figures[f"{benchmark.metric},{FILTER}"] = sum(scores) / len(scores)
        figures[f"{benchmark.metric}_stderr,{FILTER}"] = _stderr(scores)
    return {
        "results": figures,
        "configs": {
            "task": task,
            "output_type": "generate_until",
            "metric_list": [{"metric": benchmark.metric, "higher_is_better": benchmark.higher_is_better}],
            "metadata": {"version": benchmark.version},
        },
        "versions": benchmark.version,
        "higher_is_better": {benchmark.metric: benchmark.higher_is_better},
        "n-samples": {"original": len(benchmark.samples), "effective": len(benchmark.samples)},
        "pfh": {
            "family": family,
            "name": benchmark.name,
            "identity": benchmark.identity,
            "same_documents_as": benchmark.same_documents_as,
            "version": benchmark.version,
            "status": benchmark.status,
            "reason": benchmark.reason,
            "judge": benchmark.judge,
            "source": benchmark.source,
            "sensitive": benchmark.sensitive,
        },
    }


def _row(place: int, sample: Sample, metric: str) -> dict[str, Any]:
    document = {"id": sample.id, "category": sample.category, "target": sample.target}
    return {
        "doc_id": place,
        "doc": document,
        "target": sample.target or "",
        "arguments": {"gen_args_0": {"arg_0": sample.prompt, "arg_1": {}}},
        "resps": [[sample.completion]],
        "filtered_resps": [_filtered(sample)],
        "filter": FILTER,
        "metrics": [metric],
        "doc_hash": _hash(json.dumps(document, indent=2, ensure_ascii=False)),
        "prompt_hash": _hash(sample.prompt),
        "target_hash": _hash(sample.target or ""),
        metric: sample.score,
        "pfh": {
            "id": sample.id,
            "category": sample.category,
            "extracted": sample.extracted,
            "target": sample.target,
            "status": sample.status,
            "choices": sample.choices,
            "tokens": sample.tokens,
            "cluster": sample.cluster,
            "extra": dict(sample.extra),
        },
    }


def _filtered(sample: Sample) -> str:
    """Return what a filter of lm-eval would have found: the answer, or all that was written where none is sought."""
    if sample.extracted is not None:
        return sample.extracted
    return INVALID if sample.status == "format_failure" else sample.completion


def _stderr(scores: Sequence[float]) -> float | str:
    """Return the standard error of the mean as lm-eval has it."""
    if len(scores) < 2:
        return "N/A"
    mean = sum(scores) / len(scores)
    return math.sqrt(sum((score - mean) ** 2 for score in scores) / (len(scores) - 1)) / math.sqrt(len(scores))


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()
