"""Curves, maps and histograms of the family, as Plotly figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from pfh.hooks.tables import Plot

from pfh_evals.representation.refusal import KINDS

if TYPE_CHECKING:
    from numpy.typing import NDArray

GREY, BLUE, ORANGE = "#9aa5b1", "#0072b2", "#d55e00"
"""Before, after, and a third; apart in print and to colour-blind readers."""
BINS = 24
SPECTRA = 6
"""So many matrices, one of each kind, have their spectrum drawn."""
Arrays = Mapping[str, "NDArray[Any]"]


def similarity_curve(debiased: NDArray[np.float64], biased: NDArray[np.float64]) -> Plot:
    """Plot CKA by layer."""
    return Plot(
        title="Linear CKA of before and after, by layer",
        figure={
            "data": [_line("debiased", BLUE, debiased), _line("biased", GREY, biased, dash="dot")],
            "layout": _layout("layer", "CKA"),
        },
        note="1: the layer's activations are equal up to rotation and scale.",
    )


def similarity_map(values: NDArray[np.float64]) -> Plot:
    """Plot the CKA of every layer before with every layer after."""
    return Plot(
        title="Linear CKA of every layer before with every layer after (debiased)",
        figure={
            "data": [
                {
                    "type": "heatmap",
                    "z": [[_number(value) for value in row] for row in values],
                    "colorscale": "Viridis",
                    "zmin": 0,
                    "zmax": 1,
                    "hovertemplate": "before %{y}, after %{x}: %{z:.3f}<extra></extra>",
                }
            ],
            "layout": {**_layout("layer after", "layer before"), "height": 460},
        },
        note="A bright diagonal: the layers kept their places. A blank is a layer that is the same for every prompt.",
    )


def probe_curve(before: Arrays, moved: NDArray[np.float64] | None, after: Arrays) -> Plot:
    """Plot the accuracy of the probes by layer."""
    data = [
        _line("before", GREY, before["probes/accuracy"]),
        _line("after, retrained", BLUE, after["probes/accuracy"]),
        _line("control after", BLUE, after["probes/control"], dash="dot"),
    ]
    if moved is not None:
        data.insert(1, _line("after, probe of before", ORANGE, moved))
    return Plot(
        title="Accuracy of linear probes by layer",
        figure={"data": data, "layout": _layout("layer", "accuracy on held-out statements")},
        note="Control: random labels. What lies above it was in the activations.",
    )


def delta_map(rows: Sequence[Mapping[str, Any]]) -> Plot:
    """Plot the relative norm of the deltas by layer and kind."""
    inner = [row for row in rows if row["layer"] is not None]
    kinds = list(dict.fromkeys(row["kind"] for row in inner))
    layers = sorted({row["layer"] for row in inner})
    found = {(row["kind"], row["layer"]): row["relative_norm"] for row in inner}
    return Plot(
        title="How far each matrix moved, relative to its norm",
        figure={
            "data": [
                {
                    "type": "heatmap",
                    "x": layers,
                    "y": kinds,
                    "z": [[found.get((kind, layer)) for layer in layers] for kind in kinds],
                    "colorscale": "Viridis",
                    "hovertemplate": "%{y}, block %{x}: %{z:.4f}<extra></extra>",
                }
            ],
            "layout": {**_layout("block", ""), "margin": {"l": 110, "r": 20, "t": 30, "b": 50}},
        },
        note="Frobenius norm of the change over that of the matrix before.",
    )


def spectra(rows: Sequence[Mapping[str, Any]]) -> Plot:
    """Plot the singular values of the most changed matrix of each kind; `rows` come with the most changed first."""
    first: dict[str, Mapping[str, Any]] = {}
    for row in rows:
        first.setdefault(row["kind"], row)
    shown = list(first.values())[:SPECTRA]
    data = [
        {
            "type": "scatter",
            "mode": "lines+markers",
            "name": row["matrix"],
            "x": list(range(1, len(values) + 1)),
            "y": values,
        }
        for row in shown
        if (values := [value for value in row["singular_values"] if value > 0])
    ]
    layout = _layout("singular value", "size")
    layout["yaxis"]["type"] = "log"
    return Plot(
        title="Singular values of the change, for the most changed matrix of each kind",
        figure={"data": data, "layout": layout},
        note="A curve that ends early or falls fast: the change lies along few directions.",
    )


def projection_histogram(before: Arrays, after: Arrays) -> Plot:
    """Plot the projections of held-out requests on the refusal direction."""
    values = np.concatenate([arrays[f"refusal/projections {kind}"] for arrays in (before, after) for kind in KINDS])
    low, high = float(values.min()), float(values.max())
    bins = {"start": low, "end": high + 1e-9, "size": max(high - low, 1e-9) / BINS}
    data = [
        {
            "type": "histogram",
            "name": kind,
            "legendgroup": kind,
            "showlegend": not number,
            "x": [float(value) for value in arrays[f"refusal/projections {kind}"]],
            "xbins": bins,
            "yaxis": f"y{number + 1}" if number else "y",
            "opacity": 0.7,
            "marker": {"color": colour},
        }
        for number, arrays in enumerate((before, after))
        for kind, colour in zip(KINDS, (ORANGE, BLUE), strict=True)
    ]
    layout = _layout("projection", "requests, before")
    layout["yaxis"]["domain"], layout["xaxis"]["anchor"] = [0.54, 1], "y2"
    layout["yaxis2"] = {"title": {"text": "requests, after"}, "domain": [0, 0.46], "matches": "y"}
    return Plot(
        title="Projections of held-out requests on the start's refusal direction",
        figure={"data": data, "layout": {**layout, "height": 460, "barmode": "overlay"}},
        note="Above before, below after. The nearer harmful and harmless requests are, the weaker the direction.",
    )


def _line(name: str, colour: str, values: NDArray[Any], dash: str = "solid") -> dict[str, Any]:
    return {
        "type": "scatter",
        "mode": "lines+markers",
        "name": name,
        "x": list(range(len(values))),
        "y": [_number(value) for value in values],
        "line": {"color": colour, "dash": dash},
    }


def _layout(x: str, y: str) -> dict[str, Any]:
    return {
        "height": 340,
        "margin": {"l": 60, "r": 20, "t": 30, "b": 50},
        "xaxis": {"title": {"text": x}},
        "yaxis": {"title": {"text": y}},
        "legend": {"orientation": "h", "y": 1.02, "yanchor": "bottom"},
    }


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
