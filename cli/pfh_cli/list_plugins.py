"""`pfh list-plugins`: what is installed, read from metadata; with --check also whether it works."""

from __future__ import annotations

import json
import os
import shutil
import sys
import textwrap
from typing import Annotated

import typer
from pfh.registry.catalogue import KINDS, Catalogue, Kind, Plugin
from pfh.text import printable

from pfh_cli.progress import open_progress

Row = dict[str, str]


def list_plugins(
    kind: Annotated[
        Kind | None, typer.Option(metavar="KIND", help=f"Only plugins of this kind: {', '.join(KINDS)}.")
    ] = None,
    check: Annotated[bool, typer.Option("--check", help="Import each, apart from the others: does it work?")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print a list of objects.")] = False,
) -> None:
    """List the installed plugins, from their metadata alone; nothing is imported without --check."""
    catalogue = Catalogue()
    plugins = [plugin for plugin in catalogue if kind in (None, plugin.kind)]
    statuses = _checked(plugins) if check else [_conflict(plugin, catalogue) for plugin in plugins]
    rows = [_row(plugin, status) for plugin, status in zip(plugins, statuses, strict=True)]
    if as_json:
        print(json.dumps(rows, indent=1))
    elif rows:
        _print_table(rows, "status" if check else "summary")
    else:
        print(f"No {kind or 'plugins'} are installed.")


def _row(plugin: Plugin, status: str) -> Row:
    return {
        "kind": plugin.kind,
        "name": plugin.name,
        "distribution": plugin.distribution,
        "version": plugin.version,
        "status": status,
        "summary": plugin.summary,
    }


def _conflict(plugin: Plugin, catalogue: Catalogue) -> str:
    others = [other.source for other in catalogue.providers(plugin) if other is not plugin]
    return f"also provided by {' and '.join(others)}" if others else ""


def _checked(plugins: list[Plugin]) -> list[str]:
    from concurrent.futures import ThreadPoolExecutor

    from pfh.registry.checking import check_apart

    statuses = []
    with (
        ThreadPoolExecutor(max_workers=os.cpu_count()) as pool,
        open_progress() as progress,
        progress.task("checking", len(plugins)) as bar,
    ):
        for problem in pool.map(check_apart, plugins):
            statuses.append(problem or "ok")
            bar.advance()
    return statuses


def _print_table(rows: list[Row], last: str) -> None:
    """Print a line a plugin; on a terminal the last column is wrapped, else a line stays whole for grep."""
    table = [["kind", "name", "distribution", last]]
    for row in rows:
        remark = row["status"] if last == "status" else "; ".join(filter(None, (row["status"], row["summary"])))
        cells = (row["kind"], row["name"], f"{row['distribution']} {row['version']}", remark)
        table.append([printable(cell, lines=False) for cell in cells])
    widths = [max(map(len, column)) for column in zip(*table, strict=True)][:3]
    indent = sum(widths) + 2 * len(widths)
    room = max(shutil.get_terminal_size().columns - indent, 30) if sys.stdout.isatty() else sys.maxsize
    for *first, remark in table:
        start = "".join(f"{cell:{width}}  " for cell, width in zip(first, widths, strict=True))
        lines = textwrap.wrap(remark, room, break_on_hyphens=False) or [""]
        print(f"\n{'':{indent}}".join([start + lines[0], *lines[1:]]).rstrip())
