"""Random search over a suffix (Andriushchenko et al. 2024, 2404.02151): kept is what makes the wanted opening likelier.

A change of one of the suffix's tokens is scored as text by the engine's own scorer, several a step. The last suffix
that worked for a behaviour begins the search of the next. The string is chosen by its likelihood and never by a judge.
"""

from __future__ import annotations

import random

from pfh import hookimpl
from pfh.errors import UserError
from pfh.hooks.attacks import AttackResult, AttackSpec, Behaviour, Outcome
from pfh.hooks.backends import ScoringRequest
from pydantic import BaseModel, ConfigDict, Field

from pfh_attacks.sending import Sent, asking, send

START = " !"


class Options(BaseModel):
    """How long the suffix is, and how much is tried."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    queries: int = Field(200, ge=1, description="candidates that are scored for each behaviour")
    width: int = Field(20, ge=1, description="candidates that are scored together, a step")
    suffix: int = Field(25, ge=1, description="length of the suffix, in tokens")


@hookimpl
def options() -> type[BaseModel]:
    """Name the options of the attack."""
    return Options


@hookimpl
def attack(spec: AttackSpec) -> AttackResult:
    """Search for every behaviour in turn, then send the best string of each.

    Raises:
        UserError: the budget holds no step, or the backend has no log-likelihoods.
    """
    chosen = spec.options or Options.model_validate({})
    if chosen.queries < chosen.width:
        raise UserError(f"random-search.queries={chosen.queries} is less than one step: give at least {chosen.width}")
    if spec.engine.checkpoint.endpoint is not None:
        raise UserError("random-search needs log-probabilities; use --backend hf or vllm")
    steps = chosen.queries // chosen.width
    queries = 1 + steps * chosen.width + 1  # the suffix that it begins with, and what is sent in the end
    suffix = START * chosen.suffix
    pool = _pool()
    sent = []
    with spec.progress.task("searching suffixes", len(spec.behaviours)) as bar:
        for behaviour in sorted(spec.behaviours, key=lambda each: each.id):
            suffix, loss = _searched(spec, behaviour, suffix, pool, steps, chosen.width)
            sent.append(Sent(behaviour, asking(behaviour.prompt + suffix), loss=loss))
            bar.advance(1)
    attempts = send(spec, sent)
    return AttackResult(
        outcomes=tuple(
            Outcome(
                id=each.behaviour.id,
                attempts=(attempt,),
                final=0,
                queries=queries,
                tokens=(queries - 1) * spec.engine.count_tokens(spec.engine.render(each.messages)),
            )
            for each, attempt in zip(sent, attempts, strict=True)
        ),
        access="grey-box",
        searched=True,
    )


def _searched(
    spec: AttackSpec, behaviour: Behaviour, suffix: str, pool: list[str], steps: int, width: int
) -> tuple[str, float]:
    """Return the best suffix and its loss, after steps of so many candidates."""
    draw = random.Random(f"{spec.seed}/{behaviour.id}")  # noqa: S311 - nothing secret
    parts = _parts(spec, suffix)
    best = _losses(spec, behaviour, ["".join(parts)])[0]
    for _ in range(steps):
        candidates = []
        for _ in range(width):
            changed = list(parts)
            changed[draw.randrange(len(changed))] = draw.choice(pool)
            candidates.append(changed)
        losses = _losses(spec, behaviour, ["".join(each) for each in candidates])
        lowest = min(range(len(losses)), key=losses.__getitem__)
        if losses[lowest] < best:
            best, parts = losses[lowest], candidates[lowest]
    return "".join(parts), best


def _losses(spec: AttackSpec, behaviour: Behaviour, suffixes: list[str]) -> list[float]:
    """Return the negative log-likelihood of the wanted answer's first token behind each suffix, in nats."""
    prompts = [spec.engine.render(asking(behaviour.prompt + suffix)) for suffix in suffixes]
    requests = []
    for place, prompt in enumerate(prompts):
        space = "" if prompt[-1:].isspace() else " "
        first = spec.engine.decode(spec.engine.encode(space + behaviour.target)[:1])
        requests.append(ScoringRequest(id=f"{behaviour.id} {place}", context=prompt, continuation=first))
    return [-score.logprob for score in spec.engine.loglikelihood(requests)]


def _parts(spec: AttackSpec, suffix: str) -> list[str]:
    tokens = spec.engine.encode(suffix)
    return [spec.engine.decode([token]) for token in tokens] or [suffix]


def _pool() -> list[str]:
    """Return the strings that a token may be changed into: common words and the marks of ASCII."""
    return [f" {word}" for word in _WORDS] + [chr(code) for code in range(33, 127)]


_WORDS = tuple(
    word
    for line in (
        "the a of to and in is for on that with as it at by from or an be this are was but not have has had they we",
        "will would can could should may might must shall do does did so if then than when where which who what how",
        "some no yes more most other such only own same very just over under again further once here there about above",
        "between through during before after up down out off now begin write list first second third point step table",
        "text title answer question reply note form sure okay please story code line page part two three four five ten",
    )
    for word in line.split()
)
