"""What the family says of two models: tables, plots and sentences."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from pfh.hooks.evals import Analysis, AnalysisSpec
from pfh.hooks.evaluation import Benchmark, Evaluation
from pfh.hooks.tables import Cell, LongTable, Plot, Quantity, Table
from pfh.statistics.paired import CONFIDENCE, RESAMPLES

from pfh_evals.representation import long_tables, plots, similarity
from pfh_evals.representation.refusal import CONDITIONS, KINDS

if TYPE_CHECKING:
    from numpy.typing import NDArray

MOST_CHANGED = 10
"""So many matrices are listed one by one."""


@dataclass(frozen=True, kw_only=True)
class Part:
    """What one group of benchmarks adds to the report."""

    tables: tuple[Table, ...] = ()
    plots: tuple[Plot, ...] = ()
    findings: tuple[str, ...] = ()
    long_tables: tuple[LongTable, ...] = ()


def analyze_drift(spec: AnalysisSpec) -> Analysis:
    """Return the tables, plots and findings of the family."""
    parts = [_cka(spec), _probes(spec), _deltas(spec), _refusal(spec)]
    return Analysis(
        tables=tuple(table for part in parts for table in part.tables),
        plots=tuple(plot for part in parts for plot in part.plots),
        findings=tuple(finding for part in parts for finding in part.findings),
        long_tables=tuple(table for part in parts for table in part.long_tables),
    )


def _pair(spec: AnalysisSpec, name: str) -> tuple[Benchmark, Benchmark] | None:
    """Return a benchmark before and after, if it was measured both times."""
    found = [next((row for row in side.benchmarks if row.name == name), None) for side in (spec.before, spec.after)]
    before, after = found
    if before is None or after is None or not before.status == after.status == "MEASURED":
        return None
    return before, after


def _is_reference(spec: AnalysisSpec) -> bool:
    """Say whether the model after was measured against the model before."""
    return bool(spec.after.reference) and spec.after.reference == spec.before.model


def _cka(spec: AnalysisSpec) -> Part:
    pair = _pair(spec, "cka")
    if pair is None:
        return Part()
    if pair[0].version != pair[1].version:
        return Part(findings=("CKA was not computed: the models were shown different prompts.",))
    before, after = (side.arrays["cka/grams"] for side in (spec.before, spec.after))
    debiased, plain = (similarity.similarity(before, after, debiased=each) for each in (True, False))
    shared = min(len(before), len(after))
    same, same_plain = np.diag(debiased), np.diag(plain)
    low, high = similarity.interval(before, after)
    rows = [(layer, *(_cell(each[layer], 6) for each in (same, low, high, same_plain))) for layer in range(shared)]
    table = Table(
        title="Similarity of each layer before and after (linear CKA)",
        columns=("layer", "debiased CKA", "at least", "at most", "biased CKA"),
        rows=tuple(rows),
        note=f"Over {before.shape[1]} prompts, each the mean over its own tokens. 1: equal up to rotation and scale. "
        "The biased figure is near 1 for any layers when there are fewer prompts than dimensions: read the debiased "
        "one. Layer i is the input of block i, the last one the output of the last block; a blank is a layer that is "
        "the same for every prompt. At least, at most: intervals by the jackknife over prompts that hold for all "
        "layers at once (95%).",
    )
    shown = (plots.similarity_curve(same, same_plain), plots.similarity_map(debiased))
    return Part(
        tables=(table,),
        plots=shown,
        findings=_cka_findings(same, len(before), len(after)),
        long_tables=(long_tables.of_cka(before, after),),
    )


def _cka_findings(same: NDArray[np.float64], before: int, after: int) -> tuple[str, ...]:
    if not np.any(np.isfinite(same)):
        return ("CKA says nothing here: every layer is the same for every prompt.",)
    lowest = int(np.nanargmin(same))
    text = (
        f"Layer by layer, the debiased CKA of before and after is {np.nanmean(same):.4f} on average and lowest "
        f"at layer {lowest} ({same[lowest]:.4f})."
    )
    if before != after:
        text += f" The models have {before - 1} and {after - 1} blocks; layers of the same number were compared."
    return (text,)


def _probes(spec: AnalysisSpec) -> Part:
    pair = _pair(spec, "probes")
    if pair is None:
        return Part()
    before, after = spec.before.arrays, spec.after.arrays
    ranges = [
        _simultaneous(side.arrays["probes/accuracy"], len(row.samples))
        for side, row in zip((spec.before, spec.after), pair, strict=True)
    ]
    moved = after.get("probes/transferred") if _is_reference(spec) else None
    rows: list[tuple[Cell, ...]] = []
    for layer in range(max(len(before["probes/accuracy"]), len(after["probes/accuracy"]))):
        figures = (before["probes/accuracy"], moved, after["probes/accuracy"])
        controls = (before["probes/control"], after["probes/control"])
        together = (texts[layer] if layer < len(texts) else None for texts in ranges)
        rows.append((layer, *(_at(values, layer) for values in (*figures, *controls)), *together))
    table = Table(
        title="Accuracy of linear probes by layer",
        columns=(
            "layer",
            "before",
            "after, probe of before",
            "after, retrained",
            "control before",
            "control after",
            "before, 95% for all layers",
            "after, 95% for all layers",
        ),
        rows=tuple(rows),
        note="Each probe was trained on statements that share no fact with the tested ones. A probe of before that "
        "fails after, where a retrained one succeeds, says that the knowledge is there in another form. Control: the "
        "same with random labels; only what a probe has above it was in the activations.",
    )
    return Part(
        tables=(table,),
        plots=(plots.probe_curve(before, moved, after),),
        findings=_probe_findings(spec),
        long_tables=(long_tables.of_probes(spec, moved),),
    )


def _simultaneous(accuracy: NDArray[np.float64], tested: int) -> list[Quantity]:
    """Return every layer's accuracy with Wilson's interval; together, for all layers, they hold at 95%."""
    from statsmodels.stats.proportion import proportion_confint

    low, high = proportion_confint(
        np.round(accuracy * tested), tested, alpha=(1 - CONFIDENCE) / len(accuracy), method="wilson"
    )
    return [
        Quantity(value=float(value), unit="share", low=float(first), high=float(last))
        for value, first, last in zip(accuracy, low, high, strict=True)
    ]


def _probe_findings(spec: AnalysisSpec) -> tuple[str, ...]:
    chosen = [int(side.arrays["probes/layer"][0]) for side in (spec.before, spec.after)]
    told = [
        f"at layer {layer} {when} (accuracy {side.arrays['probes/accuracy'][layer]:.2f}, "
        f"{side.arrays['probes/accuracy'][layer] - side.arrays['probes/control'][layer]:+.2f} against the control)"
        for layer, when, side in zip(chosen, ("before", "after"), (spec.before, spec.after), strict=True)
    ]
    return (f"The probe that does best within the training statements is {told[0]} and {told[1]}.",)


def _deltas(spec: AnalysisSpec) -> Part:
    pair = _pair(spec, "deltas")
    if pair is None:
        return Part()
    if not _is_reference(spec):
        return Part(findings=("Weight deltas are not shown: the model after was measured against another model.",))
    rows = [dict(sample.extra) for sample in pair[1].samples]
    changed = [row for row in rows if row["norm"] > 0]
    _, only_one, no_matrix = (int(number) for number in spec.after.arrays["deltas/counts"])
    left_out = f" {only_one} more are in one model only or of another shape." if only_one else ""
    if not changed:
        return Part(
            findings=(f"None of the {len(rows)} weight matrices changed.{left_out}",),
            long_tables=long_tables.of_deltas(pair[1]),
        )
    note = (
        "Relative norm: Frobenius norm of the change over that of the matrix before. Effective rank: exp of the "
        "entropy of the normalised singular values; stable rank: squared Frobenius norm over the squared largest "
        "singular value; energy: share of the squared singular values in the top directions (option top); angle: mean "
        "principal angle, in degrees, to as many top left singular directions of the matrix before, 90 being "
        "orthogonal. "
        f"{no_matrix} tensors are no matrices (norms, biases) and not counted.{left_out}"
    )
    largest = sorted(changed, key=lambda row: -(row["relative_norm"] or 0.0))
    tables = (
        Table(
            title="Weight deltas by kind of matrix (means)",
            columns=("kind", "matrices", "changed", *_DELTA_COLUMNS),
            rows=tuple(_kind_row(kind, rows) for kind in dict.fromkeys(row["kind"] for row in rows)),
            note=note,
        ),
        Table(
            title="The most changed matrices",
            columns=("matrix", *_DELTA_COLUMNS),
            rows=tuple((row["matrix"], *_delta_cells([row])) for row in largest[:MOST_CHANGED]),
        ),
    )
    finding = (
        f"{len(changed)} of {len(rows)} weight matrices changed, by {np.mean(_known(changed, 'relative_norm')):.2%} of "
        f"their norm on average; most of all {largest[0]['matrix']} ({largest[0]['relative_norm'] or 0:.2%}). The "
        f"changes have an effective rank of {np.median(_known(changed, 'effective_rank')):.1f} (median)."
    )
    return Part(
        tables=tables,
        plots=(plots.delta_map(changed), plots.spectra(largest)),
        findings=(finding,),
        long_tables=long_tables.of_deltas(pair[1]),
    )


_DELTA_COLUMNS = ("relative norm", "effective rank", "stable rank", "energy in the top", "angle")
_DELTA_FIELDS = ("relative_norm", "effective_rank", "stable_rank", "energy", "angle")


def _kind_row(kind: str, rows: Sequence[dict[str, Any]]) -> tuple[Cell, ...]:
    own = [row for row in rows if row["kind"] == kind]
    changed = [row for row in own if row["norm"] > 0]
    return (kind, len(own), len(changed), *_delta_cells(changed))


def _delta_cells(rows: Sequence[dict[str, Any]]) -> tuple[Cell, ...]:
    known = (_known(rows, field) for field in _DELTA_FIELDS)
    return tuple(_cell(np.mean(values)) if values else None for values in known)


def _known(rows: Sequence[dict[str, Any]], field: str) -> list[float]:
    return [float(row[field]) for row in rows if row[field] is not None]


def _refusal(spec: AnalysisSpec) -> Part:
    pair = _pair(spec, "refusal-projection")
    if pair is None or pair[0].version != pair[1].version:
        return Part()
    before, after = spec.before, spec.after
    position, layer, candidates = (int(number) for number in before.arrays["refusal/place"])
    direction = before.arrays["refusal/direction"]
    cosines = [_cosine(direction, side.arrays["refusal/difference"]) for side in (before, after)]
    table = Table(
        title="The refusal direction of the start, before and after",
        columns=("model", "projection of harmful", "of harmless", "gap", "cosine with the start's direction"),
        rows=(
            ("before", *_projection_cells(before), _cell(_gap(before)), _cell(cosines[0])),
            ("after", *_projection_cells(after), _cell(_gap(after)), _cell(cosines[1])),
        ),
        note=f"Found at layer {layer}, token {position} from the end, among {candidates} candidates. Projections are "
        "of held-out requests' residual streams at that place on the unit direction; the cosine is with the model's "
        "own difference of means, at the same place on the same requests.",
    )
    scores = Table(
        title="Refusal scores as the model is, with the start's direction ablated, and with it added",
        columns=("model", "requests", *CONDITIONS, *(f"refused, {condition}" for condition in CONDITIONS)),
        rows=tuple(
            (name, kind, *_score_cells(side.arrays[f"refusal/scores {kind}"]))
            for name, side in (("before", before), ("after", after))
            for kind in KINDS
        ),
        note="Score: log-odds of the probability that the answer's first token is one that refusals begin with (option "
        "openings), mean over held-out requests; refused: share with a score above 0.",
    )
    return Part(
        tables=(table, scores),
        plots=(plots.projection_histogram(before.arrays, after.arrays),),
        findings=(_attenuation(before, after, cosines[1]), _recovery(before, after)),
        long_tables=long_tables.of_refusal(spec),
    )


def _projection_cells(side: Evaluation) -> tuple[Cell, Cell]:
    harmful, harmless = (_cell(side.arrays[f"refusal/projections {kind}"].mean()) for kind in KINDS)
    return harmful, harmless


def _gap(side: Evaluation) -> float:
    harmful, harmless = (side.arrays[f"refusal/projections {kind}"].mean() for kind in KINDS)
    return float(harmful - harmless)


def _attenuation(before: Evaluation, after: Evaluation, cosine: float | None) -> str:
    if _gap(before) <= 0:
        return "The start's refusal direction does not tell its own held-out harmful requests from harmless ones."
    low, high = _gap_interval(before, after)
    return (
        "Along the start's refusal direction the gap between harmful and harmless requests is "
        f"{_gap(after) / _gap(before):.2f} times what it was ({CONFIDENCE:.0%} interval {low:.2f} to {high:.2f}); the "
        f"cosine of the directions before and after is {'undefined' if cosine is None else f'{cosine:.2f}'}."
    )


def _gap_interval(before: Evaluation, after: Evaluation) -> tuple[float, float]:
    """Return a bootstrap interval of the gap after over the gap before; requests are drawn alike for both."""
    generator = np.random.default_rng(0)
    gaps = np.zeros((2, RESAMPLES))
    for kind, sign in zip(KINDS, (1, -1), strict=True):
        values = np.stack([side.arrays[f"refusal/projections {kind}"] for side in (before, after)])
        drawn = generator.integers(0, values.shape[1], size=(RESAMPLES, values.shape[1]))
        gaps += sign * values[:, drawn].mean(axis=2)
    ratios = (gaps[1] / gaps[0])[gaps[0] > 0]
    low, high = np.quantile(ratios, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return float(low), float(high)


def _recovery(before: Evaluation, after: Evaluation) -> str:
    """Say what adding the start's direction does to the refusal of harmful requests."""
    start = before.arrays["refusal/scores harmful"][0]
    plain, _, added = after.arrays["refusal/scores harmful"]
    return (
        f"After, {np.mean(plain > 0):.0%} of the held-out harmful requests are refused by the first token (score "
        f"{plain.mean():+.1f}), and {np.mean(added > 0):.0%} when the start's direction is added back "
        f"({added.mean():+.1f}); before, it was {np.mean(start > 0):.0%} ({start.mean():+.1f})."
    )


def _score_cells(scores: NDArray[np.float64]) -> tuple[Cell, ...]:
    return (*(_cell(row.mean()) for row in scores), *(_cell(np.mean(row > 0)) for row in scores))


def _cosine(first: NDArray[Any], second: NDArray[Any]) -> float | None:
    lengths = float(np.linalg.norm(first) * np.linalg.norm(second))
    return float(first.astype(np.float64) @ second) / lengths if lengths else None


def _at(values: NDArray[Any] | None, layer: int) -> Cell:
    return None if values is None or layer >= len(values) else _cell(values[layer])


def _cell(value: Any, digits: int = 4) -> float | None:  # noqa: ANN401 - any number
    """Return a figure for a table; None where there is none."""
    return round(float(value), digits) if value is not None and np.isfinite(value) else None
