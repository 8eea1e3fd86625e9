"""Which defaults a model gets: the embedded one brings its own, in one file, every other has those of the plugins."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any

PROBLEMS = 2048
"""Training problems of a run, for every model but the embedded one."""


def is_embedded(*models: str | None) -> bool:
    """Say whether one of `models`, as a command names them, is the embedded model: as it comes, or aligned."""
    return any(model in (None, "safe", "base") for model in models)


@cache
def embedded_settings() -> Mapping[str, Mapping[str, Any]]:
    """Return the embedded model's settings by plugin key; "run" has those of the run itself."""
    return tomllib.loads(files("pfh.starts").joinpath("embedded.toml").read_text(encoding="utf-8"))


def default_settings(key: str, *models: str | None) -> Mapping[str, Any]:
    """Return what replaces defaults of a plugin, such as "methods:dpo": nothing but for the embedded model."""
    return embedded_settings().get(key, {}) if is_embedded(*models) else {}


def told_settings(options: Mapping[str, Any], problems: int, *models: str | None) -> str:
    """Say which of the embedded model's own settings are in force, in place of other models' defaults.

    Args:
        options: by plugin key, as they are in force.
        problems: training problems of the run.
        models: as a command names them.

    Returns:
        A sentence; an empty string where none is in force.
    """
    told = [f"problems={problems}"] if is_embedded(*models) and problems == default_problems(None) else []
    for key, chosen in options.items():
        own = {name: value for name, value in default_settings(key, *models).items() if getattr(chosen, name) == value}
        told += [f"{key.partition(':')[2]}.{name}={value}" for name, value in own.items()]
    if not told:
        return ""
    return (
        "The embedded model's own settings are in force, which are for its size and two cores, and not what the field "
        f"trains other models with: {', '.join(told)}."
    )


def default_problems(model: str | None) -> int:
    """Return how many training problems a run has where the user names no number."""
    return int(embedded_settings()["run"]["problems"]) if is_embedded(model) else PROBLEMS
