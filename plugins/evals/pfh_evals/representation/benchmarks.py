"""The benchmarks of the family, as one model is measured: CKA's Gram matrices, probes, weight deltas.

What compares two models, and needs the weights or the arrays of both, is measured with the second one, which gets the
first as its reference.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from pfh.errors import UserError, did_you_mean
from pfh.hooks.evaluation import Benchmark
from pfh.hooks.samples import Sample, sample_id

from pfh_evals.representation import activations, documents, similarity
from pfh_evals.representation import deltas as weight_deltas
from pfh_evals.representation import probes as linear
from pfh_evals.representation.weights import UnreadableWeightsError

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from pfh.hooks.evals import EvaluationSpec

GROUPS: dict[str, tuple[str, ...]] = {
    "cka": ("cka",),
    "probes": ("probes", "probes-transferred"),
    "deltas": ("deltas",),
    "refusal": ("refusal-score", "refusal-projection"),
}
"""What may be asked for, and the benchmarks that it stands for."""
ABOUT: dict[str, tuple[str, bool | None, bool]] = {
    "cka": ("cka", None, True),
    "probes": ("probe_accuracy", True, False),
    "probes-transferred": ("probe_accuracy", True, False),
    "deltas": ("relative_norm", None, True),
    "refusal-score": ("refusal_score", True, False),
    "refusal-projection": ("refusal_projection", None, False),
}
"""Benchmark to its metric, its good direction, and whether it says something of two models only."""
OTHER_SHAPE = "the models differ in depth, width or number of labels"


@dataclass(frozen=True, kw_only=True)
class Measured:
    """Benchmarks, and the numbers behind them that are no samples."""

    benchmarks: tuple[Benchmark, ...]
    arrays: Mapping[str, NDArray[Any]] = field(default_factory=dict)


def select(names: Sequence[str]) -> tuple[str, ...]:
    """Return the benchmarks that `names` (of benchmarks or groups) stand for; all where there are none.

    Raises:
        UserError: there is no such benchmark or group.
    """
    every = tuple(name for group in GROUPS.values() for name in group)
    known = list(dict.fromkeys([*GROUPS, *every]))
    for name in names:
        if name not in known:
            raise UserError(
                f"the family representation has no benchmark {name!r}.{did_you_mean(name, known)} "
                f"It has {', '.join(known)}."
            )
    wanted = {each for name in names for each in (*GROUPS.get(name, ()), name)}
    return tuple(name for name in every if not names or name in wanted)


def benchmark(name: str, version: str = "1", **settings: Any) -> Benchmark:  # noqa: ANN401 - fields of Benchmark
    """Return a benchmark of the family."""
    metric, higher_is_better, comparative = ABOUT[name]
    return Benchmark(
        name=name,
        version=version,
        metric=metric,
        higher_is_better=higher_is_better,
        comparative=comparative,
        **settings,
    )


def not_run(name: str, reason: str) -> Benchmark:
    """Return a benchmark that could not be run."""
    return benchmark(name, status="NOT_RUN", reason=reason)


def broken(name: str, reason: str) -> Benchmark:
    """Return a benchmark of a model whose numbers are none."""
    return benchmark(name, status="ERROR", reason=reason)


def array_digest(array: NDArray[Any]) -> str:
    """Return eight hexadecimal digits of a hash of `array`."""
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()[:8]


def cka(spec: EvaluationSpec) -> Measured:
    """Take the Gram matrices of every layer over the probe set, each prompt the mean over its tokens.

    Raises:
        UserError: the source of the prompts is malformed.
        DataUnavailableError: it cannot be had.
    """
    found = documents.instructions(spec.options.instructions, spec.data, spec.limit)
    row = benchmark("cka", found.version, source=found.origin)
    if len(found.texts) < similarity.MINIMUM_TEXTS:
        reason = f"{len(found.texts)} prompts; the unbiased estimator needs at least {similarity.MINIMUM_TEXTS}"
        return Measured(benchmarks=(replace(row, status="INSUFFICIENT", reason=reason),))
    chats = [spec.engine.render([{"role": "user", "content": text}]) for text in found.texts]
    features = activations.pooled(spec.engine, chats, "mean", spec.progress, "activations for CKA")
    return Measured(benchmarks=(row,), arrays={"cka/grams": similarity.grams(features)})


def probes(spec: EvaluationSpec) -> Measured:
    """Fit the model's own probes, and test those of the reference on it.

    Raises:
        UserError: the source of the statements is malformed.
        DataUnavailableError: it cannot be had.
    """
    statements, origin = documents.statements(spec.options.statements, spec.data, spec.limit)
    version = f"1-{documents.digest([f'{each.label} {each.text}' for each in statements])}"
    parts = linear.split(statements)
    if parts.too_few:
        return Measured(
            benchmarks=tuple(
                benchmark(name, version, source=origin, status="INSUFFICIENT", reason=parts.too_few)
                for name in GROUPS["probes"]
            )
        )
    texts = [statement.text for statement in statements]
    features = activations.pooled(spec.engine, texts, "last", spec.progress, "activations for probes")
    with spec.progress.task("fitting probes", total=3) as bar:
        fitted = linear.fit_layers(features, parts)
        bar.advance(1)
        layer = linear.best_layer(features, parts)
        bar.advance(1)
        control = linear.control_accuracies(features, parts, spec.seed)
        bar.advance(1)
    own = {
        "probes/weights": np.stack([probe.weights for probe in fitted]),
        "probes/bias": np.stack([probe.bias for probe in fitted]),
        "probes/layer": np.array([layer]),
        "probes/accuracy": linear.accuracies(fitted, features, parts),
        "probes/control": control,
    }
    row = benchmark("probes", version, source=origin)
    row = replace(row, samples=_probe_samples(row, statements, parts, fitted[layer], layer, features))
    transferred, arrays = _transferred(spec, version, own, features, statements, parts)
    return Measured(benchmarks=(row, replace(transferred, source=origin)), arrays={**own, **arrays})


def _transferred(
    spec: EvaluationSpec,
    version: str,
    own: Mapping[str, NDArray[Any]],
    features: NDArray[np.float32],
    statements: Sequence[documents.Statement],
    parts: linear.Split,
) -> tuple[Benchmark, dict[str, NDArray[Any]]]:
    """Test the reference's probes, as they were fitted; the model's own where it is the first to be measured."""
    fixed = spec.reference.evaluation.arrays if spec.reference else own
    name = "probes-transferred"
    if "probes/weights" not in fixed:
        return not_run(name, "the start was not probed"), {}
    if fixed["probes/weights"].shape != own["probes/weights"].shape:
        return not_run(name, OTHER_SHAPE), {}
    theirs = [
        linear.Probe(weights=weights, bias=bias)
        for weights, bias in zip(fixed["probes/weights"], fixed["probes/bias"], strict=True)
    ]
    layer = int(fixed["probes/layer"][0])
    row = benchmark(name, f"{version}-{array_digest(fixed['probes/weights'])}")
    row = replace(row, samples=_probe_samples(row, statements, parts, theirs[layer], layer, features))
    return row, {"probes/transferred": linear.accuracies(theirs, features, parts)}


def _probe_samples(
    row: Benchmark,
    statements: Sequence[documents.Statement],
    parts: linear.Split,
    probe: linear.Probe,
    layer: int,
    features: NDArray[np.float32],
) -> tuple[Sample, ...]:
    test = list(parts.test)
    found = probe.predict(features[test, layer])
    return tuple(
        Sample(
            id=sample_id(row.name, "1", {"text": statements[index].text, "label": statements[index].label}),
            benchmark=row.name,
            category=statements[index].category,
            prompt=statements[index].text,
            completion="",
            extracted=parts.names[guess],
            target=statements[index].label,
            score=float(parts.names[guess] == statements[index].label),
            choices=len(parts.names),
            extra={"layer": layer},
        )
        for index, guess in zip(test, found, strict=True)
    )


def deltas(spec: EvaluationSpec) -> Measured:
    """Take the spectrum of every matrix's change since the reference; nothing for the first model measured."""
    row = benchmark("deltas", source="weights")
    if spec.reference is None:
        return Measured(benchmarks=(row,))
    if spec.reference.checkpoint is None:
        return Measured(benchmarks=(not_run("deltas", "of the start only its stored evaluation is at hand"),))
    samples = []
    try:
        pair = weight_deltas.pair(spec.reference.checkpoint, spec.engine.checkpoint)
        with spec.progress.task("weight deltas", total=len(pair.names)) as bar:
            for delta in weight_deltas.measure(pair, spec.options.top):
                samples.append(_delta_sample(delta))
                bar.advance(1)
    except UnreadableWeightsError as error:
        return Measured(benchmarks=(not_run("deltas", str(error)),))
    counts = {"matrices": len(pair.names), "only in one model": pair.left_out, "no matrices": pair.after.others}
    return Measured(
        benchmarks=(replace(row, samples=tuple(samples)),),
        arrays={"deltas/counts": np.array(list(counts.values()))},
    )


def _delta_sample(delta: weight_deltas.Delta) -> Sample:
    return Sample(
        id=sample_id("deltas", "1", {"matrix": delta.matrix}),
        benchmark="deltas",
        category=delta.kind,
        prompt=delta.matrix,
        completion="",
        score=None,
        extra=asdict(delta),
    )
