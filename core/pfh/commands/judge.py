"""`pfh judge`: a judge, on completions of the user's own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pfh.commands.own_rows import need, prompt_text, read_json_lines
from pfh.hooks.datasets import DataSource
from pfh.hooks.judges import Judge, JudgeSpec
from pfh.registry.plugins import Plugins

TOGETHER = 64
"""Rows that are labelled together."""


@dataclass(frozen=True, kw_only=True)
class Answered:
    """One row of the user's file."""

    row: Mapping[str, Any]
    prompt: str
    completion: str


def open_judge(name: str, options: Mapping[str, Any], plugins: Plugins, *, data: DataSource, cache_dir: Path) -> Judge:
    """Open a judge under `options`.

    Raises:
        UserError: there is no such judge or option, or the judge cannot be had here.
    """
    chosen = plugins.options("judges", name, options)
    spec = JudgeSpec(data=data, cache_dir=cache_dir, options=chosen, open_engine=plugins.open_engine)
    return plugins.open_judge(name, spec)


def read_completions(file: Path, text: str) -> list[Answered]:
    """Read JSON lines with prompt and completion.

    Raises:
        UserError: a line is no such row; names file and line.
    """
    return read_json_lines(file, text, "prompt and completion", _answered)


def judge_rows(judge: Judge, answered: Sequence[Answered]) -> Iterator[dict[str, Any]]:
    """Yield the rows in their order, with label and confidence."""
    for start in range(0, len(answered), TOGETHER):
        part = answered[start : start + TOGETHER]
        judgements = judge.label([each.prompt for each in part], [each.completion for each in part])
        for each, judgement in zip(part, judgements, strict=True):
            seen = {} if judgement.harmful is None else {"harmful": judgement.harmful}
            yield {**each.row, "label": judgement.label, "confidence": judgement.confidence, **seen}


def _answered(line: int, row: Any) -> Answered:  # noqa: ANN401 - JSON
    row = need(row, "prompt", "completion")
    if not isinstance(row["completion"], str):
        raise ValueError("completion is not a text")
    return Answered(row=row, prompt=prompt_text(row["prompt"]), completion=row["completion"])
