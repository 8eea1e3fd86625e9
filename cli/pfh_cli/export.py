"""`pfh export`: stored results, for other tools."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from pfh.errors import UserError

from pfh_cli.boundary import invocation
from pfh_cli.completion import plugin_names
from pfh_cli.flags import Debug, StoreFolder


def export(
    context: typer.Context,
    results: Annotated[
        list[str],
        typer.Argument(
            metavar="RESULTS",
            help="Folder or results.json of an earlier run (its last model; @start behind it: its first), or a "
            "store key.",
        ),
    ],
    output: Annotated[
        Path, typer.Option("--output", metavar="DIR", help="Folder to write to, a folder a model in it.")
    ] = Path("pfh-export"),
    format_: Annotated[
        str | None,
        typer.Option(
            "--format",
            metavar="READER",
            help="Whose log format to write.",
            show_default="the one that can be written",
            autocompletion=plugin_names("readers"),
        ),
    ] = None,
    with_attacks: Annotated[
        bool, typer.Option("--with-attacks", help="Write the strings of attacks too, and not the bare requests alone.")
    ] = False,
    store: StoreFolder = None,
    debug: Debug = False,
) -> None:
    """Write stored results as the log of another tool, a folder a model."""
    called = invocation(context)
    called.debug, called.store = debug, store
    from pfh.commands.exporting import export_subject
    from pfh.commands.subjects import open_subject
    from pfh.progress import Silent
    from pfh.registry.plugins import Plugins
    from pfh.steps.session import Session
    from pfh.store.store import Store, default_root

    session = Session(plugins=Plugins(), store=Store(store or default_root()), progress=Silent())
    for text in results:
        if text in ("safe", "base"):
            raise UserError(f"{text} is a model: measure it with pfh eval, and export the folder that it writes.")
        side = open_subject(text, session)
        if side.checkpoint is not None:
            raise UserError(f"{text} is a model: measure it with pfh eval, and export the folder that it writes.")
        print(export_subject(side, output, session.plugins, format_, with_attacks=with_attacks))
