"""Runs a benchmark's tasks with lm-eval's evaluator and turns what it logs into pfh's samples."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from pfh.hooks.backends import Completion, Engine
from pfh.hooks.evals import Part
from pfh.hooks.evaluation import Benchmark
from pfh.hooks.samples import Sample, SampleStatus
from pfh.kit.subset import first

from pfh_evals.forgetting.lenient import METRICS, other_readings
from pfh_evals.forgetting.tasks import CannotRunError, Loaded

INVALID = "[invalid]"
"""What lm-eval's filters return where they find nothing."""
Row = Mapping[str, Any]
"""One document under one filter, as lm-eval logs it."""


@dataclass(frozen=True, kw_only=True)
class FilterAndMetric:
    """Which of a task's figures is the score: as in lm-eval's tables, the first that is a number a document."""

    filter: str
    metric: str


def run(
    name: str,
    loaded: Loaded,
    engine: Engine,
    *,
    limit: int | None,
    apply_chat_template: bool,
    seed: int,
    part: Part | None = None,
) -> Benchmark:
    """Put a benchmark to a model.

    Args:
        name: of the benchmark.
        loaded: its tasks.
        engine: answers.
        limit: at most this many documents of each task, the first ones, as in lm-eval.
        apply_chat_template: prompts become chats.
        seed: of a task that samples.
        part: only these of the documents within the limit, of all tasks together.

    Raises:
        CannotRunError: no figure of it belongs to single documents.
    """
    from lm_eval.evaluator import evaluate

    from pfh_evals.forgetting.lm import EngineLM

    looked = None if part is None else _part_of(loaded, limit, part)
    lm = EngineLM(engine, seed, looked)
    with quiet_lm_eval():
        logged = evaluate(
            lm=lm,
            task_dict={"tasks": dict(loaded.tasks), "groups": {}, "group_map": {}},
            limit=limit,
            bootstrap_iters=0,
            log_samples=True,
            apply_chat_template=apply_chat_template,
            fewshot_as_multiturn=True,
            confirm_run_unsafe_code=True,
        )["samples"]
    samples: list[Sample] = []
    measures = {}
    for task_name, task in loaded.tasks.items():
        rows = logged[task_name]
        measures[task_name] = chosen = _measure(rows)
        samples += _samples(name, task_name, task, rows, chosen, lm, alone=len(loaded.tasks) == 1)
    metric = next(iter(measures.values())).metric
    first_task = next(iter(loaded.tasks.values()))
    return Benchmark(
        name=name,
        version="/".join(dict.fromkeys(str(task.VERSION) for task in loaded.tasks.values())),
        metric=metric,
        higher_is_better=first_task.higher_is_better().get(metric),
        source=loaded.source,
        samples=tuple(
            sample
            for sample in _with_different_ids(samples)
            if looked is None or (sample.extra["task"], sample.extra["doc_id"]) in looked
        ),
    )


def _part_of(loaded: Loaded, limit: int | None, part: Part) -> set[tuple[str, int]]:
    """Return the documents of a part, as (task, number)."""
    ids = {
        f"{task}/{place}": (task, place)
        for task, each in loaded.tasks.items()
        for place in range(len(each.eval_docs) if limit is None else min(limit, len(each.eval_docs)))
    }
    return {ids[chosen] for chosen in first(list(ids), part)}


@contextmanager
def quiet_lm_eval() -> Iterator[None]:
    """Keep lm-eval's notes on every task off the screen."""
    logger = logging.getLogger("lm_eval")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def _measure(rows: Sequence[Row]) -> FilterAndMetric:
    for metric in rows[0]["metrics"]:
        if all(_number(row.get(metric)) is not None for row in rows):
            return FilterAndMetric(filter=rows[0]["filter"], metric=metric)
    raise CannotRunError(f"none of its metrics ({', '.join(rows[0]['metrics'])}) is a number for each document")


