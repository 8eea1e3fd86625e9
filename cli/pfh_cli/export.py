"""`pfh export`: stored results, for other tools."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from pfh.errors import UserError

from pfh_cli.boundary import invocation
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
    store: StoreFolder = None,
    debug: Debug = False,
) -> None:
    """Write stored results as lm-eval sample logs: samples_TASK_DATE.jsonl and results_DATE.json."""
    called = invocation(context)
    called.debug, called.store = debug, store
    from pfh.commands.subjects import open_subject
    from pfh.logs.export import export_lm_eval
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
        settings = {name: told for family in side.families.values() for name, told in family.settings.items()}
        try:
            folder = export_lm_eval(
                output, side.model.name, [family.evaluation for family in side.families.values()], settings
            )
        except OSError as error:
            raise UserError(f"{output} cannot be written ({error.strerror}); name another with --output.") from error
        print(folder)
