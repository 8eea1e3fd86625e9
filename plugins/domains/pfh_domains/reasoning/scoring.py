"""reasoning-gym's scorers, as `pfh.kit.workers` calls them: some take long, some compute with the answer."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from typing import Any


def score(task: str, settings: Mapping[str, Any], answer: str, entry: Mapping[str, Any]) -> float:
    """Return the task's score of `answer`, 1 for a right one; `entry` is the problem as the generator made it."""
    return float(_scorer(task, json.dumps(settings)).score_answer(answer, entry))


@cache
def _scorer(task: str, settings: str) -> Any:  # noqa: ANN401 - reasoning-gym ships no types
    import reasoning_gym

    return reasoning_gym.create_dataset(task, size=1, seed=0, **json.loads(settings))
