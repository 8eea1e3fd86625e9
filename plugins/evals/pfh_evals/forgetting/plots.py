"""Forgetting against backward transfer by category, as a Plotly figure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import mean
from typing import Any

from pfh.hooks.comparison import Comparison
from pfh.hooks.tables import Plot

LOST_COLOUR, GAINED_COLOUR = "#d55e00", "#0072b2"
"""Vermilion and blue, apart in print and to colour-blind readers."""


def transition_plot(groups: Mapping[str, Sequence[Comparison]]) -> Plot | None:
    """Plot shares of documents forgotten (to the left) and gained (to the right); None without binary scores."""
    binary = {name: [row for row in rows if row.forgetting is not None] for name, rows in groups.items()}
    shown = {name: rows for name, rows in binary.items() if rows}
    if not shown:
        return None
    labels = [f"{name} (n = {sum(row.n for row in rows)})" for name, rows in shown.items()]
    lost = [mean(row.forgetting or 0.0 for row in rows) for rows in shown.values()]
    gained = [mean(row.backward_transfer or 0.0 for row in rows) for rows in shown.values()]
    return Plot(
        title="Forgotten and gained by category",
        figure={
            "data": [
                _bars("forgotten", LOST_COLOUR, labels, [-share for share in lost], lost),
                _bars("gained", GAINED_COLOUR, labels, gained, gained),
            ],
            "layout": {
                "barmode": "relative",
                "height": 140 + 36 * len(shown),
                "margin": {"l": 220, "r": 20, "t": 30, "b": 50},
                "xaxis": {"title": {"text": "share of documents"}, "tickformat": ".0%", "zeroline": True},
                "yaxis": {"autorange": "reversed"},
                "legend": {"orientation": "h", "y": 1.02, "yanchor": "bottom"},
            },
        },
        note="Documents that were right before and wrong after go to the left, the others to the right, as means over "
        "a category's benchmarks. Two models that only guess have bars of equal length on both sides.",
    )


def _bars(name: str, colour: str, labels: list[str], lengths: list[float], shares: list[float]) -> dict[str, Any]:
    return {
        "type": "bar",
        "orientation": "h",
        "name": name,
        "marker": {"color": colour},
        "y": labels,
        "x": lengths,
        "customdata": shares,
        "hovertemplate": "%{y}: %{customdata:.1%}<extra>" + name + "</extra>",
    }
