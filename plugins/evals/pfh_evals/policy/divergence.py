"""How far the tuned policy is from the start, along completions that the start wrote and that the tuned model wrote."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from pfh.hooks.backends import Distributions, GenerationRequest
from pfh.hooks.samples import Sample, sample_id
from pfh.kit.divergence import Apart, NotComparableError, Walk, walk_both

from pfh_evals.policy.completions import Answers, stored_completions
from pfh_evals.policy.measures import DIVERGENCE

if TYPE_CHECKING:
    from pfh.hooks.evals import EvaluationSpec

WRITERS = ("start", "tuned")
"""Who wrote the completions."""
AROUND = 12
"""Tokens of context that are shown before and after a place."""
LISTED = 3
"""Places of largest disagreement that are kept of each completion."""


@dataclass(frozen=True, kw_only=True)
class Path:
    """One completion that both models go along, and whose it is."""

    answers: Answers
    writer: str
    number: int
    walk: Walk


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
    walks = [path.walk for path in paths]
    most, own = spec.options.divergence_tokens, spec.engine.checkpoint
    try:
        both = walk_both(spec.engine, reference.checkpoint, walks, most_tokens=most, progress=spec.progress)
        return tuple(_sample(spec, path, apart) for path, apart in zip(paths, both, strict=True))
    finally:
        spec.engine.use(own)


def _paths(spec: EvaluationSpec, answers: Sequence[Answers]) -> list[Path]:
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
                request = GenerationRequest(id=f"{writer}-{number}", messages=each.prompt.messages)
                walk = Walk(request=request, text=text, ended=ended)
                paths.append(Path(answers=each, writer=writer, number=number, walk=walk))
    return paths


def _sample(spec: EvaluationSpec, path: Path, apart: Apart) -> Sample:
    prompt = path.answers.prompt
    both = apart.start_to_tuned + apart.tuned_to_start
    return Sample(
        id=sample_id(DIVERGENCE, "1", {"prompt": prompt.id, "writer": path.writer, "number": path.number}),
        benchmark=DIVERGENCE,
        category=prompt.category,
        prompt=path.answers.rendered,
        completion=path.walk.text,
        score=None,
        tokens=len(apart.start.tokens),
        extra={
            "user_prompt": prompt.text,
            "prompt_id": prompt.id,
            "writer": path.writer,
            "number": path.number,
            "start_to_tuned": [float(value) for value in apart.start_to_tuned],
            "tuned_to_start": [float(value) for value in apart.tuned_to_start],
            "largest": [
                _place(spec, apart.start, apart.tuned, int(place), float(both[place]))
                for place in np.argsort(-both, kind="stable")[:LISTED]
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
