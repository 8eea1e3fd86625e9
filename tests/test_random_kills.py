"""A few kills at random moments of every command; benchmarks/random_kills.py does a hundred."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.killing import kill_everything


def test_killed_commands_end_as_if_nobody_had_killed_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Costs about 30 s: every kill needs a whole command before and after it."""
    monkeypatch.setattr("sys.path", [*__import__("sys").path])
    assert (
        kill_everything(tmp_path, {"run": 2, "eval": 1, "compare": 1, "attack": 3, "report": 2}, random.Random(0)) == []
    )
