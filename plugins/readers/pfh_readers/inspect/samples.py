"""One sample of an Inspect log: its texts, and what each scorer gave it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from pfh.hooks.samples import Sample, SampleStatus

from pfh_readers.inspect.archive import Json
from pfh_readers.scores import finite
from pfh_readers.values import listed, mapping

GRADES = {"C": 1.0, "P": 0.5, "I": 0.0, "N": 0.0}
"""Inspect's own values of its grades: correct, partial, incorrect, no answer."""

LONGEST_ID = 200
DEEPEST = 20
"""Parts of a message within parts."""

Scorer = tuple[str, str]
"""(Scorer, key of its value; empty where the value is one score)."""


def read_scored(row: Json, only_scorer: str) -> Iterator[tuple[Scorer, Sample]]:
    """Yield the sample once for every score that it was given; the benchmark is left empty.

    Args:
        row: the sample, as the log has it.
        only_scorer: name of the scorer where the log says "score" and not whose, as the first version did.
    """
    scores = row.get("scores")
    if not isinstance(scores, Mapping):
        scores = {only_scorer: row["score"]} if isinstance(row.get("score"), Mapping) else {}
    base = read_sample(row)
    output = mapping(row.get("output"))
    for scorer, score in scores.items():
        if not isinstance(score, Mapping):
            continue
        answer, value = score.get("answer"), score.get("value")
        said = answer if isinstance(answer, str) else None
        sample = replace(base, extracted=said or None, status=_status(row, score, output))
        for key, part in graded(value):
            yield (str(scorer), key), replace(sample, score=part)


def graded(value: object) -> Iterator[tuple[str, float | None]]:
    """Yield (key, score): one with an empty key for a plain value, one a key for a scorer that returns several."""
    if isinstance(value, Mapping):
        yield from ((str(key), grade(part)) for key, part in value.items())
    else:
        yield "", grade(value)


def grade(value: object) -> float | None:
    """Return a score as a number; None where there is no finite one."""
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    return GRADES[value] if isinstance(value, str) and value in GRADES else finite(value)


def read_sample(row: Json) -> Sample:
    """Return the sample without a score."""
    prompt = _prompt(row)
    output, metadata = mapping(row.get("output")), mapping(row.get("metadata"))
    target = row.get("target")
    category = metadata.get("category") or metadata.get("subject") or ""
    tokens = mapping(output.get("usage")).get("output_tokens")
    return Sample(
        id=sample_id(row),
        benchmark="",
        category=category if isinstance(category, str) else json.dumps(category),
        prompt=prompt,
        completion=_text(_completion(output), row),
        target=target if isinstance(target, str) else ", ".join(map(str, listed(target))),
        score=None,
        choices=len(listed(row.get("choices"))) or None,
        tokens=tokens if isinstance(tokens, int) else None,
        extra={"prompt_hash": hashlib.sha256(prompt.encode("utf-8", "replace")).hexdigest()},
    )


def sample_id(row: Json) -> str:
    """Return the sample's id as text, a hash of it where it is endless."""
    told = row.get("id")
    text = told if isinstance(told, str) else json.dumps(told, sort_keys=True)
    if len(text) <= LONGEST_ID:
        return text
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()[:32]


def _completion(output: Json) -> object:
    if output.get("completion"):
        return output["completion"]
    first = next(iter(listed(output.get("choices"))), None)
    return mapping(mapping(first).get("message")).get("content") or ""


def _status(row: Json, score: Json, output: Json) -> SampleStatus:
    if row.get("error"):
        return "error"
    first = next(iter(listed(output.get("choices"))), None)
    if row.get("limit") or mapping(first).get("stop_reason") == "max_tokens":
        return "truncated"
    empty = score.get("answer") == "" or score.get("reason") == "invalid_response_format"
    return "format_failure" if empty else "ok"


def _prompt(row: Json) -> str:
    """Return all that the model was told before it first answered."""
    turns = []
    for message in listed(row.get("messages")):
        if not isinstance(message, Mapping):
            continue
        if message.get("role") == "assistant" and (message.get("source") == "generate" or message.get("model")):
            break
        turns.append(f"{message.get('role')}: {_text(message.get('content'), row)}")
    return "\n".join(turns) or _text(row.get("input"), row)


def _text(content: Any, row: Json, depth: int = 0) -> str:  # noqa: ANN401 - a string, or a list of parts
    if isinstance(content, list) and depth < DEEPEST:
        parts = (part.get("text", part.get("content", "")) if isinstance(part, Mapping) else part for part in content)
        return "\n".join(_text(part, row, depth + 1) for part in parts)
    text = content if isinstance(content, str) else "" if content is None else json.dumps(content)
    if not text.startswith("attachment://"):
        return text
    kept = mapping(row.get("attachments")).get(text.removeprefix("attachment://"))
    return kept if isinstance(kept, str) else text
