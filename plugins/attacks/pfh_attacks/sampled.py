"""Asks the same again and again at a temperature: some draw may not refuse."""

from __future__ import annotations

from pfh import hookimpl
from pfh.hooks.attacks import AttackResult, AttackSpec
from pydantic import BaseModel, ConfigDict, Field

from pfh_attacks.sending import Sent, asking, by_behaviour


class Options(BaseModel):
    """How often, and how freely."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    samples: int = Field(8, ge=1, description="draws for each behaviour")
    temperature: float = Field(1.0, gt=0, description="softmax temperature of the draws")


@hookimpl
def options() -> type[BaseModel]:
    """Name the options of the attack."""
    return Options


@hookimpl
def attack(spec: AttackSpec) -> AttackResult:
    """Draw for every behaviour."""
    chosen = spec.options or Options.model_validate({})
    sent = [Sent(behaviour, asking(behaviour.prompt)) for behaviour in spec.behaviours for _ in range(chosen.samples)]
    return by_behaviour(spec, sent, temperature=chosen.temperature)
