"""Tasks as jobs of Slurm: those of equal kind that wait for the same are one array."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pfh.hooks.launchers import TaskSpec

LARGEST_ARRAY = 1000
"""Tasks of an array: Slurm's own default of MaxArraySize is 1001."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """A job with one task, or an array with several."""

    name: str
    """Tells the tasks apart from all others."""
    tasks: tuple[TaskSpec, ...]
    needs: tuple[str, ...]
    """Ids of the tasks that come before."""

    @property
    def seconds(self) -> float:
        """How long its longest task takes, by the plan."""
        return max(task.seconds for task in self.tasks)


def jobs_of(tasks: Sequence[TaskSpec]) -> Iterator[Job]:
    """Yield the jobs of tasks, each behind those that it needs; what matters most is submitted first.

    Tasks of one kind that need the same are an array: they begin at the same moment, and take alike.
    """
    alike: dict[tuple[str, tuple[str, ...]], list[TaskSpec]] = defaultdict(list)
    for task in sorted(tasks, key=lambda task: -task.priority):
        alike[task.id.partition("-")[0], tuple(sorted(task.needs))].append(task)
    placed: set[str] = set()
    ours = {task.id for task in tasks}
    waiting = dict(alike)
    while waiting:
        ready = [key for key in waiting if placed.issuperset(ours.intersection(key[1]))]
        assert ready, "tasks need each other"
        for key in ready:
            group = waiting.pop(key)
            placed.update(task.id for task in group)
            for start in range(0, len(group), LARGEST_ARRAY):
                part = tuple(group[start : start + LARGEST_ARRAY])
                named = hashlib.sha256(" ".join(task.id for task in part).encode()).hexdigest()[:12]
                yield Job(name=f"pfh-{key[0]}-{named}", tasks=part, needs=key[1])
