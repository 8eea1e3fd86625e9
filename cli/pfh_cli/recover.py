"""`pfh recover`: what a finished run's model keeps nearer to its start, without training."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from pfh_cli.boundary import invocation
from pfh_cli.flags import AsJson, ChatTemplateKwargs, Debug, Quiet, StoreFolder
from pfh_cli.progress import open_progress
from pfh_cli.quiet import libraries_quiet


def recover(
    context: typer.Context,
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Folder that pfh run wrote, or its results.json.")],
    ways: Annotated[
        str,
        typer.Option("--try", metavar="WAY,...", help="wise-ft, task-arithmetic, ties, dare, dare-ties, slerp, soup."),
    ] = "wise-ft,ties,dare",
    alphas: Annotated[
        str | None,
        typer.Option(
            metavar="A,...",
            help="Points of wise-ft's curve between the start (0) and the trained model (1).",
            show_default="0.1 to 0.9",
        ),
    ] = None,
    gain: Annotated[
        str | None, typer.Option(metavar="FAMILY", help="The family whose gain is to be kept.", show_default="target")
    ] = None,
    tolerance: Annotated[
        float, typer.Option(metavar="POINTS", help="What any other family may lose for a variant to be chosen.")
    ] = 2.0,
    share: Annotated[
        float, typer.Option(metavar="SHARE", help="Part of the samples to choose by; the others are reported.")
    ] = 0.3,
    chat_template_kwargs: ChatTemplateKwargs = None,
    output: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Folder for results.json and report.html.", show_default="the run's"),
    ] = None,
    store: StoreFolder = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """My model forgot: try what costs no training. Models between the start and the trained one, and what each keeps.

    The variants are measured as the run was, and what is stored is not measured again. One is chosen on a held-out part
    of the samples; changes, intervals and the front are of the others. They are added to the run's results and report.
    """
    called = invocation(context)
    called.debug, called.store = debug, store
    from pfh.commands.recover import recover as recovered
    from pfh.commands.recover import recover_spec
    from pfh.commands.template_arguments import parse_arguments

    spec = recover_spec(
        run,
        ways=ways,
        alphas=alphas,
        gain=gain,
        tolerance=tolerance,
        share=share,
        chat_template_kwargs=parse_arguments(chat_template_kwargs),
    )
    from pfh.registry.plugins import Plugins
    from pfh.store.store import Store, default_root

    with open_progress(quiet=quiet) as progress, libraries_quiet(debug):
        held = Store(store or default_root(), progress)
        results = recovered(spec, plugins=Plugins(), store=held, progress=progress, output=output)
    assert results.recovery is not None
    if as_json:
        print(results.recovery.model_dump_json(indent=1))
        return
    from rich.console import Console

    from pfh_cli.output import WIDTH_OF_A_FILE
    from pfh_cli.recovery_table import print_recovery

    print_recovery(results.recovery, Console(highlight=False, width=None if sys.stdout.isatty() else WIDTH_OF_A_FILE))
    assert results.folder is not None
    print(f"report: {results.folder / 'report.html'}")
