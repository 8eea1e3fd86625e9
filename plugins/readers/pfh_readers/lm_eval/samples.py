"""The samples of one task of lm-eval: every line becomes a pfh sample with the values of its metrics."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

from pfh.hooks.samples import Sample, SampleStatus

from pfh_readers.lines import Skipped
from pfh_readers.scores import finite, is_number

INVALID = "[invalid]"
"""What lm-eval's filters return where they find nothing."""

_ARGUMENTS = ("arg_0", "arg_1")

FilterAndMetric = tuple[str, str]
"""(Filter, metric)."""

FIXED = frozenset(
    ("doc_id", "doc", "target", "arguments", "resps", "filtered_resps", "filter", "metrics", "pfh", "input", "schema")
) | {"doc_hash", "prompt_hash", "target_hash", "resps_hash", "submission", "task_name", "idx", "choices", "gold"}
"""Keys of a line that are no metrics. Before lm-eval 0.4.7 a line does not say which of its keys are."""


@dataclass(kw_only=True)
class TaskSamples:
    """What the samples of a task hold."""

    scored: dict[FilterAndMetric, list[Sample]] = field(default_factory=dict)
    opaque: dict[FilterAndMetric, tuple[list[Sample], list[Any]]] = field(default_factory=dict)
    """Those whose value a document is no number: the samples, and the values such as (log-likelihood, words)."""


@dataclass(frozen=True, kw_only=True)
class TaskForm:
    """What the results say of a task that its lines may leave out."""

    output_type: str | None = None
    measures: tuple[FilterAndMetric, ...] = ()
    """In their order."""
    cluster: str = ""
    """Field of a document that documents have in common which belong together."""

    @property
    def filters(self) -> list[str]:
        """The filters, in their order."""
        return list(dict.fromkeys(name for name, _ in self.measures))


def read_samples(
    rows: Iterable[tuple[int, dict[str, Any]]], file: Path, task: str, form: TaskForm, skipped: Skipped
) -> TaskSamples:
    """Read the samples of `task`; lines that are none, or repeat an id, are skipped and said.

    Args:
        rows: (line, what it holds).
        file: where they are from.
        task: name of the task.
        form: what is known of it.
        skipped: takes up what could not be read.
    """
    found = TaskSamples()
    lines: dict[tuple[str, str], int] = {}
    places: dict[FilterAndMetric, list[tuple[str, str]]] = {}
    seen: dict[str, int] = {}
    for number, row in rows:
        document = _document(row)
        if document is None or row.get("doc_id") is None:
            lacking = "doc_id" if document else "doc_hash"
            skipped.at(file, number, f"has no {lacking}, so it cannot be paired")
            continue
        doc_id = str(row["doc_id"])
        seen[doc_id] = time = seen.get(doc_id, 0) + 1
        filter_name = _filter(row, time, form)
        if filter_name is None or (filter_name, doc_id) in lines:
            first = lines.get((filter_name or form.filters[0], doc_id))
            skipped.at(file, number, f"repeats doc_id {doc_id} of line {first}")
            continue
        values = _values(row, form)
        if not values:
            skipped.at(file, number, "is no sample of lm-eval: it has no metric")
            continue
        lines[filter_name, doc_id] = number
        fields = _fields(row, document, form, values)
        for metric, value in values.items():
            measure = (filter_name, metric)
            places.setdefault(measure, []).append((doc_id, document))
            if is_number(value):
                scored = Sample(benchmark=task, score=finite(value), **fields)
                found.scored.setdefault(measure, []).append(scored)
            else:
                samples, opaque = found.opaque.setdefault(measure, ([], []))
                samples.append(Sample(benchmark=task, score=None, **fields))
                opaque.append(value)
    _tell_apart(found, places)
    return found


def _filter(row: Mapping[str, Any], time: int, form: TaskForm) -> str | None:
    """Return the filter of a line; where it does not say, the nth line of a document is of the nth filter."""
    if "filter" in row:
        return str(row["filter"])
    known = form.filters or ["none"]
    return known[time - 1] if time <= len(known) else (None if form.filters else f"filter {time}")


def _values(row: Mapping[str, Any], form: TaskForm) -> dict[str, Any]:
    named = row.get("metrics")
    if isinstance(named, list) and named:
        return {str(name): row[name] for name in named if isinstance(name, str) and name in row and name not in FIXED}
    rest = {name: value for name, value in row.items() if name not in FIXED}
    known = {metric for _, metric in form.measures}
    return {name: value for name, value in rest.items() if name in known} or rest


def _tell_apart(found: TaskSamples, places: Mapping[FilterAndMetric, list[tuple[str, str]]]) -> None:
    """Give equal documents ids of their own, in the order of doc_id: the order of lines depends on the processes."""
    for measure, where in places.items():
        if len({document for _, document in where}) == len(where):
            continue
        times: dict[str, int] = {}
        suffix = {}
        for doc_id, document in sorted(where, key=lambda place: _numeric(place[0])):
            times[document] = times.get(document, 0) + 1
            suffix[doc_id] = f"-{times[document]}" if times[document] > 1 else ""
        samples = found.scored.get(measure) or found.opaque[measure][0]
        if len(samples) != len(where):  # a number here, a list there: what it is, nobody can tell
            continue
        for place, (doc_id, _) in enumerate(where):
            if suffix[doc_id]:
                samples[place] = dataclasses.replace(samples[place], id=samples[place].id + suffix[doc_id])


def _numeric(doc_id: str) -> tuple[float, str]:
    number = finite(doc_id)
    return (float("inf") if number is None else number, doc_id)


