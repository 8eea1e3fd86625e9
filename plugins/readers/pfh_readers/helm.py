"""HELM's per-instance statistics: per_instance_stats.json, with run_spec.json and scenario_state.json beside it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pfh import hookimpl
from pfh.errors import UserError

from pfh_readers.lines import Skipped, read_json
from pfh_readers.rows import Scores, log_of, sample
from pfh_readers.scores import finite
from pfh_readers.values import listed, mapping

if TYPE_CHECKING:
    from pfh.hooks.readers import Log, LogSpec

NAME = "per_instance_stats.json"
_TECHNICAL = ("num_", "inference_", "training_", "finish_reason", "max_prob", "logprob", "prompt_tokens", "batch_size")
_NO_SCORES = frozenset(("predicted_index", "completion_tokens", "request_time", "estimated_num_tokens_cost"))
_GOOD = ("match", "acc", "f1", "rouge", "bleu", "math_equiv", "correctness", "pass")


@hookimpl
def read_log(spec: LogSpec) -> Log | None:
    """Read every run of one model in a folder, or one file."""
    files = [file for file in spec.files if file.name == NAME]
    if not files:
        return None
    skipped = Skipped()
    rows: list[Scores] = []
    models, settings = set(), {}
    for file in files:
        about = _about(file)
        adapter = mapping(about.get("adapter_spec"))
        models.add(str(adapter.get("model") or file.parent.name))
        benchmark = _benchmark(str(about.get("name") or file.parent.name))
        shown = {name: adapter[name] for name in ("method", "max_train_instances", "temperature") if name in adapter}
        settings[benchmark] = {name: json.dumps(value) for name, value in shown.items()}
        rows += _scores(benchmark, listed(read_json(file)), _prompts(file))
    if len(models) > 1:
        raise UserError(f"{spec.path} holds runs of {len(models)} models ({', '.join(sorted(models)[:6])}): name one.")
    metrics = {metric for row in rows for metric in row.values}
    directions = {metric: True for metric in metrics if any(word in metric for word in _GOOD)}
    return log_of(spec.path, "helm", models.pop(), rows, skipped, directions=directions, settings=settings)


def _about(file: Path) -> Mapping[str, Any]:
    run = file.with_name("run_spec.json")
    return mapping(read_json(run)) if run.is_file() else {}


def _benchmark(run: str) -> str:
    """Return the name of a run without its model: "mmlu:subject=anatomy,model=m" is "mmlu:subject=anatomy"."""
    scenario, _, arguments = run.partition(":")
    kept = [
        each for each in arguments.split(",") if each and each.partition("=")[0] not in ("model", "model_deployment")
    ]
    return f"{scenario}:{','.join(kept)}" if kept else scenario


def _prompts(file: Path) -> dict[str, str]:
    state = file.with_name("scenario_state.json")
    found = mapping(read_json(state)) if state.is_file() else {}
    prompts: dict[str, str] = {}
    for request in map(mapping, listed(found.get("request_states"))):
        prompt = mapping(request.get("request")).get("prompt")
        if isinstance(prompt, str):
            prompts.setdefault(str(mapping(request.get("instance")).get("id")), prompt)
    return prompts


def _scores(benchmark: str, instances: list[Any], prompts: Mapping[str, str]) -> Iterator[Scores]:
    """Yield an instance's scores, each the mean over the trials with other worked examples."""
    by_document: dict[str, dict[str, list[float | None]]] = {}
    for instance in map(mapping, instances):
        if instance.get("perturbation") or instance.get("instance_id") is None:
            continue
        values = by_document.setdefault(str(instance["instance_id"]), {})
        for stat in map(mapping, listed(instance.get("stats"))):
            metric = str(mapping(stat.get("name")).get("name"))
            if metric.startswith(_TECHNICAL) or metric in _NO_SCORES or mapping(stat.get("name")).get("perturbation"):
                continue
            values.setdefault(metric, []).append(finite(stat.get("mean")))
    for document, trials in by_document.items():
        shown = sample(document, prompt=prompts.get(document, ""))
        yield Scores(benchmark=benchmark, sample=shown, values={name: _mean(given) for name, given in trials.items()})


def _mean(trials: list[float | None]) -> float | None:
    known = [score for score in trials if score is not None]
    return sum(known) / len(known) if known else None
