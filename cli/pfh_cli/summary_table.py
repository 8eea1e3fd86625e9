"""Several runs in one table: a line each."""

from __future__ import annotations

from collections.abc import Sequence

from pfh.results.summary import MATCHED_WITHIN, FamilyChange, Matching, RunSummary, matching
from pfh.statistics import formatting as figures
from pfh.text import printable
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

LEGEND = (
    "A family's figure is the mean change, in percentage points and towards the good, of its benchmarks that score "
    "samples 0 or 1, against the start, with its 95% interval; below it, how many of the family's benchmarks got worse "
    "and better by the adjusted test. It sums up, and hides which: see each run's own report. Prompts are those that "
    "could teach something, of all that were given. KL is the divergence KL(start || after) in nats a token, along the "
    "start's own completions of held-out prompts. Learned from: the form of the completions that were taught."
)


def print_summaries(summaries: Sequence[RunSummary], console: Console) -> None:
    """Print a line for each of `summaries`, in the order given."""
    families = list(dict.fromkeys(change.family for summary in summaries for change in summary.families))
    several_starts = len({summary.start for summary in summaries}) > 1
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in ("method", *(["start"] if several_starts else [])):
        table.add_column(name)
    table.add_column("learned from")
    for name in (*families, "KL", "prompts", "device time", "tokens", "FLOPs", "updates", "samples", "budget"):
        table.add_column(name, justify="right")
    for summary in summaries:
        changes = {change.family: change for change in summary.families}
        cells = [summary.method, *([summary.start] if several_starts else [])]
        cells.append(summary.target_form or figures.ABSENT)
        cells += [_change(changes.get(family)) for family in families]
        cells.append(figures.ABSENT if summary.divergence is None else f"{summary.divergence:.3g}")
        cells += [_prompts(summary), figures.seconds(summary.device_seconds), f"{summary.tokens:,}"]
        cells += [
            f"{summary.flops:.2g}" if summary.flops else figures.ABSENT,
            f"{summary.updates:,}",
            f"{summary.samples:,}",
            _budget(summary),
        ]
        table.add_row(*(Text(printable(cell)) for cell in cells))
    console.print(table)
    for summary in summaries:
        if summary.matched:
            console.print(Text(printable(f"{summary.method}: {summary.matched}", lines=False)))
        for warning in summary.warnings:
            console.print(Text(printable(f"{summary.method}: {warning}", lines=False), style="yellow"))
    if len(summaries) > 1:
        for line in _matches(matching(summaries)):
            console.print(Text(printable(line, lines=False)))
    elif summaries:
        console.print(Text(printable(f"It starts from {summaries[0].start}.", lines=False), style="dim"))
    console.print(Text(LEGEND, style="dim"))


def _matches(found: Sequence[Matching]) -> list[str]:
    """Say in what the runs agree, and in what they do not."""
    groups = {
        f"Matched (within {MATCHED_WITHIN:.0%})": [match for match in found if match.matched],
        "Not matched": [match for match in found if not match.matched],
    }
    return [
        f"{title}: {'; '.join(f'{match.name} {match.said}' for match in matches)}."
        for title, matches in groups.items()
        if matches
    ]


def _prompts(summary: RunSummary) -> str:
    if summary.effective_prompts is None:
        return figures.ABSENT
    return f"{summary.effective_prompts:,} of {summary.prompts:,}"


def _change(family: FamilyChange | None) -> str:
    if family is None:
        return figures.ABSENT
    counts = f"{family.worse} worse, {family.better} better"
    if family.change is None:
        return f"{figures.ABSENT}\n{counts}"
    mean = f"{100 * family.change:+.1f}".replace("-", "−")
    width = "" if family.half_width is None else f" ± {100 * family.half_width:.1f}"
    return f"{mean}{width}\n{counts}"


def _budget(summary: RunSummary) -> str:
    return f"{summary.budget_spent:.0%} of {summary.budget}" if summary.budget_spent is not None else "none"
