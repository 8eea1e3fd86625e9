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


def default_problems(model: str | None) -> int:
    """Return how many training problems a run has where the user names no number."""
    return int(embedded_settings()["run"]["problems"]) if is_embedded(model) else PROBLEMS
