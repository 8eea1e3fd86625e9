"""OLMES's predictions: task-NNN-NAME-predictions.jsonl, with -metrics.json beside them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pfh import hookimpl
from pfh.errors import UserError

from pfh_readers.lines import Skipped, read_json, read_lines
from pfh_readers.rows import Scores, log_of, sample
from pfh_readers.values import listed, mapping

if TYPE_CHECKING:
    from pfh.hooks.readers import Log, LogSpec

_NAME = re.compile(r"(task-\d+-)?(?P<task>.+)-predictions\.jsonl")
_GOOD = ("acc_raw", "acc_per_token", "acc_per_char", "acc_per_byte", "acc_uncond", "exact_match", "f1", "pass_at_1")


@hookimpl
def read_log(spec: LogSpec) -> Log | None:
    """Read every task of one model in a folder, or one file."""
    files = [(file, found) for file in spec.files if (found := _NAME.fullmatch(file.name))]
    if not files:
        return None
    skipped = Skipped()
    rows: list[Scores] = []
    models, settings = set(), {}
    for file, name in files:
        about = _about(file)
        task, config = str(about.get("task_name") or name["task"]), mapping(about.get("task_config"))
        models.add(str(mapping(about.get("model_config")).get("model") or spec.path.stem))
        told = {
            key: config[key] for key in ("num_shots", "fewshot_seed", "generation_kwargs", "version") if key in config
        }
        settings[task] = {key: json.dumps(value, sort_keys=True) for key, value in told.items() if value is not None}
        primary = str(config.get("primary_metric") or "")
        rows += _scores(task, primary, read_lines(file, skipped))
    if len(models) > 1:
        raise UserError(f"{spec.path} holds logs of {len(models)} models ({', '.join(sorted(models)[:6])}): name one.")
    directions = dict.fromkeys(_GOOD, True)
    return log_of(spec.path, "olmes", models.pop(), rows, skipped, directions=directions, settings=settings)


def _about(file: Path) -> Mapping[str, Any]:
    metrics = file.with_name(file.name.replace("-predictions.jsonl", "-metrics.json"))
    return mapping(read_json(metrics)) if metrics.is_file() else {}


def _scores(task: str, primary: str, rows: Iterator[tuple[int, dict[str, Any]]]) -> Iterator[Scores]:
    for _, row in rows:
        document = row.get("native_id") if row.get("native_id") is not None else row.get("doc_id")
        values = {name: value for name, value in mapping(row.get("metrics")).items() if _is_score(name, value)}
        if document is None or not values:
            continue
        outputs = [mapping(output) for output in listed(row.get("model_output"))]
        wrote = outputs[0].get("continuation") if len(outputs) == 1 else ""
        ordered = {name: values[name] for name in sorted(values, key=lambda name: name != primary)}
        shown = sample(
            str(document),
            completion=wrote if isinstance(wrote, str) else "",
            target=str(row["label"]) if row.get("label") is not None else None,
            choices=len(outputs) if len(outputs) > 1 else None,
        )
        yield Scores(benchmark=task, sample=shown, values=ordered)


def _is_score(name: str, value: object) -> bool:
    counted = name.startswith(("predicted_index", "num_", "sum_logits", "logits_", "correct_choice"))
    return not counted and (value is None or isinstance(value, int | float))
