"""The ledger: what a run really spent, phase by phase."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Phase:
    """What one phase spent. A resumed phase counts the work of all its attempts."""

    name: str
    """Such as "rollouts" or "training"."""
    seconds: float
    """Wall-clock seconds."""
    tokens: int = 0
    """Tokens generated (rollouts) or tokens of the sequences trained on (training)."""
    updates: int = 0
    """Optimiser updates."""
    devices: int = 1
    """Devices that worked on it; device seconds are `seconds` times this."""
    samples: int = 0
    """Rollouts drawn, or examples trained on (an example counts once an epoch)."""
    passed: int = 0
    """Tokens of all passes through the model: of what is generated, of what an old policy, a reference or a teacher
    reads, and of what is trained on."""
    flops: float = 0.0
    """Floating-point operations of these passes, estimated; 0 where another machine made them."""
    notes: dict[str, float | int | str] = field(default_factory=dict)
    """Figures of this phase alone, such as the share of prompts that gave no pair."""


def write_ledger(path: Path, phases: Sequence[Phase]) -> None:
    """Write `phases` as JSON."""
    path.write_text(json.dumps([asdict(phase) for phase in phases], indent=1))


def read_ledger(path: Path) -> tuple[Phase, ...]:
    """Read what `write_ledger` wrote."""
    return tuple(Phase(**row) for row in json.loads(path.read_text()))
