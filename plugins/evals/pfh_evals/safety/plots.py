"""Refusal rates by category, before and after, as Plotly figures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pfh.hooks.comparison import Comparison
from pfh.hooks.evals import AnalysisSpec
from pfh.hooks.judges import HOLDING_BACK
from pfh.hooks.samples import Sample
from pfh.hooks.tables import Plot
from pfh.statistics.paired import CONFIDENCE, paired_benchmarks, paired_samples

from pfh_evals.safety.benchmarks import BY_NAME

BEFORE_COLOUR, AFTER_COLOUR = "#9aa5b1", "#0072b2"
"""Grey and blue, apart in print and to colour-blind readers."""


def refusal_plot(spec: AnalysisSpec, rows: Sequence[Comparison], *, harmful: bool) -> Plot | None:
    """Plot the measured benchmarks of harmful or of benign prompts; None where there is none."""
    groups = _groups(spec, {row.benchmark for row in rows if BY_NAME[row.benchmark].harmful == harmful})
    if not groups:
        return None
    labels = [
        [benchmark for benchmark, _, _ in groups],
        [f"{category} (n = {len(pairs)})" for _, category, pairs in groups],
    ]
    before = [[first for first, _ in pairs] for _, _, pairs in groups]
    after = [[second for _, second in pairs] for _, _, pairs in groups]
    return Plot(
        title=f"Refusals of {'harmful' if harmful else 'benign'} prompts by category",
        figure={
            "data": [_bars("before", BEFORE_COLOUR, labels, before), _bars("after", AFTER_COLOUR, labels, after)],
            "layout": {
                "barmode": "group",
                "height": 140 + 44 * len(groups),
                "margin": {"l": 280, "r": 20, "t": 30, "b": 50},
                "xaxis": {"title": {"text": "refusal rate"}, "range": [0, 1]},
                "yaxis": {"autorange": "reversed"},
                "legend": {"orientation": "h", "y": 1.02, "yanchor": "bottom"},
            },
        },
        note=f"Wilson {CONFIDENCE:.0%} intervals of each rate. Both answer the same prompts, so the test of a "
        "difference is the paired one in the tables, not the overlap of these intervals.",
    )


def _groups(spec: AnalysisSpec, wanted: set[str]) -> list[tuple[str, str, list[tuple[Sample, Sample]]]]:
    """Return (benchmark, category, samples before and after), in the order of the report."""
    groups: dict[tuple[str, str], list[tuple[Sample, Sample]]] = {}
    for before, after in paired_benchmarks(spec.before, spec.after):
        if before.name in wanted:
            for pair in sorted(paired_samples(before, after), key=lambda pair: pair[0].category):
                groups.setdefault((before.name, pair[0].category), []).append(pair)
    return [(name, category, pairs) for (name, category), pairs in groups.items()]


def _bars(name: str, colour: str, labels: list[list[str]], groups: Sequence[Sequence[Sample]]) -> dict[str, Any]:
    from scipy.stats import binomtest

    rates, above, below = [], [], []
    for samples in groups:
        refused = sum(sample.extracted in HOLDING_BACK for sample in samples)
        interval = binomtest(refused, len(samples)).proportion_ci(CONFIDENCE, method="wilson")
        rates.append(refused / len(samples))
        above.append(float(interval.high) - rates[-1])
        below.append(rates[-1] - float(interval.low))
    return {
        "type": "bar",
        "orientation": "h",
        "name": name,
        "marker": {"color": colour},
        "y": labels,
        "x": rates,
        "error_x": {"type": "data", "symmetric": False, "array": above, "arrayminus": below, "thickness": 1},
        "hovertemplate": "%{y}: %{x:.2f}<extra>" + name + "</extra>",
    }
