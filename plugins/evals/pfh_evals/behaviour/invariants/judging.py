"""Replies put to their checks in a process of its own: a pattern that never ends fails its own reply only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from pfh.kit.workers import Workers

from pfh_evals.behaviour.invariants.checks import holds
from pfh_evals.behaviour.invariants.extracts import extracted

SECONDS = 2.0
"""Of computing time that all checks of one reply may take."""
Asked = tuple[Sequence[Mapping[str, Any]], str, Mapping[str, Any], Mapping[str, Any] | None]
"""Checks, the reply, what they may look at, and what is taken out of the reply."""


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What the checks say of one reply."""

    held: tuple[bool, ...]
    """One a check, in their order."""
    value: str | None
    """What was taken out of the reply."""


def verdicts(asked: Sequence[Asked]) -> list[Verdict | None]:
    """Return what the checks say of every reply; None where they overran their time."""
    found = _workers().call_many(asked) if asked else []
    return [None if each is None else Verdict(held=tuple(each[0]), value=each[1]) for each in found]


def judged(
    checks: Sequence[Mapping[str, Any]], reply: str, context: Mapping[str, Any], way: Mapping[str, Any] | None
) -> tuple[list[bool], str | None]:
    """Put one reply to its checks: what the worker runs."""
    held = [all(holds(name, setting, reply, context) for name, setting in check.items()) for check in checks]
    return held, None if way is None else extracted(way, reply)


@cache
def _workers() -> Workers:
    return Workers("pfh_evals.behaviour.invariants.judging:judged", cpu_seconds=SECONDS)
