"""YAML of unknown origin: no tags that make objects, no aliases that unfold to more than memory holds."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, ClassVar

import yaml

from pfh.errors import content_of, reading

LARGEST = 1 << 24
"""Bytes."""
MOST = 100_000
"""Values, those behind an alias counted each time."""


class PlainLoader(yaml.SafeLoader):  # type: ignore[misc] # PyYAML has no types
    """Reads numbers as YAML 1.2 has them: 3e9 is one, and 4:00:00 is none (it is 14400 in YAML 1.1)."""

    yaml_implicit_resolvers: ClassVar = {
        first: [pair for pair in pairs if not pair[0].endswith((":int", ":float"))]
        for first, pairs in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


PlainLoader.add_implicit_resolver(
    "tag:yaml.org,2002:int", re.compile(r"[-+]?(0|[1-9][0-9_]*|0x[0-9a-fA-F_]+|0o[0-7_]+)$"), list("-+0123456789")
)
PlainLoader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(
        r"([-+]?([0-9]+\.[0-9]*|\.[0-9]+|[0-9]+(?=[eE]))([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN))$"
    ),
    list("-+0123456789."),
)


def read_yaml(file: Path, what: str, remedy: str) -> Any:  # noqa: ANN401 - whatever YAML holds
    """Return what a YAML file holds.

    Args:
        file: to read.
        what: names it in what is said, such as "The contract x.yaml".
        remedy: what to do if it cannot be read.

    Raises:
        UserError: it cannot be read, is no YAML, or holds more than `MOST` values.
    """
    with reading(what, remedy):
        try:
            value = yaml.load(content_of(file, LARGEST), PlainLoader)  # noqa: S506 - a SafeLoader
        except yaml.MarkedYAMLError as error:
            if error.problem_mark is None:
                raise
            raise ValueError(f"line {error.problem_mark.line + 1}: {error.problem}") from error
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
