"""YAML of unknown origin: no tags that make objects, no aliases that unfold to more than memory holds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pfh.errors import content_of, reading

LARGEST = 1 << 24
"""Bytes."""
MOST = 100_000
"""Values, those behind an alias counted each time."""


def read_yaml(file: Path, what: str, remedy: str) -> Any:  # noqa: ANN401 - whatever YAML holds
    """Return what a YAML file holds.

    Args:
        file: to read.
        what: names it in what is said, such as "The contract x.yaml".
        remedy: what to do if it cannot be read.

    Raises:
        UserError: it cannot be read, is no YAML, or holds more than `MOST` values.
    """
    import yaml

    with reading(what, remedy):
        value = yaml.safe_load(content_of(file, LARGEST))
        if _count(value, MOST) > MOST:
            raise ValueError(f"it holds more than {MOST:,} values, those behind an alias counted each time")
    return value


def _count(value: object, most: int) -> int:
    """Return how many values there are, or some number above `most`."""
    total = 1
    inside = (*value.keys(), *value.values()) if isinstance(value, dict) else value if isinstance(value, list) else ()
    for each in inside:
        total += _count(each, most - total)
        if total > most:
            break
    return total
