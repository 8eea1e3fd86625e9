"""`pfh drift`: versions of a model beside each other."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from pfh_cli.boundary import invocation
from pfh_cli.flags import Debug, Quiet, Sealed, StoreFolder
from pfh_cli.progress import open_progress
from pfh_cli.quiet import libraries_quiet


def drift(
    context: typer.Context,
    versions: Annotated[
        list[str],
        typer.Argument(
            metavar="VERSION...",
            help="Folders that pfh wrote, keys of stored evaluations or logs, oldest first; one run alone stands for "
            "its start and stages.",
        ),
    ],
    anchor: Annotated[
        str, typer.Option(metavar="VERSION", help="The version that all are compared with; the first by default.")
    ] = "",
    html: Annotated[
        Path, typer.Option("--html", metavar="FILE", help="The page; its data lie beside it as .json and .parquet.")
    ] = Path("pfh-results/drift.html"),
    contract: Annotated[
        Path | None, typer.Option("--contract", metavar="FILE", help="Hold the last version against a contract.")
    ] = None,
    sealed: Sealed = 0.0,
    store: StoreFolder = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print what was found as JSON.")] = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """How did a model change over its versions, and at which one did an item break and stay broken?

    Exit codes: 0 fine, 1 the contract is not kept, 2 a version is not stored or the contract is at fault.
    """
    called = invocation(context)
    called.debug, called.store = debug, store
    from pfh.commands.drift import Asked, drift_json, drift_over
    from pfh.registry.plugins import Plugins
    from pfh.report.drift_page import counted, headline
    from pfh.store.store import Store, default_root
    from pfh.text import printable

    asked = Asked(versions=tuple(versions), anchor=anchor, html=html, contract=contract, sealed=sealed)
    with open_progress(quiet=quiet) as progress, libraries_quiet(debug):
        held = Store(store or default_root(), progress)
        outcome = drift_over(asked, plugins=Plugins(), store=held, progress=progress)
    if as_json:
        print(drift_json(outcome.drift, outcome.gate))
    else:
        for version, count in outcome.drift.broke_at().items():
            if count:
                print(printable(f"{version}: {counted(count)} broke there and stayed broken", lines=False))
        print(printable(headline(outcome.drift, outcome.gate), lines=False))
        print(f"page: {outcome.page}")
    sys.stdout.flush()
    raise typer.Exit(outcome.exit_code)
