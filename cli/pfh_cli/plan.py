"""`pfh plan`: what a study would take."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from pfh_cli.boundary import invocation
from pfh_cli.flags import Debug, StoreFolder
from pfh_cli.output import WIDTH_OF_A_FILE
from pfh_cli.progress import open_progress
from pfh_cli.quiet import libraries_quiet

StudyFile = Annotated[Path, typer.Argument(metavar="STUDY", help="The study's YAML file.")]
PhaseName = Annotated[str | None, typer.Option("--phase", metavar="NAME", help="Only the runs of this phase.")]
StudyLimit = Annotated[
    int | None, typer.Option("--limit", metavar="N", min=1, help="At most this many documents a benchmark.")
]
StudyProblems = Annotated[
    int | None, typer.Option("--problems", metavar="N", min=1, help="Training problems of a run.")
]
StudyBudget = Annotated[str | None, typer.Option("--budget", metavar="AMOUNT", help="What every stage may spend.")]


def plan(
    context: typer.Context,
    study: StudyFile,
    phase: PhaseName = None,
    limit: StudyLimit = None,
    problems: StudyProblems = None,
    budget: StudyBudget = None,
    price: Annotated[
        float | None, typer.Option(metavar="AMOUNT", min=0, help="What an hour of one device costs.")
    ] = None,
    calibrate: Annotated[
        bool,
        typer.Option("--calibrate", help="Time a few batches of the starts on this device first, and remember it."),
    ] = False,
    store: StoreFolder = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the plan as JSON.")] = False,
    debug: Debug = False,
) -> None:
    """Check a study, and print its runs, what they share, and what that takes; nothing is made.

    Without --calibrate no model is loaded.
    """
    called = invocation(context)
    called.debug, called.store = debug, store
    from pfh.commands.study.plan import plan_figures, plan_study
    from pfh.registry.plugins import Plugins
    from pfh.store.store import Store, default_root

    with open_progress(quiet=as_json or not calibrate) as progress, libraries_quiet(debug):
        planned = plan_study(
            study,
            plugins=Plugins(),
            store=Store(store or default_root()),
            phase=phase,
            limit=limit,
            problems=problems,
            budget=budget,
            progress=progress,
            calibrated=calibrate,
        )
        figures = plan_figures(planned, price)
    if as_json:
        print(json.dumps(figures, indent=1))
    else:
        show_figures(figures)


def show_figures(figures: Mapping[str, Any]) -> None:
    """Print a plan for a reader."""
    from pfh.text import printable
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(highlight=False, width=None if sys.stdout.isatty() else WIDTH_OF_A_FILE)

    def line(text: str) -> None:
        console.print(Text(printable(text)))

    def table(title: str, rows: list[Mapping[str, Any]]) -> None:
        shown = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False)
        for name in (title, "steps", "one by one", "stored", "device-hours", "one by one"):
            shown.add_column(name, justify="left" if name == title else "right")
        for row in rows:
            counts = (f"{row[name]:,}" for name in ("steps", "steps_naive", "stored"))
            hours = (_hours(row[name]) for name in ("device_hours", "device_hours_naive"))
            shown.add_row(Text(printable(row[title])), *counts, *hours)
        console.print(shown)

    line(
        f"{figures['study']}: {figures['runs']:,} runs, {figures['steps']:,} steps ({figures['steps_naive']:,} one by "
        f"one), of which {figures['stored']:,} are stored"
    )
    line(
        f"device-hours: {_hours(figures['device_hours'])} in all, {_hours(figures['device_hours_left'])} left; "
        f"{_hours(figures['device_hours_naive'])} one by one"
    )
    if "price" in figures:
        prices = (f"{figures[name]:,.2f}" for name in ("price", "price_left", "price_naive"))
        line("price: {}, {} left; {} one by one".format(*prices))
    tokens = f"tokens: {figures['tokens']:.3g} ({figures['tokens_naive']:.3g} one by one)"
    line(f"{tokens}; disk: {figures['disk_bytes'] / 1e9:,.1f} GB")
    walls = ", ".join(f"{_hours(hours)} on {count}" for count, hours in figures["wall_hours"].items())
    line(f"hours until the end, by devices: {walls}")
    line(f"critical path: {_hours(figures['critical_path_hours'])} hours: {' > '.join(figures['critical_path'])}")
    console.print()
    table("kind", figures["by_kind"])
    console.print()
    table("phase", figures["by_phase"])
    console.print()
    line(f"Costs are from {' and '.join(figures['costs_from']) or 'nothing'}, for {figures['device']}.")
    if figures["device_note"]:
        line(figures["device_note"])
    if figures["assumed"]:
        line(figures["assumed"])
    for row in figures["by_kind"]:
        if row["models_naive"] > row["models"] > 0:
            line(f"{row['kind']}: a model is loaded {row['models']} times instead of {row['models_naive']}.")
    if figures["not_here"]:
        line(
            f"Not on this machine: {', '.join(figures['not_here'])}. Steps that rest on it may be stored elsewhere "
            "under other keys."
        )


def _hours(hours: float) -> str:
    return f"{hours:,.0f}" if hours >= 100 else f"{hours:,.2f}" if hours >= 0.1 else f"{hours:.2g}"
