"""What a dry run prints: what would be done, and what the families would put to a model."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pfh_cli.output import WIDTH_OF_A_FILE
from pfh_cli.quiet import libraries_quiet

if TYPE_CHECKING:
    from pathlib import Path

    from pfh.hooks.launchers import Request
    from pfh.registry.plugins import Plugins
    from rich.console import Console


def print_plan(
    spec: Request,
    plugins: Plugins,
    store: Path | None,
    *,
    as_json: bool,
    debug: bool,
    devices: str | None = None,
    **settings: str,
) -> None:
    """Print what `spec` would do."""
    from pfh.commands.specs import plan
    from pfh.store.store import default_root

    with libraries_quiet(debug):
        planned = plan(spec, plugins, devices, **settings, store=str(store or default_root()))
    show_plan(planned, as_json=as_json)


def show_plan(plan: Mapping[str, Any], *, as_json: bool) -> None:
    """Print `plan`; what is under "options" and "asks" belongs to plugins, by their name."""
    if as_json:
        print(json.dumps(plan, indent=1))
        return
    from rich.console import Console

    console = Console(highlight=False, width=None if sys.stdout.isatty() else WIDTH_OF_A_FILE)
    settings = {name: value for name, value in plan.items() if name not in ("options", "asks")}
    for name, value in settings.items():
        if name == "takes":
            for method, told in value.items():
                for line in f"{method} takes: {told}".splitlines():
                    _print_line(line, console)
        elif _is_set(value):
            _print_line(f"{name.replace('_', ' ')}: {_words(value)}", console)
    for plugin, options in plan["options"].items():
        chosen = [f"{name}={_words(value)}" for name, value in options.items() if _is_set(value)]
        unset = [name for name, value in options.items() if not _is_set(value)]
        line = f"options of {plugin}: {', '.join(chosen) or 'none'}"
        _print_line(f"{line}; not set: {', '.join(unset)}" if unset else line, console)
    for asks in plan["asks"].values():
        console.print()
        _print_asks(asks, console)


def _print_asks(asks: Mapping[str, Any], console: Console) -> None:
    from pfh.text import printable
    from rich import box
    from rich.table import Table
    from rich.text import Text

    _print_line(asks["title"], console, "bold")
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False)
    for name in asks["rows"][0] if asks["rows"] else ():
        numbers = all(isinstance(row[name], int | float | None) for row in asks["rows"])
        table.add_column(Text(printable(name)), justify="right" if numbers else "left", overflow="fold")
    for row in asks["rows"]:
        cells = (f"{value:,}" if type(value) is int else _words(value) for value in row.values())
        table.add_row(*(Text(printable(cell)) for cell in cells))
    console.print(table)
    if asks["note"]:
        _print_line(asks["note"], console, "dim")


def _print_line(line: str, console: Console, style: str = "") -> None:
    from pfh.text import printable
    from rich.text import Text

    console.print(Text(printable(line), style=style))


def _is_set(value: object) -> bool:
    return value is not None and value not in ("", (), [], {})


def _words(value: Any) -> str:  # noqa: ANN401 - what JSON has
    """Return `value` as a reader would write it."""
    if value is None:
        return ""
    if isinstance(value, Mapping):
        if "family" in value:  # an eval: FAMILY or FAMILY:BENCHMARK,...
            return ":".join([value["family"], *filter(None, [",".join(value["benchmarks"])])])
        return " ".join(f"{name}={_words(each)}" for name, each in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(_words(each) for each in value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value)
