"""How far the tuned policy is from the start: Kullback-Leibler divergence token by token, over the whole vocabulary.

Both models go along the same completions, those that the start wrote and those that the tuned model wrote, and at each
place the two distributions of the next token are compared. One model at a time is resident, so the first one's
distributions wait on the disk for the second's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
from pfh.hooks.backends import Distributions, GenerationRequest
from pfh.hooks.samples import Sample, sample_id

from pfh_evals.policy.completions import Answers, stored_completions
from pfh_evals.policy.measures import DIVERGENCE

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from pfh.hooks.evals import EvaluationSpec

WRITERS = ("start", "tuned")
"""Who wrote the completions."""
AT_ONCE = 4
"""So many completions' distributions are in memory together."""
AROUND = 12
"""Tokens of context that are shown before and after a place."""
LISTED = 3
"""Places of largest disagreement that are kept of each completion."""


class NotComparableError(Exception):
    """The two models have no divergence; the message says why."""


@dataclass(frozen=True, kw_only=True)
class Walk:
    """One completion that both models go along."""

    answers: Answers
    writer: str
    number: int
    text: str
    ended: bool


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


def measure(spec: EvaluationSpec, answers: Sequence[Answers]) -> tuple[Sample, ...]:
    """Return a sample for each completion that both models went along; the engine answers as before in the end.

    Raises:
        NotComparableError: the start cannot be run, or has other tokens or another vocabulary.
        UserError: the backend gives no whole distributions.
    """
    reference = spec.reference
    assert reference is not None
    if reference.checkpoint is None:
        raise NotComparableError("of the start only its stored evaluation is at hand")
    paths = _paths(spec, answers)
    own = spec.engine.checkpoint
    samples: list[Sample] = []
    with TemporaryDirectory(prefix="pfh-policy-") as folder, spec.progress.task("divergence", 2 * len(paths)) as bar:
        for start in range(0, len(paths), AT_ONCE):
            for place, row in enumerate(_along(spec, paths[start : start + AT_ONCE]), start):
                np.savez(Path(folder) / f"{place}.npz", tokens=row.tokens, logprobs=row.logprobs)
                bar.advance(1)
        try:
            spec.engine.use(reference.checkpoint)
            for start in range(0, len(paths), AT_ONCE):
                for place, row in enumerate(_along(spec, paths[start : start + AT_ONCE]), start):
                    stored = Path(folder) / f"{place}.npz"
                    with np.load(stored) as kept:
                        tuned = Distributions(tokens=tuple(kept["tokens"].tolist()), logprobs=kept["logprobs"])
                    stored.unlink()
                    samples.append(_sample(spec, paths[place], row, tuned))
                    bar.advance(1)
        finally:
            spec.engine.use(own)
    return tuple(samples)


def _paths(spec: EvaluationSpec, answers: Sequence[Answers]) -> list[Walk]:
    """Return the first completions of each prompt by either model."""
    assert spec.reference is not None
    theirs = {sample.extra["prompt_id"]: sample.extra for sample in stored_completions(spec.reference.evaluation)}
    if not theirs:
        raise NotComparableError("the start's evaluation keeps no completions")
    paths = []
    for each in answers:
        start = theirs.get(each.prompt.id)
        if start is None:
            continue
        count = min(spec.options.divergence_samples, len(each.completions))
        for number in range(count):
            own = each.completions[number]
            written = (("start", start["completions"][number], start["ended"][number]),)
            for writer, text, ended in (*written, ("tuned", own.text, not own.truncated)):
                paths.append(Walk(answers=each, writer=writer, number=number, text=text, ended=ended))
    return paths


def _along(spec: EvaluationSpec, paths: Sequence[Walk]) -> list[Distributions]:
    """Return the resident model's distributions along `paths`, no further than the option divergence_tokens says."""
    requests = [
        GenerationRequest(id=f"{path.writer}-{path.number}", messages=path.answers.prompt.messages) for path in paths
    ]
    most = spec.options.divergence_tokens
    found = spec.engine.distributions(requests, [path.text for path in paths])
    return [
        Distributions(tokens=row.tokens, logprobs=row.logprobs[: min(most, len(row.tokens) + path.ended)])
        for row, path in zip(found, paths, strict=True)
    ]


def _sample(spec: EvaluationSpec, path: Walk, start: Distributions, tuned: Distributions) -> Sample:
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
    prompt = path.answers.prompt
    return Sample(
        id=sample_id(DIVERGENCE, "1", {"prompt": prompt.id, "writer": path.writer, "number": path.number}),
        benchmark=DIVERGENCE,
        category=prompt.category,
        prompt=path.answers.rendered,
        completion=path.text,
        score=None,
        tokens=len(start.tokens),
        extra={
            "user_prompt": prompt.text,
            "prompt_id": prompt.id,
            "writer": path.writer,
            "number": path.number,
            "start_to_tuned": [float(value) for value in forward],
            "tuned_to_start": [float(value) for value in backward],
            "largest": [
                _place(spec, start, tuned, int(place), float(forward[place] + backward[place]))
                for place in np.argsort(-(forward + backward), kind="stable")[:LISTED]
            ],
        },
    )


def _place(spec: EvaluationSpec, start: Distributions, tuned: Distributions, place: int, both: float) -> dict[str, Any]:
    """Describe one place: what was written before and there, and what each model finds most likely."""
    told: dict[str, Any] = {
        "place": place,
        "both": both,
        "before": spec.engine.decode(start.tokens[max(0, place - AROUND) : place]),
        "written": spec.engine.decode(start.tokens[place : place + 1]),
    }
    for name, row in (("start", start.logprobs[place]), ("tuned", tuned.logprobs[place])):
        likeliest = int(row.argmax())
        told[name] = spec.engine.decode([likeliest])
        told[f"{name}_probability"] = float(np.exp(row[likeliest]))
    return told
