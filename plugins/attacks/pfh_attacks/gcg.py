"""Greedy coordinate gradient: a suffix, token by token where the gradient points (Zou et al. 2023, arXiv 2307.15043).

The objective is the negative log-likelihood of the wanted answer's first token (or first few, summed): over a whole
target its mean can be low while the model still refuses. Of one gradient by the suffix's tokens a step makes
candidates, each with one token changed into one of those that the gradient ranks first; the engine scores them as
text, which is what is sent, and the best is taken where it is better than what there was. A search ends when the
model's own answer would begin as wanted. The suffix that ended it begins the next behaviour, in the order of their ids.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pfh import hookimpl
from pfh.errors import UserError
from pfh.hooks.attacks import AttackResult, AttackSpec, Behaviour, Outcome
from pydantic import BaseModel, ConfigDict, Field

from pfh_attacks.searching import Found, Placed, gradients, kept, losses, placed
from pfh_attacks.sending import Sent, asking, send

if TYPE_CHECKING:
    import torch

START = " !"


class Options(BaseModel):
    """How long the suffix is, and how much is tried."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    steps: int = Field(40, description="steps for each behaviour, at most; 250 where there is a GPU")
    width: int = Field(24, ge=1, description="candidates of a step; 512 where there is a GPU")
    suffix: int = Field(20, ge=1, description="length of the suffix, in tokens")
    top: int = Field(256, ge=1, description="tokens that the gradient ranks first, for each place")
    target_tokens: int = Field(1, ge=1, description="tokens of the wanted answer that are made likelier")


@dataclass(frozen=True)
class _State:
    """The best suffix so far."""

    text: str
    found: Found
    queries: int
    tokens: int


@hookimpl
def options() -> type[BaseModel]:
    """Name the options of the attack."""
    return Options


@hookimpl
def attack(spec: AttackSpec) -> AttackResult:
    """Search for every behaviour in turn, then send the best string of each.

    Raises:
        UserError: the budget holds no step, or the backend has no gradients.
    """
    chosen = spec.options or Options.model_validate({})
    if chosen.steps < 1:
        raise UserError(f"gcg.steps={chosen.steps} is less than one step: give at least 1")
    sent, states, suffix = [], [], START * chosen.suffix
    with gradients(spec, "gcg") as (model, tokenizer):
        vocabulary = Vocabulary(spec, model, tokenizer)
        with spec.progress.task("searching suffixes", len(spec.behaviours)) as bar:
            for behaviour in sorted(spec.behaviours, key=lambda each: each.id):
                state = _searched(spec, chosen, vocabulary, behaviour, suffix)
                suffix = state.text if state.found.opens else suffix
                sent.append(Sent(behaviour, asking(behaviour.prompt + state.text), loss=state.found.loss))
                states.append(state)
                bar.advance(1)
    attempts = send(spec, sent)
    return AttackResult(
        outcomes=tuple(
            Outcome(id=each.behaviour.id, attempts=(attempt,), final=0, queries=state.queries + 1, tokens=state.tokens)
            for each, attempt, state in zip(sent, attempts, states, strict=True)
        ),
        access="white-box",
        searched=True,
    )


def _searched(spec: AttackSpec, chosen: Options, vocabulary: Vocabulary, behaviour: Behaviour, start: str) -> _State:
    place = placed(spec, behaviour, chosen.target_tokens)
    state = _State(start, losses(spec, [place.before + start + place.after], place.wanted)[0], 1, 0)
    for step in range(chosen.steps):
        if state.found.opens:
            break
        name = f"gcg {chosen.model_dump_json()} {spec.seed} {behaviour.id} {step} {state.text}"
        draw = random.Random(f"{spec.seed}/{behaviour.id}/{step}")  # noqa: S311 - nothing secret
        text = state.text
        candidates = kept(spec, name, lambda: vocabulary.candidates(place, text, chosen, draw))  # noqa: B023 - called at once
        prompts = [place.before + candidate + place.after for candidate in candidates]
        scored = losses(spec, prompts, place.wanted)
        best = min(range(len(scored)), key=lambda index: scored[index].loss, default=None)
        better = best is not None and scored[best].loss < state.found.loss
        state = _State(
            candidates[best] if best is not None and better else state.text,
            scored[best] if best is not None and better else state.found,
            state.queries + 1 + len(candidates),
            state.tokens + spec.engine.count_tokens(place.before + state.text + place.after) * (1 + len(candidates)),
        )
    return state


class Vocabulary:
    """The tokens that a suffix may hold, and the gradient that ranks them."""

    def __init__(self, spec: AttackSpec, model: Any, tokenizer: Any) -> None:  # noqa: ANN401 - transformers' own
        """Take printable ASCII tokens alone, without special ones."""
        import torch

        self._spec, self._model = spec, model
        self._table = model.get_input_embeddings().weight
        special = {*tokenizer.all_special_ids, *getattr(tokenizer, "added_tokens_decoder", {})}
        size = min(self._table.shape[0], len(tokenizer))
        allowed = [
            token
            for token in range(size)
            if token not in special and (text := spec.engine.decode([token])).isascii() and text.isprintable()
        ]
        self._refused = torch.ones(self._table.shape[0], dtype=torch.bool, device=self._table.device)
        self._refused[allowed] = False
        self._count = len(allowed)

    def candidates(self, place: Placed, suffix: str, chosen: Options, draw: random.Random) -> list[str]:
        """Return suffixes with one token changed, each once, that still are as many tokens in their prompt."""
        ids = self._spec.engine.encode(suffix)
        best = self._ranked(place, ids, min(chosen.top, self._count))
        length = self._spec.engine.count_tokens(place.before + suffix + place.after)
        found: dict[str, None] = {}
        for _ in range(chosen.width):
            changed = list(ids)
            at = draw.randrange(len(ids))
            changed[at] = draw.choice(best[at])
            text = self._spec.engine.decode(changed)
            if text != suffix and self._spec.engine.count_tokens(place.before + text + place.after) == length:
                found[text] = None
        return list(found)

    def _ranked(self, place: Placed, ids: Sequence[int], top: int) -> list[list[int]]:
        """Return for each token of the suffix those that its gradient ranks first."""
        gradient = self._gradient(place, ids) @ self._table.T
        gradient[:, self._refused] = float("inf")
        ranked: list[list[int]] = (-gradient).topk(top, dim=1).indices.tolist()
        return ranked

    def _gradient(self, place: Placed, ids: Sequence[int]) -> torch.Tensor:
        """Return the gradient of the objective by the suffix's embeddings, shape (tokens, width)."""
        import torch

        encode = self._spec.engine.encode
        before, after, wanted = encode(place.before), encode(place.after), encode(place.wanted)
        row = torch.tensor([*before, *ids, *after, *wanted], device=self._table.device)
        inputs = self._table[row].detach().clone().requires_grad_()
        with torch.enable_grad():
            logits = self._model(inputs_embeds=inputs[None], use_cache=False).logits[0]
            loss = torch.nn.functional.cross_entropy(
                logits[-len(wanted) - 1 : -1].float(), row[-len(wanted) :], reduction="sum"
            )
            (gradient,) = torch.autograd.grad(loss, inputs)
        return gradient[len(before) : len(before) + len(ids)]
