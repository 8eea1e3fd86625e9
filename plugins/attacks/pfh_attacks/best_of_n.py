"""Best-of-N jailbreaking: scrambles, swaps the case of and shifts letters at random (Hughes et al. 2024, 2412.03556).

Inner letters of words of more than three are scrambled with probability sigma^(1/2) a word, cases flipped with
sigma^(1/2) a letter, and letters moved by one in ASCII with sigma^3 a letter.
"""

from __future__ import annotations

import random

from pfh import hookimpl
from pfh.hooks.attacks import AttackResult, AttackSpec
from pydantic import BaseModel, ConfigDict, Field

from pfh_attacks.sending import Sent, asking, by_behaviour

FIRST, LAST = 32, 126
"""The printable characters of ASCII."""


class Options(BaseModel):
    """How many variants, and how far from the request."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    variants: int = Field(8, ge=1, description="N, variants of each behaviour")
    sigma: float = Field(0.4, ge=0, le=1, description="strength of the changes")
    temperature: float = Field(1.0, ge=0, description="softmax temperature of the completions")


@hookimpl
def options() -> type[BaseModel]:
    """Name the options of the attack."""
    return Options


@hookimpl
def attack(spec: AttackSpec) -> AttackResult:
    """Send N variants of every behaviour, which the seed and the behaviour alone decide."""
    chosen = spec.options or Options.model_validate({})
    sent = [
        Sent(behaviour, asking(augmented(behaviour.prompt, chosen.sigma, f"{spec.seed}/{behaviour.id}/{number}")))
        for behaviour in spec.behaviours
        for number in range(chosen.variants)
    ]
    return by_behaviour(spec, sent, temperature=chosen.temperature)


def augmented(text: str, sigma: float, seed: str) -> str:
    """Return one variant of the text."""
    draw = random.Random(seed)  # noqa: S311 - nothing secret
    words = [_scrambled(word, draw) if draw.random() < sigma**0.5 else word for word in text.split(" ")]
    cased = [
        letter.swapcase() if letter.isascii() and draw.random() < sigma**0.5 else letter for letter in " ".join(words)
    ]
    return "".join(_moved(letter, draw) if draw.random() < sigma**3 else letter for letter in cased)


def _scrambled(word: str, draw: random.Random) -> str:
    if len(word) <= 3:
        return word
    inner = list(word[1:-1])
    draw.shuffle(inner)
    return word[0] + "".join(inner) + word[-1]


def _moved(letter: str, draw: random.Random) -> str:
    code = ord(letter) + draw.choice((-1, 1))
    return chr(code) if FIRST <= ord(letter) <= LAST and FIRST <= code <= LAST else letter
