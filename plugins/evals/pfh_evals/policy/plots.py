"""Densities, bars, diagrams and curves of the family, as Plotly figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pfh.hooks.samples import Sample
from pfh.hooks.tables import Plot

from pfh_evals.policy.calibration import Bin

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

BEFORE, AFTER = "#9aa5b1", "#0072b2"
"""Grey and blue, apart in print and to colour-blind readers."""
SIDES = (("before", BEFORE), ("after", AFTER))


def length_density(before: NDArray[np.float64], after: NDArray[np.float64]) -> Plot:
    """Plot the densities of the lengths of single completions."""
    data = [
        {
            "type": "histogram",
            "name": name,
            "x": [float(value) for value in values],
            "histnorm": "probability density",
            "nbinsx": 32,
            "bingroup": "length",
            "opacity": 0.65,
            "marker": {"color": colour},
        }
        for (name, colour), values in zip(SIDES, (before, after), strict=True)
    ]
    return Plot(
        title="Length of completions",
        figure={"data": data, "layout": {**_layout("tokens", "density"), "barmode": "overlay"}},
        note="A peak at the right end is the length limit.",
    )


def diversity(name: str, pairs: Sequence[tuple[Sample, Sample]]) -> Plot:
    """Plot a measure of diversity by category, the mean over prompts."""
    groups: dict[str, list[tuple[float, float]]] = {}
    for before, after in pairs:
        if before.score is not None and after.score is not None:
            groups.setdefault(before.category, []).append((before.score, after.score))
    labels = [f"{category} (n = {len(scores)})" for category, scores in groups.items()]
    data = [
        {
            "type": "bar",
            "name": label,
            "marker": {"color": colour},
            "x": labels,
            "y": [sum(score[side] for score in scores) / len(scores) for scores in groups.values()],
        }
        for side, (label, colour) in enumerate(SIDES)
    ]
    meaning = "less varied" if name == "self-bleu" else "more varied"
    return Plot(
        title=f"Diversity by category: {name}",
        figure={"data": data, "layout": {**_layout("", name), "barmode": "group"}},
        note=f"Within the completions of a prompt, mean over prompts. Higher is {meaning}.",
    )


def formats(shares: Mapping[str, tuple[float, ...]]) -> Plot:
    """Plot the distribution over formats."""
    data = [
        {
            "type": "bar",
            "name": name,
            "marker": {"color": colour},
            "x": list(shares),
            "y": [share[side] for share in shares.values()],
        }
        for side, (name, colour) in enumerate(SIDES)
    ]
    return Plot(
        title="Formats of completions",
        figure={"data": data, "layout": {**_layout("", "share of completions"), "barmode": "group"}},
    )


def reliability(before: Sequence[Bin], after: Sequence[Bin]) -> Plot:
    """Plot accuracy against confidence, bin by bin."""
    data: list[dict[str, Any]] = [
        {
            "type": "scatter",
            "mode": "lines",
            "name": "calibrated",
            "x": [0, 1],
            "y": [0, 1],
            "line": {"color": "#bbbbbb", "dash": "dot"},
        }
    ]
    for (name, colour), bins in zip(SIDES, (before, after), strict=True):
        filled = [each for each in bins if each.count]
        data.append(
            {
                "type": "scatter",
                "mode": "lines+markers",
                "name": name,
                "x": [each.confidence for each in filled],
                "y": [each.accuracy for each in filled],
                "text": [f"{each.count} questions" for each in filled],
                "line": {"color": colour},
                "marker": {"size": [6 + 2 * each.count**0.5 for each in filled]},
            }
        )
    layout = _layout("probability of the chosen option", "share that is right")
    layout["xaxis"]["range"] = layout["yaxis"]["range"] = [-0.02, 1.05]
    return Plot(
        title="Reliability diagram",
        figure={"data": data, "layout": layout},
        note="A point a bin, the larger the more questions. Below the diagonal the model is surer than it is right.",
    )


def divergence(curves: Mapping[str, NDArray[np.float64]]) -> Plot:
    """Plot the divergence by place in the completion."""
    colours = ("#0072b2", "#56b4e9", "#d55e00", "#e69f00")
    data = [
        {
            "type": "scatter",
            "mode": "lines",
            "name": name,
            "x": list(range(1, len(values) + 1)),
            "y": [float(value) for value in values],
            "line": {"color": colours[number % len(colours)]},
        }
        for number, (name, values) in enumerate(curves.items())
    ]
    return Plot(
        title="Divergence by place in the completion",
        figure={"data": data, "layout": _layout("token", "KL, in nats")},
        note="Mean over the completions that are so long. High at the first tokens: the tuned model opens otherwise.",
    )


def _layout(x: str, y: str) -> dict[str, Any]:
    return {
        "height": 340,
        "margin": {"l": 60, "r": 20, "t": 30, "b": 60},
        "xaxis": {"title": {"text": x}},
        "yaxis": {"title": {"text": y}},
        "legend": {"orientation": "h", "y": 1.02, "yanchor": "bottom"},
    }