def _samples(
    name: str,
    task_name: str,
    task: Any,  # noqa: ANN401 - lm-eval's own
    rows: Sequence[Row],
    measure: FilterAndMetric,
    lm: Any,  # noqa: ANN401 - an EngineLM, whose module imports lm-eval
    *,
    alone: bool,
) -> Iterator[Sample]:
    others: dict[int, dict[str, float]] = {}
    for row in rows:
        for metric in row["metrics"]:
            value = _number(row.get(metric))
            if value is not None:
                others.setdefault(row["doc_id"], {})[f"{metric},{row['filter']}"] = value
    for row in rows:
        if row["filter"] != measure.filter:
            continue
        completion = lm.completions.get((task_name, row["doc_id"]))
        score = _number(row[measure.metric])
        answer = _written(row, completion) if completion else _chosen(row, task)
        if completion and measure.metric in METRICS:
            answer |= _read_otherwise(row, task, measure.metric, completion.text, score)
        asked = task.doc_to_text(row["doc"])  # the place of an option where every option is a text of its own
        extra = answer.pop("extra", {}) | {
            "task": task_name,
            "doc_id": row["doc_id"],
            "prompt_hash": row["prompt_hash"],
            "metrics": others[row["doc_id"]],
            **({"user_prompt": asked} if isinstance(asked, str) else {}),
        }
        yield Sample(
            id=row["doc_hash"][:16],
            benchmark=name,
            category="" if alone else task_name,
            score=score,
            extra=extra,
            **answer,
        )


def _chosen(row: Row, task: Any) -> dict[str, Any]:  # noqa: ANN401 - lm-eval's own
    """Return the fields of a document whose options, or whose one continuation, were scored."""
    logprobs = [float(answer[0]) for answer in row["filtered_resps"]]
    prompts = [arguments[0] for arguments in row["arguments"]]
    if task.OUTPUT_TYPE != "multiple_choice":
        text = row["arguments"][0][1]
        return {"prompt": prompts[0], "completion": text, "target": text, "extra": {"logprobs": logprobs}}
    options = list(task.doc_to_choice(row["doc"]))
    logprobs = logprobs[: len(options)]  # mutual information scores the options once more, without a context
    best = max(range(len(options)), key=logprobs.__getitem__)
    return {
        "prompt": prompts[best if task.multiple_input else 0],
        "completion": options[best],
        "extracted": options[best],
        "target": _target(row, task, options),
        "choices": len(options),
        "extra": {"options": options, "logprobs": logprobs},
    }


def _target(row: Row, task: Any, options: Sequence[str]) -> str:  # noqa: ANN401 - lm-eval's own
    gold = task.doc_to_text(row["doc"]) if task.multiple_input else row["target"]
    indices = gold if isinstance(gold, list) else [gold]
    return " | ".join(options[it] if isinstance(it, int) and 0 <= it < len(options) else str(it) for it in indices)


def _written(row: Row, completion: Completion) -> dict[str, Any]:
    """Return the fields of a document that was answered in free text."""
    found = row["filtered_resps"][0]
    while isinstance(found, list):
        found = found[0] if found else ""
    missing = str(found).strip() in (INVALID, "")
    status: SampleStatus = "format_failure" if missing else "truncated" if completion.truncated else "ok"
    return {
        "prompt": row["arguments"][0][0],
        "completion": completion.text,
        "extracted": None if missing else str(found),
        "target": str(row["target"]),
        "status": status,
        "tokens": completion.tokens,
    }


def _read_otherwise(
    row: Row,
    task: Any,  # noqa: ANN401 - lm-eval's own
    metric: str,
    completion: str,
    score: float | None,
) -> dict[str, Any]:
    """Return what the task's own scorer says of the answer that is found in another form; its score stays as it is."""
    if score == 1:
        return {"extra": {"lenient": 1.0}}
    targets = row["target"] if isinstance(row["target"], list) else [row["target"]]
    for reading in other_readings(completion, str(targets[0]) if targets else ""):
        if _number(task.process_results(row["doc"], [reading]).get(metric)) == 1:
            return {"status": "format_failure", "extra": {"lenient": 1.0, "lenient_answer": reading}}
    return {"extra": {"lenient": score}}


def _with_different_ids(samples: Sequence[Sample]) -> Iterator[Sample]:
    """Name documents that a dataset holds several times apart, by how often they came before."""
    times: dict[str, int] = {}
    for sample in samples:
        time = times[sample.id] = times.get(sample.id, 0) + 1
        yield sample if time == 1 else dataclasses.replace(sample, id=f"{sample.id}-{time}")


def _number(value: object) -> float | None:
    """Return a metric's value for one document; None where it is a pair or a list, to be made into a figure later."""
    import numpy as np

    return float(value) if isinstance(value, (bool, int, float, np.number, np.bool_)) else None