def _document(row: Mapping[str, Any]) -> str | None:
    """Return what tells a document from others: its hash, or that of what is there of it."""
    if row.get("doc_hash"):
        return str(row["doc_hash"])
    if row.get("doc") is not None:
        return _hash(json.dumps(row["doc"], indent=2, ensure_ascii=False))
    hashes = [row.get("prompt_hash"), row.get("target_hash")]
    return _hash(json.dumps(hashes)) if any(hashes) else None


def _fields(row: Mapping[str, Any], document: str, form: TaskForm, metrics: Collection[str]) -> dict[str, Any]:
    """Return the fields of the sample in a line, all but its benchmark and its score."""
    requests = _in_order(row.get("arguments"))
    texts = [(_text(_argument(request, 0)), _text(_argument(request, 1))) for request in requests]
    prompt = texts[0][0] if texts else ""
    told = row.get("prompt_hash") or (_hash(prompt) if texts else "")
    target = _text(row["target"]) if row.get("target") is not None else None
    fields: dict[str, Any] = {"id": document[:16], "prompt": prompt, "target": target}
    answered = _choice(row, texts, target, metrics) if _is_choice(texts, form.output_type) else None
    fields |= answered or _written(row, form.output_type)
    fields["extra"] = {"prompt_hash": str(told)} if told else {}
    if "pfh" in row:
        own = _own(row["pfh"])
        fields |= own | {"extra": fields["extra"] | own.get("extra", {})}
    if form.cluster and isinstance(row.get("doc"), dict) and form.cluster in row["doc"]:
        fields["cluster"] = _hash(_text(row["doc"][form.cluster]))[:16]
    return fields


def _own(given: object) -> dict[str, Any]:
    """Return what an export of pfh says of a sample, as far as it is of the right form."""
    if not isinstance(given, Mapping):
        return {}
    found = {name: given[name] for name in ("id", "category", "cluster") if isinstance(given.get(name), str)}
    for name in ("extracted", "target"):
        if name in given and isinstance(given[name], str | None):
            found[name] = given[name]
    for name in ("choices", "tokens"):
        if name in given and (given[name] is None or (isinstance(given[name], int) and given[name] >= 0)):
            found[name] = given[name]
    if given.get("status") in get_args(SampleStatus):
        found["status"] = given["status"]
    if isinstance(given.get("extra"), Mapping):
        found["extra"] = dict(given["extra"])
    return found


def _is_choice(texts: Sequence[tuple[str, str]], output_type: str | None) -> bool:
    """Say whether options were scored; without a results file, several requests mean that."""
    return len(texts) > 1 if output_type is None else output_type == "multiple_choice" and bool(texts)


def _choice(
    row: Mapping[str, Any], texts: Sequence[tuple[str, str]], target: str | None, metrics: Collection[str]
) -> dict[str, Any] | None:
    """Return the fields of a multiple-choice sample, or None where the line does not hold the log-likelihoods."""
    if "acc_mutual_info" in metrics:
        texts = texts[: len(texts) // 2]  # the same options stand there again, without a context
    options = _options(texts)
    answers = _in_order(row.get("filtered_resps") or row.get("resps"))[: len(options)]
    likelihoods = [finite(_first(answer)) for answer in answers]
    known = [value for value in likelihoods if value is not None]
    if len(likelihoods) < len(options) or not known:
        return None
    chosen = options[likelihoods.index(max(known))]
    named = target is not None and target.isdecimal() and int(target) < len(options)
    return {
        "completion": chosen,
        "extracted": chosen,
        "target": options[int(str(target))] if named else target,
        "choices": len(options) if len(options) > 1 else None,
    }


def _options(texts: Sequence[tuple[str, str]]) -> list[str]:
    """Return what the requests differ in: the continuation, or the end of the context where that is common to all."""
    continuations = [continuation.strip() for _, continuation in texts]
    contexts = [context for context, _ in texts]
    if len(texts) < 2 or len(set(continuations)) > 1 or len(set(contexts)) < 2:
        return continuations
    low, high = min(contexts), max(contexts)
    same = next((place for place, (x, y) in enumerate(zip(low, high, strict=False)) if x != y), len(low))
    start = low.rfind(" ", 0, same) + 1
    return [context[start:].strip() for context in contexts]


def _written(row: Mapping[str, Any], output_type: str | None) -> dict[str, Any]:
    filtered, answers = row.get("filtered_resps"), row.get("resps")
    if filtered is None and answers is None:
        return {"completion": ""}
    extracted = _text(_first(filtered if filtered is not None else answers))
    missing = output_type in ("generate_until", None) and extracted.strip() in (INVALID, "")
    return {
        "completion": _text(_first(answers if answers is not None else filtered)),
        "extracted": None if missing else extracted,
        "status": "format_failure" if missing else "ok",
    }


def _in_order(value: Any) -> list[Any]:  # noqa: ANN401 - whatever JSON holds
    if isinstance(value, dict):
        return list(value.values())
    return value if isinstance(value, list) else []


def _argument(request: Any, place: int) -> Any:  # noqa: ANN401
    """Return the context (0) or what is asked of it (1); samples that were never written to a file hold plain lists."""
    if isinstance(request, dict):
        return request.get(_ARGUMENTS[place], "")
    if isinstance(request, list):
        return request[place] if place < len(request) else ""
    return request if place == 0 else ""


def _first(value: Any) -> Any:  # noqa: ANN401
    while isinstance(value, list):
        value = value[0] if value else ""
    return value


def _text(value: Any) -> str:  # noqa: ANN401
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()
