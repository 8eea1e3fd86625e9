"""Generators that draw from sets: their problems hang on the process's hash seed unless the sets have an order."""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from typing import Any


class Settled(set[Any]):
    """A set that is gone through in one order in every process, and so is what is left when others are taken out."""

    def __iter__(self) -> Iterator[Any]:
        return iter(sorted(super().__iter__(), key=repr))

    def __sub__(self, others: AbstractSet[Any]) -> Settled:
        return Settled(super().__sub__(others))


def with_ordered_sets(generator: Any) -> Any:  # noqa: ANN401 - reasoning-gym ships no types
    """Return `generator` with an order in each set among its attributes, so that a seed gives the same everywhere."""
    for name, value in vars(generator).items():
        if isinstance(value, set):
            setattr(generator, name, Settled(value))
    return generator
