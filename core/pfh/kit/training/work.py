"""What a method does with a problem, in sequences."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Work:
    """What a method does with an example, a prompt or a completion: how many sequences take which way."""

    examples: int = 1
    """Examples of a problem: pairs, completions."""
    trained: float = 1
    """Through the model and back, of an example."""
    read: float = 0
    """Through the model: by a reference, a teacher, an old policy."""
    generated: float = 0
    """Written by the model itself."""
    along: bool = False
    """It writes while it trains, all of an update at once; others write before, in batches that fit."""
    at_once: float = 1
    """Sequences of an example that are in memory together, with the logits of all."""
    rounds: int = 1
    """Trainings, one after the other."""
