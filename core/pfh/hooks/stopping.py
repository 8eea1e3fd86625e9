"""A training that stops when a family has certainly lost more than it may."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pfh.errors import UserError

Look = Callable[[Path, int], bool]
"""Given the weights and the updates made, says whether the training is to stop."""


@dataclass(frozen=True, kw_only=True)
class StopWhen:
    """When a training stops before its end."""

    family: str
    points: float
    """The loss against the start of the run, in percentage points, that must certainly be exceeded."""
    every: int = 10
    """Updates between two looks."""
    documents: int = 64
    """Documents a benchmark that are looked at; none of them is among those that the run reports."""

    @classmethod
    def parse(cls, text: str, every: int = 10, documents: int = 64) -> StopWhen:
        """Read "forgetting>2pp".

        Raises:
            UserError: it is no family and a loss in points.
        """
        found = re.fullmatch(r"\s*([^\s>]+)\s*>\s*(\d+(?:\.\d+)?)\s*(?:pp|points?)?\s*", text)
        if found is None or float(found[2]) >= 100:
            raise UserError(
                f"--stop-when got {text!r}: write a family and the loss that stops a training, such as forgetting>2pp."
            )
        return cls(family=found[1], points=float(found[2]), every=every, documents=documents)

    def __str__(self) -> str:
        """Return it as a reader says it."""
        return f"{self.family}>{self.points:g}pp, looked at every {self.every} updates on {self.documents} documents"
