"""Sends attacks to a model and keeps what was sent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pfh.errors import UserError
from pfh.hooks.attacks import AttackResult, AttackSpec, Attempt, Behaviour, Outcome
from pfh.hooks.backends import GenerationRequest, Message, Sampling


@dataclass(frozen=True)
class Sent:
    """One attempt to send."""

    behaviour: Behaviour
    messages: tuple[Message, ...]
    prefill: str = ""
    loss: float | None = None


def asking(prompt: str) -> tuple[Message, ...]:
    """Return a chat of one turn."""
    return ({"role": "user", "content": prompt},)


def send(spec: AttackSpec, sent: Sequence[Sent], *, temperature: float = 0.0) -> list[Attempt]:
    """Return an attempt for everything sent, in the order given.

    Raises:
        UserError: something is put into the mouth of a model that only takes chats.
    """
    prefilled = any(each.prefill for each in sent)
    if prefilled and spec.engine.checkpoint.endpoint is not None:
        raise UserError("it begins the model's answer, which an endpoint of chats does not take: use --backend hf")
    rendered = [spec.engine.render(each.messages) + each.prefill for each in sent]
    requests = [
        GenerationRequest(id=f"{each.behaviour.id} {place}", prompt=text)
        if prefilled
        else GenerationRequest(id=f"{each.behaviour.id} {place}", messages=each.messages)
        for place, (each, text) in enumerate(zip(sent, rendered, strict=True))
    ]
    sampling = Sampling(max_new_tokens=spec.max_new_tokens, temperature=temperature, seed=spec.seed)
    done = spec.engine.generate(requests, sampling)
    remote = spec.engine.checkpoint.endpoint is not None
    return [
        Attempt(
            messages=each.messages,
            prefill=each.prefill,
            completion=completion.text,
            tokens_in=completion.prompt_tokens,
            tokens_out=completion.tokens,
            loss=each.loss,
            fits=remote or spec.engine.count_tokens(text) <= completion.prompt_tokens,
        )
        for each, text, completion in zip(sent, rendered, done, strict=True)
    ]


def by_behaviour(spec: AttackSpec, sent: Sequence[Sent], *, temperature: float = 0.0) -> AttackResult:
    """Send everything, and count every attempt alike."""
    attempts = send(spec, sent, temperature=temperature)
    held: dict[str, list[Attempt]] = {behaviour.id: [] for behaviour in spec.behaviours}
    for each, attempt in zip(sent, attempts, strict=True):
        held[each.behaviour.id].append(attempt)
    return AttackResult(
        outcomes=tuple(Outcome(id=key, attempts=tuple(own), queries=len(own)) for key, own in held.items())
    )
