"""`pfh report --match`: several runs where they had gained the same."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pfh.hooks.launchers import Match
from pfh.results.common_gain import AtCommonGain, at_common_gain
from pfh.results.records import RunResults
from pfh.statistics import formatting as figures
from pfh.text import json_text, printable
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from pfh_cli.output import WIDTH_OF_A_FILE


def show_common_gain(folders: Sequence[Path], opened: Sequence[RunResults], text: str, *, as_json: bool) -> None:
    """Print the checkpoint of each run at the common gain, and what it had cost.

    Raises:
        UserError: a run kept none, or did not reach the gain.
    """
    match = Match.parse(text)
    runs = [(str(folder), results) for folder, results in zip(folders, opened, strict=True)]
    gain, found = at_common_gain(runs, match.family, match.gain)
    if as_json:
        print(json_text({"family": match.family, "gain": gain, "runs": [_as_json(each) for each in found]}, indent=1))
        return
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=WIDTH_OF_A_FILE)
    console.print(Text(printable(f"At a gain of {gain:+.1f} points on {match.family}:", lines=False), style="bold"))
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("method")
    for name in ("update", "gain", "device time", "tokens", "FLOPs"):
        table.add_column(name, justify="right")
    for each in found:
        point = each.point
        cells = (
            each.method,
            f"{point.update:,} of {each.updates:,}",
            f"{figures.points(point.gain / 100)}",
            figures.seconds(point.device_seconds),
            f"{point.tokens:,}",
            f"{point.flops:.2g}",
        )
        table.add_row(*(Text(printable(cell)) for cell in cells))
    console.print(table)
    if not all(each.compared for each in found):
        line = (
            f"The other families were not measured at these checkpoints: run each command again with --match "
            f"{match.family}={gain:+.2f}; the trainings are found in the store."
        )
        console.print(Text(printable(line), style="dim"))


def _as_json(each: AtCommonGain) -> dict[str, object]:
    return {
        "method": each.method,
        **each.point.model_dump(mode="json"),
        "updates": each.updates,
        "compared": each.compared,
    }
