"""What was recovered of a run, in the terminal."""

from __future__ import annotations

from pfh.results.recovery import FamilyPoint, RecoveryRecord
from pfh.text import printable
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text


def print_recovery(record: RecoveryRecord, console: Console) -> None:
    """Print a row a variant: its change in each family, in points, and whether it is on the front or was chosen."""
    for line in record.sentences:
        console.print(Text(printable(line, lines=False)))
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("variant")
    families = [point.family for point in record.variants[0].reported]
    for family in families:
        table.add_column(Text(printable(family, lines=False)), justify="right", no_wrap=True)
    table.add_column("")
    for each in record.variants:
        marks = [*(["front"] if each.on_front else []), *(["chosen"] if each.name == record.chosen else [])]
        style = "bold" if each.name == record.chosen else ""
        cells = [Text(_cell(point)) for point in each.reported]
        table.add_row(Text(printable(each.name, lines=False)), *cells, ", ".join(marks), style=style)
    console.print(table)
    console.print(Text("Changes against the start towards the good, in points, with 95% intervals.", style="dim"))


def _cell(point: FamilyPoint) -> str:
    return f"{100 * point.change:+.1f} [{100 * point.low:+.1f}, {100 * point.high:+.1f}]"
