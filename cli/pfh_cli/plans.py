"""What a dry run prints: what would be done, and what the families would put to a model."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pfh_cli.output import WIDTH_OF_A_FILE
from pfh_cli.quiet import libraries_quiet

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pfh.commands.requests import MeasureSpec
    from pfh.hooks.launchers import EvalChoice
    from pfh.registry.plugins import Plugins
    from pydantic import BaseModel
    from rich.console import Console


def asked(
    evals: Sequence[EvalChoice],
    filled: Mapping[str, BaseModel | None],
    plugins: Plugins,
    *,
    limit: int | None,
    seed: int,
) -> dict[str, Any]:
    """Return family to the table of what it would ask, as JSON; without the families that do not say."""
    from pfh.hooks.evals import PlanSpec
    from pfh.sources.datasets import HubData

    found: dict[str, Any] = {}
    for choice in evals:
        spec = PlanSpec(
            options=filled[f"evals:{choice.family}"],
            data=HubData(),
            benchmarks=choice.benchmarks,
            limit=limit,
            seed=seed,
        )
        table = plugins.plan(choice.family, spec)
        if table is not None:
            rows = [dict(zip(table.columns, row, strict=True)) for row in table.rows]
            found[choice.family] = {"title": table.title, "rows": rows, "note": table.note}
    return found


def show_plan(plan: Mapping[str, Any], *, as_json: bool) -> None:
    """Print `plan`; what is under "options" and "asks" belongs to plugins, by their name."""
    if as_json:
        print(json.dumps(plan, indent=1))
        return
    from rich.console import Console

    console = Console(highlight=False, width=None if sys.stdout.isatty() else WIDTH_OF_A_FILE)
    settings = {name: value for name, value in plan.items() if name not in ("options", "asks")}
    for name, value in settings.items():
        if _is_set(value):
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


def print_plan(
    spec: MeasureSpec, filled: Mapping[str, BaseModel | None], root: Path, plugins: Plugins, *, as_json: bool
) -> None:
    """Print what would be measured."""
    with libraries_quiet(debug=False):
        asks = asked(spec.evals, filled, plugins, limit=spec.limit, seed=spec.seed)
    options: dict[str, Any] = {key: model.model_dump(mode="json") if model else {} for key, model in filled.items()}
    show_plan(asdict(spec) | {"options": options, "asks": asks, "store": str(root)}, as_json=as_json)
