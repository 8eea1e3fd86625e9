"""The graph of steps: what is made of what, each step under a key that is known before anything runs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from pfh.store.store import Store

StepKind = Literal["start", "self-test", "evaluation", "rollouts", "training", "merged", "divergence", "comparison"]
"""Kind of the artifact that a step makes."""


@dataclass(frozen=True, kw_only=True)
class Step:
    """One artifact: what makes it is its key, so equal steps of many runs are one."""

    kind: StepKind
    key: str
    label: str
    """What a reader calls it, such as "safety on SmolLM2-135M-Instruct"."""
    part: str
    """What it is to a run, such as "evaluation of the start": what a plan sums up by."""
    needs: tuple[str, ...] = ()
    """Ids of the steps that come before."""
    model: str = ""
    """Fingerprint of the model that answers or is trained; empty where none is loaded."""
    about: Mapping[str, Any] = field(default_factory=dict)
    """What decides how long it takes, as JSON."""

    @property
    def id(self) -> str:
        """Kind and key, which no other artifact of a store has."""
        return f"{self.kind}-{self.key}"


Graph = Mapping[str, Step]
"""Steps by id, each after those that it needs."""


def union(graphs: Iterable[Graph]) -> dict[str, Step]:
    """Return the steps of all graphs, what they share once."""
    return {name: step for graph in graphs for name, step in graph.items()}


def is_stored(step: Step, store: Store) -> bool:
    """Say whether a store holds what the step makes; its content is looked at when it is used."""
    return store.has(step.kind, step.key)


def depths(graph: Graph, cost: Mapping[str, float]) -> dict[str, float]:
    """Return of each step how long it takes with all that must come before, on as many devices as one likes."""
    done: dict[str, float] = {}
    for name, step in graph.items():
        done[name] = cost[name] + max((done[need] for need in step.needs if need in done), default=0.0)
    return done


def dependents(graph: Graph, broken: Iterable[str]) -> Iterator[str]:
    """Yield the ids of the steps that need one of `broken`, directly or through others."""
    lost = set(broken)
    for name, step in graph.items():
        if name not in lost and not lost.isdisjoint(step.needs):
            lost.add(name)
            yield name
