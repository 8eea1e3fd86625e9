"""lighteval's details: details_TASK_DATE.parquet, a row a document."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pfh import hookimpl
from pfh.errors import UserError

from pfh_readers.lines import Skipped
from pfh_readers.rows import Scores, log_of, sample
from pfh_readers.values import listed, mapping

if TYPE_CHECKING:
    from pfh.hooks.readers import Log, LogSpec

_NAME = re.compile(r"details_(?P<task>.+)_(?P<date>\d{4}-\d\d-\d\dT[\d.:-]+)\.parquet")
_GOOD = ("acc", "acc_norm", "em", "qem", "exact_match", "extractive_match", "f1", "pass@1", "mc1", "mc2", "pem", "pqem")


@hookimpl
def read_log(spec: LogSpec) -> Log | None:
    """Read every task of one model in a folder, the newest of each, or one file."""
    newest: dict[str, tuple[str, Path]] = {}
    skipped = Skipped()
    for file in spec.files:
        if found := _NAME.fullmatch(file.name):
            older, newer = sorted([newest.get(found["task"], ("", file)), (found["date"], file)])
            if older[0]:
                skipped.say(
                    f"{older[1].name}: there is a newer log of {found['task']}, {newer[1].name}; name it to read it"
                )
            newest[found["task"]] = newer
    if not newest:
        return None
    models = {_model(file) for _, file in newest.values()}
    if len(models) > 1:
        raise UserError(f"{spec.path} holds logs of {len(models)} models ({', '.join(sorted(models)[:6])}): name one.")
    rows = [row for task, (_, file) in newest.items() for row in _scores(_task(task), file, skipped)]
    metrics = {metric for row in rows for metric in row.values}
    directions = {metric: True for metric in metrics if metric.lower().partition(":")[0] in _GOOD}
    return log_of(spec.path, "lighteval", models.pop(), rows, skipped, directions=directions)


def _model(file: Path) -> str:
    """Return the model: files lie in details/ORG/MODEL/DATE."""
    parts = file.resolve().parts
    if "details" not in parts[:-1]:
        return file.parent.name
    below = parts[len(parts) - parts[::-1].index("details") : -2]
    return "/".join(below) or file.parent.name


def _task(name: str) -> str:
    """Return the task without its suite: "leaderboard|arc:challenge|25" is "arc:challenge|25"."""
    parts = name.split("|")
    return "|".join(parts[1:]) if len(parts) > 2 else name


def _scores(task: str, file: Path, skipped: Skipped) -> Iterator[Scores]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        batches = list(pq.ParquetFile(file).iter_batches())
    except (pa.ArrowInvalid, OSError):
        skipped.say(f"{file.name} is no Parquet file, or is cut off; skipped")
        return
    seen: dict[str, int] = {}
    for batch in batches:
        for row in batch.to_pylist():
            values = _metrics(row)
            document = mapping(row.get("doc"))
            prompt = _prompt(row, document)
            told = _document(row, document, prompt)
            seen[told] = seen.get(told, 0) + 1
            response = mapping(row.get("model_response"))
            wrote = listed(response.get("text")) or listed(row.get("predictions"))
            choices = listed(document.get("choices")) or listed(row.get("choices"))
            shown = sample(
                told if seen[told] == 1 else f"{told}-{seen[told]}",
                prompt=prompt,
                completion=str(wrote[0]) if wrote else "",
                choices=len(choices) if len(choices) > 1 else None,
            )
            yield Scores(benchmark=task, sample=shown, values=values)


def _document(row: Mapping[str, Any], document: Mapping[str, Any], prompt: str) -> str:
    """Return what tells a document from others: its id, or a hash of what is asked and may be answered."""
    if document.get("id") not in (None, ""):
        return str(document["id"])
    text = row.get("example") if isinstance(row.get("example"), str) else prompt
    asked = json.dumps([text, row.get("choices"), row.get("gold")], default=str)
    return hashlib.sha256(asked.encode("utf-8", "replace")).hexdigest()[:16]


def _metrics(row: Mapping[str, Any]) -> dict[str, Any]:
    found = mapping(row.get("metric")) or mapping(row.get("metrics"))
    return {name: value for name, value in found.items() if value is None or isinstance(value, int | float)}


def _prompt(row: Mapping[str, Any], document: Mapping[str, Any]) -> str:
    for prompt in (row.get("full_prompt"), document.get("query"), row.get("example")):
        if isinstance(prompt, str):
            return prompt
    return ""
