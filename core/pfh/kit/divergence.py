"""How far a tuned model is from its start: Kullback-Leibler divergence token by token, over the whole vocabulary.

Both models go along the same completions, and at each place the two distributions of the next token are compared. One
model at a time is resident, so the first one's distributions wait on the disk for the second's.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import numpy as np

from pfh.hooks.backends import Distributions, Engine, GenerationRequest
from pfh.progress import Progress

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pfh.hooks.checkpoint import Checkpoint


AT_ONCE = 4
"""So many completions' distributions are in memory together."""


class NotComparableError(Exception):
    """The two models have no divergence; the message says why."""


@dataclass(frozen=True, kw_only=True)
class Walk:
    """One completion that both models go along, whoever wrote it."""

    request: GenerationRequest
    text: str
    ended: bool
    """The end of the turn, which follows it, is a place too."""


@dataclass(frozen=True, kw_only=True)
class Apart:
    """What both models expect along one completion, and how far apart that is at each place, in nats."""

    start: Distributions
    tuned: Distributions
    start_to_tuned: NDArray[np.float64]
    """KL(start || tuned)."""
    tuned_to_start: NDArray[np.float64]
    """KL(tuned || start)."""


def divergences(forward: NDArray[np.float32], other: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return KL(p || q) in nats at each place, from log-probabilities of shape (places, vocabulary).

    Args:
        forward: log p.
        other: log q.
    """
    p, q = forward.astype(np.float64), other.astype(np.float64)
    with np.errstate(invalid="ignore"):
        terms = np.where(np.isneginf(p), 0.0, np.exp(p) * (p - q))
    return np.asarray(np.maximum(terms.sum(axis=1), 0.0))


def walk_both(
    engine: Engine, start: Checkpoint, walks: Sequence[Walk], *, most_tokens: int, progress: Progress
) -> Iterator[Apart]:
    """Yield for each of `walks` what two models expect: the one that answers, and `start`, which answers in the end.

    Args:
        engine: answers with the tuned model.
        start: the other one.
        walks: the completions.
        most_tokens: no further than so many places.
        progress: shows it.

    Raises:
        NotComparableError: the two have other tokens or another vocabulary, or one rules out what the other expects.
        UserError: the backend gives no whole distributions.
    """
    with TemporaryDirectory(prefix="pfh-divergence-") as folder, progress.task("divergence", 2 * len(walks)) as bar:
        for place, row in enumerate(_along(engine, walks, most_tokens)):
            np.savez(Path(folder) / f"{place}.npz", tokens=row.tokens, logprobs=row.logprobs)
            bar.advance(1)
        engine.use(start)
        for place, row in enumerate(_along(engine, walks, most_tokens)):
            stored = Path(folder) / f"{place}.npz"
            with np.load(stored) as kept:
                waited = Distributions(tokens=tuple(kept["tokens"].tolist()), logprobs=kept["logprobs"])
            stored.unlink()
            yield _apart(row, waited)
            bar.advance(1)


def _along(engine: Engine, walks: Sequence[Walk], most: int) -> Iterator[Distributions]:
    """Yield the resident model's distributions along `walks`."""
    for begin in range(0, len(walks), AT_ONCE):
        part = walks[begin : begin + AT_ONCE]
        found = engine.distributions([walk.request for walk in part], [walk.text for walk in part])
        for row, walk in zip(found, part, strict=True):
            places = min(most, len(row.tokens) + walk.ended)
            yield Distributions(tokens=row.tokens, logprobs=row.logprobs[:places])


def _apart(start: Distributions, tuned: Distributions) -> Apart:
    if start.logprobs.shape[1:] != tuned.logprobs.shape[1:]:
        raise NotComparableError(
            f"the vocabularies differ: {start.logprobs.shape[1]} tokens before, {tuned.logprobs.shape[1]} after"
        )
    if start.tokens != tuned.tokens:
        raise NotComparableError("the tokenizers differ: the same completion is other tokens")
    forward = divergences(start.logprobs, tuned.logprobs)
    backward = divergences(tuned.logprobs, start.logprobs)
    if not np.isfinite([forward, backward]).all():
        raise NotComparableError("it is infinite: one model rules out a token that the other expects")
    return Apart(start=start, tuned=tuned, start_to_tuned=forward, tuned_to_start=backward)
