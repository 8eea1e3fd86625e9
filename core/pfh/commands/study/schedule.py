"""How long steps take on so many devices."""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Mapping

from pfh.steps.graph import Graph


def wall_time(graph: Graph, seconds: Mapping[str, float], devices: int) -> float:
    """Return how long the steps take on so many devices, those with the most behind them first (list scheduling)."""
    behind: dict[str, float] = dict(seconds)
    followers: dict[str, list[str]] = defaultdict(list)
    for name, step in graph.items():
        for need in step.needs:
            followers[need].append(name)
    for name in reversed(list(graph)):
        behind[name] = seconds[name] + max((behind[after] for after in followers[name]), default=0.0)
    waiting = {name: sum(need in graph for need in step.needs) for name, step in graph.items()}
    ready = [(-behind[name], name) for name, count in waiting.items() if not count]
    heapq.heapify(ready)
    running: list[tuple[float, str]] = []
    now = 0.0
    while ready or running:
        while ready and len(running) < devices:
            _, name = heapq.heappop(ready)
            heapq.heappush(running, (now + seconds[name], name))
        now, done = heapq.heappop(running)
        for after in followers[done]:
            waiting[after] -= 1
            if not waiting[after]:
                heapq.heappush(ready, (-behind[after], after))
    return now
