"""The direction along which a model tells what it refuses from what it answers (Arditi et al. 2024, arXiv 2406.11717).

Found on the start: the difference of the mean residual streams of harmful and harmless requests, at each token after
the instruction and before each block. Of these candidates the one is kept whose ablation lowers the refusal of harmful
requests most, among those that lie before 0.8 of the depth, whose ablation leaves answers to harmless requests as they
were (KL of the next token at most 0.1 in the paper), and that make the model refuse harmless requests when added.

The refusal score of a request is the log-odds of the probability mass on tokens that a refusal begins with.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from pfh.errors import NotNumbersError
from pfh.hooks.backends import Intervention

from pfh_evals.representation.activations import NotFiniteError, streams
from pfh_evals.representation.documents import Requests

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from pfh.hooks.backends import Engine
    from pfh.progress import Progress

DEEPEST = 0.8
"""Directions are taken before this share of the depth."""
MINIMUM_TRAIN, MINIMUM_VALIDATION = 8, 4
"""So many requests of each kind must be left by the filter."""
MOST_POSITIONS = 8
KINDS = ("harmful", "harmless")
CONDITIONS = ("as it is", "ablated", "added")
_MARK = "X-pfh-X"


class NoDirectionError(Exception):
    """No refusal direction can be found in the model; the message says why."""


@dataclass(frozen=True, kw_only=True)
class Direction:
    """A direction, and what it was found on."""

    vector: NDArray[np.float32]
    """Mean over harmful minus mean over harmless requests, shape (width,)."""
    position: int
    """Of the token, from the end: -1 is the last."""
    layer: int
    kept: Mapping[str, NDArray[np.bool_]]
    """Which training requests of each kind passed the filter."""
    candidates: int = 0
    """How many were tried."""

    @property
    def unit(self) -> NDArray[np.float64]:
        """The direction with length 1."""
        vector = self.vector.astype(np.float64)
        return np.asarray(vector / np.linalg.norm(vector))


@dataclass(frozen=True, kw_only=True)
class Asker:
    """Puts requests to a model and reads what it is about to answer."""

    engine: Engine
    openings: tuple[str, ...]
    progress: Progress

    def prompts(self, requests: Sequence[str]) -> list[str]:
        """Return the rendered chats."""
        return [self.engine.render([{"role": "user", "content": request}]) for request in requests]

    def logprobs(self, requests: Sequence[str], *interventions: Intervention) -> NDArray[np.float32]:
        """Return the log-probabilities of the first token of the answers, shape (requests, vocabulary).

        Raises:
            NotFiniteError: one is not a number.
        """
        try:
            with self.engine.intervened(interventions):
                found = self.engine.next_token_logprobs(self.prompts(requests))
        except NotNumbersError as error:
            raise NotFiniteError(f"the model's probabilities are not finite: {error}") from error
        if np.any(np.isnan(found)):
            raise NotFiniteError("the model's probabilities are not finite")
        return found

    def scores(self, requests: Sequence[str], *interventions: Intervention) -> NDArray[np.float64]:
        """Return the refusal score of each request."""
        tokens = sorted({token for text in self.openings for token in self._first_tokens(text)})
        logprobs = self.logprobs(requests, *interventions).astype(np.float64)
        others = np.delete(logprobs, tokens, axis=1)
        return np.asarray(np.logaddexp.reduce(logprobs[:, tokens], axis=1) - np.logaddexp.reduce(others, axis=1))

    def _first_tokens(self, opening: str) -> list[int]:
        """Return the token that `opening` begins with, at the start of a line and after a space."""
        return [self.engine.encode(text)[0] for text in (opening, f" {opening}") if self.engine.encode(text)]


def positions_after_instruction(engine: Engine) -> int:
    """Return how many tokens follow the instruction in a rendered chat, at least 1."""
    suffix = engine.render([{"role": "user", "content": _MARK}]).rpartition(_MARK)[2]
    return min(max(engine.count_tokens(suffix), 1), MOST_POSITIONS)


def find_direction(asker: Asker, requests: Requests, *, largest_kl: float = 0.1, layer_step: int = 1) -> Direction:
    """Find the refusal direction of the model.

    Args:
        asker: the model.
        requests: to find the candidates on, and to choose among them.
        largest_kl: nats by which ablation may move the next token after harmless requests, on average.
        layer_step: every so many-th layer is tried.

    Raises:
        NoDirectionError: it refuses or answers too few requests, or no candidate passes the filters.
    """
    train, validation = (
        {kind: _clear(asker, kind, part[kind]) for kind in KINDS} for part in (requests.train, requests.validation)
    )
    for kind in KINDS:
        for name, kept, least in (
            ("training", train[kind], MINIMUM_TRAIN),
            ("validation", validation[kind], MINIMUM_VALIDATION),
        ):
            if kept.sum() < least:
                does = "refuses" if kind == "harmful" else "answers"
                raise NoDirectionError(
                    f"the model {does} {kept.sum()} of {len(kept)} {kind} {name} requests, by the first token of its "
                    f"answer; a direction is found on at least {least}"
                )
    kept_train = {kind: _kept(requests.train[kind], train[kind]) for kind in KINDS}
    kept_validation = {kind: _kept(requests.validation[kind], validation[kind]) for kind in KINDS}
    positions = positions_after_instruction(asker.engine)
    differences = mean_streams(asker, kept_train["harmful"], positions) - mean_streams(
        asker, kept_train["harmless"], positions
    )
    places = _candidates(differences, asker.engine.depth, layer_step)
    ordered = _best_first(asker, differences, places, kept_validation["harmful"])
    plain = asker.logprobs(kept_validation["harmless"])
    divergences = []
    with asker.progress.task("refusal direction: filters, at most", total=len(ordered)) as bar:
        for position, layer in ordered:
            vector = differences[position, layer].astype(np.float32)
            bar.advance(1)
            if asker.scores(kept_validation["harmless"], _adding(vector, layer)).mean() <= 0:
                continue
            divergences.append(mean_divergence(plain, asker.logprobs(kept_validation["harmless"], _ablating(vector))))
            if divergences[-1] <= largest_kl:
                return Direction(
                    vector=vector, position=position - positions, layer=layer, kept=train, candidates=len(places)
                )
    if not divergences:
        raise NoDirectionError(f"none of {len(places)} candidates makes the model refuse harmless requests when added")
    raise NoDirectionError(
        f"{len(divergences)} of {len(places)} candidates make the model refuse harmless requests when added, and "
        f"ablating each of these moves its answers to them by a KL above {largest_kl}, the least being "
        f"{min(divergences):.2f} (option largest_kl)"
    )


def mean_streams(asker: Asker, requests: Sequence[str], positions: int) -> NDArray[np.float64]:
    """Return the mean residual stream at the last `positions` tokens, shape (positions, depth + 1, width)."""
    total: Any = 0.0
    for stream in streams(asker.engine, asker.prompts(requests), asker.progress, "refusal direction: activations"):
        total = total + stream[:, -positions:].astype(np.float64)
    return np.asarray(total.swapaxes(0, 1) / len(requests))


def at_place(asker: Asker, requests: Sequence[str], direction: Direction) -> NDArray[np.float64]:
    """Return the residual streams at the direction's layer and position, shape (requests, width)."""
    found = streams(asker.engine, asker.prompts(requests), asker.progress, "refusal direction: projections")
    return np.stack([stream[direction.layer, direction.position].astype(np.float64) for stream in found])


