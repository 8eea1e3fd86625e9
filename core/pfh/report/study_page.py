"""The page of a study: its six sections in one HTML file that opens without network."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pfh.report.page import content_policy, environment, source
from pfh.report.trade_offs import trade_off_plots
from pfh.results.study.records import EffectRecord, ErosionRecord, StudyResults
from pfh.text import write_whole

Column = tuple[str, str, str]
"""Family, level, and the name of a category or benchmark."""


@dataclass(frozen=True, kw_only=True)
class Panel:
    """The forgetting profiles of one start and domain: methods by families and benchmarks."""

    start: str
    domain: str
    columns: tuple[Column, ...]
    """Of each family the whole first, then its categories of several benchmarks, then its benchmarks."""
    rows: tuple[tuple[str, str, Mapping[Column, EffectRecord]], ...]
    """(Method, link to its first run, effects by column), the greatest mean change last."""


def write_study_page(path: Path, results: StudyResults, runs: Mapping[str, str]) -> None:
    """Write the page of a study.

    Args:
        path: the file to write.
        results: what the study found out.
        runs: name of a run to the address of its own report, beside the page.
    """
    from markupsafe import Markup

    page = (
        environment()
        .get_template("study.html")
        .render(
            results=results,
            panels=_panels(results, runs),
            plots=trade_off_plots(results.trade_offs),
            erosion=_erosion(results.erosion),
            runs=runs,
            contracts=any(run.gates for run in results.runs),
            policy=content_policy([]),
            style=Markup(source("style.css")),  # noqa: S704 - our own file
        )
    )
    write_whole(path, page)


@dataclass(frozen=True, kw_only=True)
class ErosionPanel:
    """What methods eroded: a row a method and attack, a column a benchmark or domain of harm."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, str, Mapping[str, ErosionRecord]], ...]


def _erosion(records: Sequence[ErosionRecord]) -> ErosionPanel | None:
    cells: dict[tuple[str, str], dict[str, ErosionRecord]] = defaultdict(dict)
    for row in records:
        cells[row.method, row.attack][row.what] = row
    columns = tuple(dict.fromkeys(row.what for row in records))
    rows = tuple((method, attack, found) for (method, attack), found in cells.items())
    return ErosionPanel(columns=columns, rows=rows) if rows else None


def _panels(results: StudyResults, runs: Mapping[str, str]) -> tuple[Panel, ...]:
    cells: dict[tuple[str, str], dict[str, dict[Column, EffectRecord]]] = defaultdict(lambda: defaultdict(dict))
    for row in results.effects:
        if row.level != "part":  # those are in the long tables
            cells[row.start, row.domain][row.method][row.family, row.level, row.category] = row
    links = {(run.start, run.domain, run.method): runs.get(run.name, "") for run in reversed(results.runs)}
    panels = []
    for (start, domain), methods in cells.items():
        columns = tuple(sorted({column for effects in methods.values() for column in effects}, key=_place))
        ordered = sorted(methods, key=lambda method: _mean(methods[method]))
        rows = tuple((method, links.get((start, domain, method), ""), methods[method]) for method in ordered)
        panels.append(Panel(start=start, domain=domain, columns=columns, rows=rows))
    return tuple(panels)


def _place(column: Column) -> tuple[str, int, str]:
    family, level, name = column
    return family, ("family", "category", "benchmark").index(level), name


def _mean(effects: Mapping[Column, EffectRecord]) -> float:
    wholes = [row.change for row in effects.values() if row.level == "family"]
    return sum(wholes) / len(wholes) if wholes else 0.0
