"""BFCL v4 (Patil et al. 2025, Apache-2.0): its single-turn cases, from the wheel that its authors publish.

The wheel is never installed. In an answer a list holds the allowed values, and "" among them means that the argument
may be absent. Tools may have dots in their names.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pfh.errors import DataUnavailableError, UserError
from pfh.sources.wheels import fetch_folder

DISTRIBUTION, VERSION = "bfcl-eval", "2026.3.23"
_SPLITS = ("simple_python", "multiple", "parallel", "parallel_multiple", "irrelevance")
_SHA256 = {
    "BFCL_v4_simple_python.json": "82dd63ba502eb2520c6b5d1d9a5c4b590e03ff261565175561f6228a367d1991",
    "possible_answer/BFCL_v4_simple_python.json": "90cd5bc653690ee8e459b5b3f3fc9458606f7f3fcbf795bb51b7dc581f8c86dc",
    "BFCL_v4_multiple.json": "aef168155ebd74b7ac2401198b201343bc7d16d7a3d7e0d4e6d8ee82c6969b2a",
    "possible_answer/BFCL_v4_multiple.json": "244e00ce9395df948bcafc7bee64e8f9c87ef70887587d83cae45b13699f3047",
    "BFCL_v4_parallel.json": "19f51a82eff42e5d62541aa500115a056eb78f437c2ba1f10415fd7c8e5dda84",
    "possible_answer/BFCL_v4_parallel.json": "8a6aa19c1adddc6a5a2f7e40f9dbf30cc7e95815e7b830c90589ab318229e0f0",
    "BFCL_v4_parallel_multiple.json": "8863ea8433239f55c5f016154cf0830853c89f693c6ea270396a2fa121960579",
    "possible_answer/BFCL_v4_parallel_multiple.json": (
        "5ebf24f458c1f16300c05505d83d6f0a1b68b79be273a033febd0d4f840507e3"
    ),
    "BFCL_v4_irrelevance.json": "2b6ed4c2e992cdcf5f1678a701851f944bef7550ee026ed1ddb89efed5be01a6",
}
_TYPES = {
    "dict": "object",
    "float": "number",
    "double": "number",
    "tuple": "array",
    "long": "integer",
    "char": "string",
}


def cases() -> tuple[list[dict[str, Any]], str]:
    """Return the cases of the Python categories and of irrelevance, and where they come from.

    Raises:
        DataUnavailableError: the wheel cannot be had.
    """
    caches = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    try:
        folder = fetch_folder(DISTRIBUTION, VERSION, "bfcl_eval/data", _SHA256, caches / "pfh" / f"bfcl-{VERSION}")
    except (UserError, OSError) as error:
        raise DataUnavailableError(f"BFCL cannot be had: {error}") from error
    found = [case for split in _SPLITS for case in read_split(folder, split)]
    return found, f"BFCL v4 ({DISTRIBUTION} {VERSION})"


def read_split(folder: Path, split: str) -> list[dict[str, Any]]:
    """Return the cases of one split."""
    answers = {}
    answer_file = folder / "possible_answer" / f"BFCL_v4_{split}.json"
    if answer_file.is_file():
        answers = {row["id"]: row["ground_truth"] for row in _rows(answer_file)}
    return [case_of(row, answers.get(row["id"], [])) for row in _rows(folder / f"BFCL_v4_{split}.json")]


def case_of(row: Mapping[str, Any], answer: list[Mapping[str, Mapping[str, list[Any]]]]) -> dict[str, Any]:
    """Return one case in the family's own layout."""
    expected = [
        {"name": name, "arguments": {key: _allowed(values) for key, values in arguments.items()}}
        for call in answer
        for name, arguments in call.items()
    ]
    return {
        "kind": "fits" if expected else "none fits",
        "asked": "\n".join(turn["content"] for turn in row["question"][0]),
        "tools": [{**tool, "parameters": _schema(tool["parameters"])} for tool in row["function"]],
        "expected": expected,
    }


def _allowed(values: list[Any]) -> list[Any]:
    return [None if value == "" else _value(value) for value in values]


def _value(value: object) -> object:
    """Return an allowed value; of an object each key holds a list of its own, of which the first is taken."""
    if isinstance(value, dict):
        return {key: _value(each[0]) if isinstance(each, list) and each else each for key, each in value.items()}
    return [_value(each) for each in value] if isinstance(value, list) else value


def _schema(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return a schema of BFCL as JSON schema."""
    found: dict[str, Any] = {}
    for key, value in schema.items():
        if key == "type":
            if value != "any":
                found["type"] = _TYPES.get(value, value)
        elif key == "properties":
            found[key] = {name: _schema(each) for name, each in value.items()}
        elif key == "items" and isinstance(value, dict):
            found[key] = _schema(value)
        elif key in ("required", "enum", "description"):
            found[key] = value
    return found


def _rows(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]
