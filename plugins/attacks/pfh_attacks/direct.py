"""Asks for the behaviour as it stands: the baseline of every other attack."""

from __future__ import annotations

from pfh import hookimpl
from pfh.hooks.attacks import AttackResult, AttackSpec

from pfh_attacks.sending import Sent, asking, by_behaviour


@hookimpl
def attack(spec: AttackSpec) -> AttackResult:
    """Ask once."""
    return by_behaviour(spec, [Sent(behaviour, asking(behaviour.prompt)) for behaviour in spec.behaviours])
