"""What searches share: the objective, scored by the engine, and what is kept so that a killed search goes on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

from pfh.errors import UserError
from pfh.hooks.attacks import AttackSpec, Behaviour
from pfh.hooks.backends import Keeps, Kept, ScoringRequest, WhiteBox

from pfh_attacks.sending import asking

_MARK = "X-pfh-X"


@dataclass(frozen=True)
class Placed:
    """A behaviour in a rendered chat, with a place behind it: text before, text after, and how an answer begins."""

    before: str
    after: str
    wanted: str


def placed(spec: AttackSpec, behaviour: Behaviour, tokens: int) -> Placed:
    """Return where a suffix stands, and the first so many tokens of the wanted answer."""
    before, _, after = spec.engine.render(asking(behaviour.prompt + _MARK)).rpartition(_MARK)
    return Placed(before, after, first_tokens(spec, after, behaviour.target, tokens))


def first_tokens(spec: AttackSpec, prompt: str, target: str, tokens: int) -> str:
    """Return the first tokens of the wanted answer, with the space that a prompt which ends in none is followed by."""
    space = "" if prompt[-1:].isspace() else " "
    return spec.engine.decode(spec.engine.encode(space + target)[:tokens])


@dataclass(frozen=True)
class Found:
    """The loss of one prompt."""

    loss: float
    """Negative log-likelihood of the wanted beginning, summed, in nats."""
    opens: bool
    """The model's own answer would begin so."""


def losses(spec: AttackSpec, prompts: Sequence[str], wanted: str) -> list[Found]:
    """Return the loss of every rendered prompt, by the engine's own scorer."""
    requests = [
        ScoringRequest(id=str(place), context=prompt, continuation=wanted) for place, prompt in enumerate(prompts)
    ]
    return [Found(-score.logprob, score.greedy) for score in spec.engine.loglikelihood(requests)]


def gradients(spec: AttackSpec, name: str) -> AbstractContextManager[tuple[Any, Any]]:
    """Return the context that lends the model with its gradients.

    Raises:
        UserError: the backend has none.
    """
    if not isinstance(spec.engine, WhiteBox) or spec.engine.checkpoint.endpoint is not None:
        raise UserError(f"{name} needs gradients; use --backend hf or auto")
    return spec.engine.white_box()


def kept(spec: AttackSpec, name: str, make: Callable[[], Kept]) -> Kept:
    """Return what an earlier attempt kept under `name`, or make it; names carry options and seed."""
    return spec.engine.keep(name, make) if isinstance(spec.engine, Keeps) else make()
