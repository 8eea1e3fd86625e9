"""The variants of a study's methods: one for each combination of values of its axes."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pfh.commands.study.schema import Options, Stage
from pfh.commands.study.yaml_lines import Document, Place

MOST_RUNS = 10_000
"""Of a study; axes multiply, and a slip makes more runs than anybody could look at."""


@dataclass(frozen=True, kw_only=True)
class Variant:
    """One method of the study with one value on each of its axes."""

    method: str
    """As the study names it: stages joined by +."""
    label: str
    """The same with the values of its axes."""
    stages: tuple[str, ...]
    options: Mapping[str, Options]
    """Name of a stage's method to its options."""
    axes: Mapping[str, Any]
    """Axis, such as "beta", to its value."""
    place: Place


def place_of(document: Document, place: Place, method: str, option: str) -> Place:
    """Return where an option of a method stands, in an entry that is a mapping or a list of stages."""
    below = [found for found in document.lines if found[: len(place)] == place]
    named = [found for found in below if found[-1] == option and method in found] if option else []
    return (named or [found for found in below if found[-1] == method] or [place])[0]


def named_entry(entry: str | dict[str, Options]) -> tuple[str, Options]:
    """Return name and options of an entry that is a name, or a name with options."""
    if isinstance(entry, str):
        return entry, {}
    name = next(iter(entry), "")
    return name, entry.get(name) or {}


def variants_of(entry: Stage | list[Stage], place: Place, document: Document) -> Iterator[Variant]:
    """Yield the variants of one entry: one for each combination of values of its axes."""
    stages = entry if isinstance(entry, list) else [entry]
    if not stages:
        raise document.error(place, "it is empty: a list of stages names at least one method.")
    if any(isinstance(stage, dict) and len(stage) != 1 for stage in stages):
        raise document.error(place, "give one method with its options here; a list of them is a list of stages.")
    named = [named_entry(stage) for stage in stages]
    names = [name for name, _ in named]
    axes: list[tuple[str, str, list[Any]]] = []
    fixed: dict[str, Options] = {}
    for name, options in named:
        if name in fixed and fixed[name] != options:
            raise document.error(place, f"two stages of {name} in one run need the same options.")
        fixed[name] = options
    for name, options in fixed.items():
        for option, value in options.items():
            if isinstance(value, list):
                if not value:
                    raise document.error(place_of(document, place, name, option), "it is empty: an axis needs values.")
                axes.append((name, option, value))
    check_count(math.prod(len(values) for _, _, values in axes), place, document)
    for values in itertools.product(*(each for _, _, each in axes)):
        options = {name: dict(given) for name, given in fixed.items()}
        told: dict[str, Any] = {}
        for (name, option, _), value in zip(axes, values, strict=True):
            options[name][option] = value
            told[option if len(fixed) == 1 else f"{name}.{option}"] = value
        method = "+".join(names)
        yield Variant(
            method=method,
            label=method + ("" if not told else f"({', '.join(f'{key}={value}' for key, value in told.items())})"),
            stages=tuple(names),
            options=options,
            axes=told,
            place=place,
        )


def check_count(runs: int, place: Place, document: Document) -> None:
    """Refuse more runs than a study can have.

    Raises:
        UserError: these are more; names the place that makes them.
    """
    if runs > MOST_RUNS:
        raise document.error(
            place, f"it makes {runs:.3g} runs, and a study has at most {MOST_RUNS:,}: shorten an axis."
        )
