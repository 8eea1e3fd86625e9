"""The refusal direction, as one model is measured: its own, or the one of the start that it is measured against."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from pfh.hooks.evaluation import Benchmark
from pfh.hooks.samples import Sample, sample_id

from pfh_evals.representation import documents
from pfh_evals.representation.benchmarks import GROUPS, Measured, array_digest, benchmark, not_run
from pfh_evals.representation.refusal import (
    KINDS,
    Asker,
    Direction,
    NoDirectionError,
    at_place,
    find_direction,
    positions_after_instruction,
    under_conditions,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from pfh.hooks.evals import EvaluationSpec

SCORE, PROJECTION = GROUPS["refusal"]


def refusal(spec: EvaluationSpec) -> Measured:
    """Score the refusal of held-out requests, project them on the direction, and intervene along it.

    Raises:
        UserError: a source is malformed, or the backend cannot intervene.
        DataUnavailableError: a source cannot be had.
    """
    options = spec.options
    requests = documents.requests(
        options.harmful,
        options.harmless,
        spec.data,
        train=options.refusal_train,
        validation=options.refusal_validation,
        limit=spec.limit,
    )
    openings = tuple(text.strip() for text in options.openings.split(",") if text.strip())
    asker = Asker(engine=spec.engine, openings=openings, progress=spec.progress)
    held_out = requests.held_out
    scored = benchmark(SCORE, requests.version, source=requests.origin)
    scored = _with_samples(scored, held_out["harmful"], asker.scores(held_out["harmful"]), spec)
    projected, direction = _direction(spec, asker, requests)
    if direction is None:
        return Measured(benchmarks=(scored, projected))
    arrays: dict[str, NDArray[Any]] = {
        "refusal/direction": direction.vector,
        "refusal/place": np.array([direction.position, direction.layer, direction.candidates]),
    }
    means = {}
    for kind in KINDS:
        kept = [text for text, keep in zip(requests.train[kind], direction.kept[kind], strict=True) if keep]
        means[kind] = at_place(asker, kept, direction).mean(axis=0)
        arrays[f"refusal/kept {kind}"] = direction.kept[kind]
        arrays[f"refusal/projections {kind}"] = at_place(asker, held_out[kind], direction) @ direction.unit
        arrays[f"refusal/scores {kind}"] = under_conditions(asker, held_out[kind], direction)
    arrays["refusal/difference"] = means["harmful"] - means["harmless"]
    projections = arrays["refusal/projections harmful"]
    return Measured(
        benchmarks=(scored, _with_samples(projected, held_out["harmful"], projections, spec)), arrays=arrays
    )


def _direction(spec: EvaluationSpec, asker: Asker, requests: documents.Requests) -> tuple[Benchmark, Direction | None]:
    """Return the benchmark of projections, without samples yet, and the direction to project on, if there is one."""
    row = benchmark(PROJECTION, requests.version, source=requests.origin)
    if spec.reference is None:
        try:
            direction = find_direction(
                asker, requests, largest_kl=spec.options.largest_kl, layer_step=spec.options.layer_step
            )
        except NoDirectionError as error:
            return replace(row, status="INSUFFICIENT", reason=f"no refusal direction: {error}"), None
    else:
        stored = spec.reference.evaluation
        if "refusal/direction" not in stored.arrays:
            reasons = [each.reason for each in stored.benchmarks if each.name == PROJECTION]
            return replace(row, status="INSUFFICIENT", reason=f"of the start: {'; '.join(reasons) or 'none'}"), None
        direction = _stored_direction(stored.arrays)
        if reason := _why_not(asker, direction, requests):
            return not_run(PROJECTION, reason), None
    return replace(row, version=f"{requests.version}-{array_digest(direction.vector)}"), direction


def _stored_direction(arrays: Mapping[str, NDArray[Any]]) -> Direction:
    position, layer, candidates = (int(number) for number in arrays["refusal/place"])
    return Direction(
        vector=arrays["refusal/direction"],
        position=position,
        layer=layer,
        kept={kind: arrays[f"refusal/kept {kind}"] for kind in KINDS},
        candidates=candidates,
    )


def _why_not(asker: Asker, direction: Direction, requests: documents.Requests) -> str:
    """Say why the start's direction means nothing in this model; empty where it does."""
    width = asker.engine.hidden_states(["I"], [0])[0].shape[-1]
    if width != len(direction.vector) or asker.engine.depth <= direction.layer:
        return "the models differ in depth or width, so the start's direction is none of this model's"
    if positions_after_instruction(asker.engine) < -direction.position:
        return "the models' chat templates differ, so the start's token position is not there"
    if any(len(direction.kept[kind]) != len(requests.train[kind]) for kind in KINDS):
        return "the start's direction was found on other requests"
    return ""


def _with_samples(row: Benchmark, texts: Sequence[str], scores: NDArray[np.float64], spec: EvaluationSpec) -> Benchmark:
    samples = tuple(
        Sample(
            id=sample_id(row.name, "1", {"request": text}),
            benchmark=row.name,
            prompt=spec.engine.render([{"role": "user", "content": text}]),
            completion="",
            score=float(score),
            extra={"user_prompt": text},
        )
        for text, score in zip(texts, scores, strict=True)
    )
    return replace(row, samples=samples)
