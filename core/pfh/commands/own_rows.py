"""JSON lines of a user's own, a row a line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from pfh.errors import UserError

Row = TypeVar("Row")


def read_json_lines(file: Path, text: str, fields: str, read: Callable[[int, Any], Row]) -> list[Row]:
    """Return what `read` makes of each line's number and JSON; `fields` names what a row holds.

    Raises:
        UserError: a line is no such row (`read` raised ValueError), or there is none; names file and line.
    """
    rows = []
    for number, line in enumerate(text.splitlines(), start=1):
        if line.strip():
            try:
                rows.append(read(number, json.loads(line)))
            except (ValueError, RecursionError) as error:
                told = " is no JSON" if isinstance(error, (json.JSONDecodeError, RecursionError)) else f": {error}"
                raise UserError(f"{file}, line {number}{told}. Each line is a JSON object with {fields}.") from None
    if not rows:
        raise UserError(f"{file} holds no rows: write JSON lines with {fields}.")
    return rows


def prompt_text(given: Any) -> str:  # noqa: ANN401 - JSON
    """Return the text of a prompt, or of the last turn of a chat.

    Raises:
        ValueError: it is neither.
    """
    if isinstance(given, list) and given and isinstance(given[-1], dict):
        given = given[-1].get("content")
    if not isinstance(given, str):
        raise ValueError("prompt is neither a text nor a list of messages")
    return given


def need(row: Any, *fields: str) -> dict[str, Any]:  # noqa: ANN401 - JSON
    """Return `row` if it is an object with all `fields`.

    Raises:
        ValueError: it is not.
    """
    if not isinstance(row, dict):
        raise ValueError("not an object")
    missing = [field for field in fields if row.get(field) is None]
    if missing:
        raise ValueError(f"without {' and '.join(missing)}")
    return row