def under_conditions(asker: Asker, requests: Sequence[str], direction: Direction) -> NDArray[np.float64]:
    """Return the refusal scores as the model is, with the direction ablated, and added: shape (3, requests)."""
    changes: list[tuple[Intervention, ...]] = [
        (),
        (_ablating(direction.vector),),
        (_adding(direction.vector, direction.layer),),
    ]
    return np.stack([asker.scores(requests, *each) for each in changes])


def _ablating(vector: NDArray[np.float32]) -> Intervention:
    return Intervention(kind="ablate", direction=vector)


def _adding(vector: NDArray[np.float32], layer: int) -> Intervention:
    return Intervention(kind="add", direction=vector, layer=layer)


def mean_divergence(first: NDArray[np.float32], second: NDArray[np.float32]) -> float:
    """Return the mean KL divergence of `second` from `first`, log-probabilities of shape (requests, vocabulary)."""
    p, q = first.astype(np.float64), second.astype(np.float64)
    apart = np.subtract(p, q, out=np.zeros_like(p), where=np.isfinite(p))  # what p rules out weighs nothing
    return float(np.mean(np.sum(np.exp(p) * apart, axis=1)))


def _clear(asker: Asker, kind: str, requests: Sequence[str]) -> NDArray[np.bool_]:
    """Say which requests the model clearly treats as it should: refuses harmful, answers harmless ones."""
    scores = asker.scores(requests) if requests else np.zeros(0)
    return scores > 0 if kind == "harmful" else scores < 0


def _kept(requests: Sequence[str], mask: NDArray[np.bool_]) -> list[str]:
    return [request for request, kept in zip(requests, mask, strict=True) if kept]


def _candidates(differences: NDArray[np.float64], depth: int, layer_step: int) -> list[tuple[int, int]]:
    """Return the (position, layer) of every candidate; where the template alone decides, there is no difference."""
    sizes = np.linalg.norm(differences, axis=2)
    layers = range(0, max(1, int(DEEPEST * depth)), layer_step)
    least = 1e-6 * sizes.max(initial=0.0)
    return [(place, layer) for place in range(len(differences)) for layer in layers if sizes[place, layer] > least]


def _best_first(
    asker: Asker, differences: NDArray[np.float64], places: Sequence[tuple[int, int]], harmful: Sequence[str]
) -> list[tuple[int, int]]:
    """Return the candidates, those first whose ablation leaves the least refusal of `harmful` requests."""
    found: list[tuple[float, tuple[int, int]]] = []
    with asker.progress.task("refusal direction: candidates", total=len(places)) as bar:
        for position, layer in places:
            vector = differences[position, layer].astype(np.float32)
            scores = asker.scores(harmful, _ablating(vector))
            found.append((float(scores.mean()), (position, layer)))
            bar.advance(1)
    return [place for _, place in sorted(found)]
