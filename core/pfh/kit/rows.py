"""Rows that a method takes beside its domain's: general prompts and their answers, of a dataset, a file, or pfh's own.

They are named `builtin` or `refusals` (of `pfh.kit.refusal_prompts`), ORGANISATION/NAME[:CONFIG]:SPLIT (a dataset), or
FILE.jsonl (an object a line).
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pfh.errors import DataUnavailableError, UserError
from pfh.hooks.backends import Message
from pfh.hooks.datasets import Dataset, DataSource, Row
from pfh.hooks.domains import Problem
from pfh.kit.refusal_prompts import load_prompts
from pfh.sources.datasets import read_jsonl
from pfh.text import storable

BUILTIN, REFUSALS = "builtin", "refusals"
PROMPTS = ("prompt", "instruction", "question", "query")
CONTEXTS = ("context", "input")
ANSWERS = ("completion", "response", "output", "answer", "chosen")
_ROLES = ("system", "user", "assistant")


@dataclasses.dataclass(frozen=True, kw_only=True)
class GeneralRow:
    """A prompt, and an answer to it where the rows have one."""

    problem: Problem
    answer: str = ""


@dataclasses.dataclass(frozen=True, kw_only=True)
class GeneralRows:
    """What a name stands for."""

    rows: tuple[GeneralRow, ...]
    origin: str
    """For the report, with the count of rows that were left out as they have no prompt."""


def rows_fingerprint(name: str, data: DataSource) -> str:
    """Return a hash of what `name` stands for, for the key of what is made of it.

    Raises:
        UserError: it stands for nothing that can be read.
        DataUnavailableError: the dataset cannot be had here.
    """
    if name in (BUILTIN, REFUSALS):
        told = [(prompt.kind, prompt.text, prompt.refusal) for prompt in load_prompts().tuning]
        return hashlib.sha256(json.dumps(told).encode()).hexdigest()[:16]
    return _dataset(name, data).fingerprint


def read_rows(name: str, data: DataSource, most: int, seed: int) -> GeneralRows:
    """Return at most `most` rows of what `name` stands for, drawn with `seed`; texts that repeat are drawn once.

    Raises:
        UserError: it stands for nothing that can be read, or no row has a prompt.
        DataUnavailableError: the dataset cannot be had here.
    """
    found, origin = _own(name), f"pfh's own prompts ({name})"
    if not found:
        dataset = _dataset(name, data)
        read = [_row(row) for row in dataset.rows]
        found, origin = [row for row in read if row is not None], dataset.origin
        if len(found) < len(read):
            origin += f" (without {len(read) - len(found)} that have no prompt)"
        if not found:
            raise UserError(
                f"No row of {name} has a prompt: a row is an object with {', '.join(PROMPTS)} (a text or a list of "
                f"turns) and, where it has an answer, {', '.join(ANSWERS)}; or with messages."
            )
    different = list({row.problem.id: row for row in found}.values())
    random.Random(f"{seed}/{name}").shuffle(different)  # noqa: S311 - a reproducible choice, not a secret
    return GeneralRows(rows=tuple(different[:most]), origin=origin)


def _own(name: str) -> list[GeneralRow]:
    if name not in (BUILTIN, REFUSALS):
        return []
    wanted = ("harmful",) if name == REFUSALS else ("benign", "look-alike")
    prompts = [prompt for prompt in load_prompts().tuning if prompt.kind in wanted]
    return [_general([{"role": "user", "content": each.text}], each.refusal) for each in prompts]


def _dataset(name: str, data: DataSource) -> Dataset:
    file = Path(name).expanduser()
    if file.suffix == ".jsonl" or file.is_file():
        return _file(file)
    hub_id, *rest = name.split(":")
    if not hub_id or not 1 <= len(rest) <= 2 or not all(rest):
        raise UserError(
            f"{name!r} names no rows: write {BUILTIN}, {REFUSALS}, a dataset as ORGANISATION/NAME:SPLIT or "
            "ORGANISATION/NAME:CONFIG:SPLIT, or a file FILE.jsonl."
        )
    return data.load(hub_id, rest[0] if len(rest) == 2 else "default", rest[-1])


def _file(file: Path) -> Dataset:
    try:
        rows = read_jsonl(file)
    except DataUnavailableError as error:
        raise UserError(str(error)) from error
    except OSError as error:
        raise UserError(f"The rows {file} cannot be read ({error.strerror}): name a JSON-lines file.") from error
    digest = hashlib.sha256(json.dumps(rows, sort_keys=True, default=str).encode("utf-8", "backslashreplace"))
    return Dataset(rows=rows, fingerprint=digest.hexdigest()[:16], origin=str(file))


def _row(row: Row) -> GeneralRow | None:
    """Return a row's prompt and answer; None where it has no prompt."""
    turns = _turns(row.get("messages"))
    if turns:
        answer = str(turns.pop()["content"]) if turns[-1]["role"] == "assistant" else ""
        return _general(turns, answer) if turns and turns[-1]["role"] == "user" else None
    given = _first(row, PROMPTS)
    turns = _turns(given)
    if not turns and isinstance(given, str) and given.strip():
        context = _first(row, CONTEXTS)
        text = f"{given}\n\n{context}" if isinstance(context, str) and context.strip() else given
        turns = [{"role": "user", "content": storable(text)}]
    if not turns or turns[-1]["role"] != "user":
        return None
    answer = _first(row, ANSWERS)
    said = _turns(answer)
    return _general(turns, said[-1]["content"] if said else storable(answer) if isinstance(answer, str) else "")


def _turns(given: Any) -> list[Message]:  # noqa: ANN401 - JSON
    """Return a list of turns as a chat; none where `given` is something else."""
    if not isinstance(given, list) or not all(isinstance(turn, dict) for turn in given):
        return []
    turns: list[Message] = [
        {"role": turn["role"], "content": storable(turn["content"])}
        for turn in given
        if turn.get("role") in _ROLES and isinstance(turn.get("content"), str) and turn["content"].strip()
    ]
    return turns if len(turns) == len(given) else []


def _first(row: Row, columns: Sequence[str]) -> Any:  # noqa: ANN401 - JSON
    return next((row[name] for name in columns if row.get(name)), None)


def _general(turns: Sequence[Message], answer: str) -> GeneralRow:
    digest = hashlib.sha256(json.dumps([dict(turn) for turn in turns], sort_keys=True).encode()).hexdigest()
    problem = Problem(id=f"general/{digest[:16]}", environment="general", messages=tuple(turns), answer="")
    return GeneralRow(problem=problem, answer=answer.strip())
