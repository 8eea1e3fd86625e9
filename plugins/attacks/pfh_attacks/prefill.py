"""Begins the model's answer with the first tokens of the wanted one."""

from __future__ import annotations

from pfh import hookimpl
from pfh.hooks.attacks import AttackResult, AttackSpec, Behaviour
from pydantic import BaseModel, ConfigDict, Field

from pfh_attacks.sending import Sent, asking, by_behaviour


class Options(BaseModel):
    """How much is begun."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    tokens: str = Field(
        "1,3,8",
        pattern=r"^[1-9][0-9]*(,[1-9][0-9]*)*$",
        description="numbers of tokens of the wanted answer that are put into the model's mouth, an attempt each",
    )


@hookimpl
def options() -> type[BaseModel]:
    """Name the options of the attack."""
    return Options


@hookimpl
def attack(spec: AttackSpec) -> AttackResult:
    """Try every length once; one longer than the wanted answer is that answer."""
    chosen = spec.options or Options.model_validate({})
    lengths = sorted({int(text) for text in chosen.tokens.split(",")})
    return by_behaviour(spec, [each for behaviour in spec.behaviours for each in _begun(spec, behaviour, lengths)])


def _begun(spec: AttackSpec, behaviour: Behaviour, lengths: list[int]) -> list[Sent]:
    messages = asking(behaviour.prompt)
    if spec.engine.checkpoint.endpoint is not None:
        return [Sent(behaviour, messages, behaviour.target)]
    space = "" if spec.engine.render(messages)[-1:].isspace() else " "
    tokens = spec.engine.encode(space + behaviour.target)
    prefills = dict.fromkeys(spec.engine.decode(tokens[:length]) for length in lengths)
    return [Sent(behaviour, messages, prefill) for prefill in prefills]
