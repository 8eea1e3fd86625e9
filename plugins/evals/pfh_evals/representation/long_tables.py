"""The single values behind the family's tables and plots: docs/how-to/representation.md says what each holds."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from pfh.hooks.evals import AnalysisSpec
from pfh.hooks.evaluation import Benchmark
from pfh.hooks.tables import Cell, LongTable

from pfh_evals.representation import similarity
from pfh_evals.representation.refusal import CONDITIONS, KINDS

if TYPE_CHECKING:
    from numpy.typing import NDArray

SIDES = ("before", "after")
Rows = Iterator[tuple[Cell, ...]]
DELTA = ("matrix", "kind", "layer", "norm", "relative_norm", "effective_rank", "stable_rank", "energy", "angle")


def of_cka(before: NDArray[np.float64], after: NDArray[np.float64]) -> LongTable:
    """Return the map of all pairs of layers, from the Gram matrices."""
    debiased, biased = (similarity.similarity(before, after, debiased=each) for each in (True, False))
    rows = (
        (row, column, _number(debiased[row, column]), _number(biased[row, column]))
        for row in range(len(before))
        for column in range(len(after))
    )
    return LongTable.of_rows("cka", ("layer_before", "layer_after", "cka", "cka_biased"), rows)


def of_probes(spec: AnalysisSpec, moved: NDArray[np.float64] | None) -> LongTable:
    """Return the accuracy of every probe by layer."""
    before, after = spec.before.arrays, spec.after.arrays
    kinds = {
        "before": before["probes/accuracy"],
        "after, probe of before": () if moved is None else moved,
        "after, retrained": after["probes/accuracy"],
        "control before": before["probes/control"],
        "control after": after["probes/control"],
    }
    rows = ((name, layer, float(value)) for name, values in kinds.items() for layer, value in enumerate(values))
    return LongTable.of_rows("probes", ("probe", "layer", "accuracy"), rows)


def of_deltas(benchmark: Benchmark) -> tuple[LongTable, LongTable]:
    """Return the figures of every matrix, and the largest singular values of the changes."""
    deltas: list[dict[str, Any]] = [dict(sample.extra) for sample in benchmark.samples]
    figures = (tuple(row[name] for name in DELTA) for row in deltas)
    spectra = (
        (row["matrix"], row["kind"], row["layer"], number, value)
        for row in deltas
        for number, value in enumerate(row["singular_values"], start=1)
    )
    return LongTable.of_rows("deltas", DELTA, figures), LongTable.of_rows(
        "spectra", (*DELTA[:3], "number", "singular_value"), spectra
    )


def of_refusal(spec: AnalysisSpec) -> tuple[LongTable, LongTable]:
    """Return the projections of held-out requests, and their refusal scores under each condition."""
    sides = tuple(zip(SIDES, (spec.before.arrays, spec.after.arrays), strict=True))
    projections = (
        (side, kind, number, float(value))
        for side, arrays in sides
        for kind in KINDS
        for number, value in enumerate(arrays[f"refusal/projections {kind}"])
    )
    scores = (
        (side, kind, condition, number, float(value))
        for side, arrays in sides
        for kind in KINDS
        for condition, values in zip(CONDITIONS, arrays[f"refusal/scores {kind}"], strict=True)
        for number, value in enumerate(values)
    )
    return (
        LongTable.of_rows("refusal-projections", ("model", "requests", "number", "projection"), projections),
        LongTable.of_rows("refusal-scores", ("model", "requests", "condition", "number", "score"), scores),
    )


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
