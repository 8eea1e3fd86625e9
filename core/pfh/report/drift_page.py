"""The page of a drift: versions beside each other in one HTML file that opens without network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pfh.report.page import content_policy, environment, source
from pfh.results.drift import Drift, DriftRow
from pfh.results.gate import Gate
from pfh.statistics import formatting as figures
from pfh.text import write_whole

MOST = 200
"""Items that are listed of each kind; all of them are in the JSON beside the page."""
WIDTH, HEIGHT = 150.0, 36.0


@dataclass(frozen=True, kw_only=True)
class Line:
    """The changes of one benchmark over the versions, drawn in points of an SVG."""

    zero: float
    dots: tuple[tuple[float, float, str], ...]
    """(x, y, verdict)."""
    bands: tuple[tuple[float, float, float], ...]
    """(x, top, bottom) of the 95% intervals."""
    parts: tuple[str, ...]
    """Points of unbroken pieces: what was not measured is not bridged."""


def write_drift_page(path: Path, found: Drift, gate: Gate | None) -> None:
    """Write the page as one self-contained HTML file."""
    from markupsafe import Markup

    worse = [flip for flip in found.flips if flip.worse]
    page = (
        environment()
        .get_template("drift.html")
        .render(
            drift=found,
            gate=gate,
            lines={(row.family, row.benchmark): line_of(row) for row in found.rows},
            changed=_changed,
            level=figures.level,
            worse=worse[:MOST],
            other=[flip for flip in found.flips if not flip.worse],
            left_out=max(0, len(worse) - MOST),
            broken=found.broken[:MOST],
            broke_at=found.broke_at(),
            broken_left_out=max(0, len(found.broken) - MOST),
            short=short_names(found),
            sentence=headline(found, gate),
            policy=content_policy([]),
            style=Markup(source("style.css")),  # noqa: S704 - our own file
        )
    )
    write_whole(path, page)


def headline(found: Drift, gate: Gate | None) -> str:
    """Return what the last version is against the anchor, in a sentence."""
    last = [row.cells[-1] for row in found.rows if row.cells[-1].status == "MEASURED"]
    worse = sum(cell.verdict == "worse" for cell in last)
    better = sum(cell.verdict == "better" for cell in last)
    names = short_names(found)
    said = (
        f"{names[found.versions[-1]]} against {found.versions[found.anchor]}: {worse} of {len(last)} benchmarks are "
        f"worse, {better} better"
    )
    broke = {version: count for version, count in found.broke_at().items() if count}
    if broke:
        said += f"; {counted(sum(broke.values()))} broke and stayed broken"
        most, *others = sorted(broke, key=broke.__getitem__, reverse=True)
        if not others or broke[most] > broke[others[0]]:
            said += f", {'most of them' if others else 'all'} ({broke[most]}) at {names[most]}"
    return said + "." + (f" {gate.sentence}" if gate is not None else "")


def counted(items: int) -> str:
    """Return how many items, in words that fit the number."""
    return "1 item" if items == 1 else f"{items} items"


def short_names(found: Drift) -> dict[str, str]:
    """Return what versions are called in columns: of what was made of the anchor, only what was done to it."""
    anchor = found.versions[found.anchor]
    return {name: name.removeprefix(anchor) if name.startswith(f"{anchor}+") else name for name in found.versions}


def _changed(value: float | None, binary: bool) -> str:
    if value is None:
        return ""
    return f"{figures.points(value)} pp" if binary else figures.difference(value)


def line_of(row: DriftRow) -> Line:
    """Return where the marks of a row's line lie."""
    ends = [0.0]
    for cell in row.cells:
        ends += [value for value in (cell.change, cell.low, cell.high) if value is not None]
    low, high = min(ends), max(ends)
    span = (high - low) or 1.0

    def up(value: float) -> float:
        return round(3 + (HEIGHT - 6) * (high - value) / span, 1)

    step = (WIDTH - 12) / max(len(row.cells) - 1, 1)
    dots, bands = [], []
    pieces: list[list[str]] = [[]]
    for place, cell in enumerate(row.cells):
        across = round(6 + place * step, 1)
        if cell.status != "MEASURED":
            pieces.append([])
            continue
        change = cell.change or 0.0
        dots.append((across, up(change), cell.verdict))
        if cell.low is not None and cell.high is not None:
            bands.append((across, up(cell.high), up(cell.low)))
        pieces[-1].append(f"{across},{up(change)}")
    return Line(zero=up(0.0), dots=tuple(dots), bands=tuple(bands), parts=_joined(pieces))


def _joined(pieces: Sequence[Sequence[str]]) -> tuple[str, ...]:
    return tuple(" ".join(piece) for piece in pieces if len(piece) > 1)
