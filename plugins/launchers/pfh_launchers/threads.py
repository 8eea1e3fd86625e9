"""Threads of a task: its share of the cores, and never more than the user has set."""

from __future__ import annotations

import os
from collections.abc import Mapping

VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "RAYON_NUM_THREADS")


def cores_here() -> int:
    """Return how many cores this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # where the system does not tell
        return os.cpu_count() or 1


def thread_settings(cores: int, environment: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return environment variables that keep a process to so many cores.

    What the user has set is kept where it is less; OMP_NUM_THREADS counts for all. Threads sleep while they wait: those
    of two processes that spin on the same cores slow each other down by a multiple.
    """
    given = os.environ if environment is None else environment
    most = min(_number(given.get(VARIABLES[0], "")) or cores, cores)
    threads = {name: str(min(_number(given.get(name, "")) or most, most)) for name in VARIABLES}
    return {"OMP_WAIT_POLICY": "PASSIVE", **threads}


def _number(text: str) -> int:
    """Return the first level's count of what may be a list, one a level; 0 for what is none."""
    first = text.partition(",")[0].strip()
    return int(first) if first.isdecimal() else 0
