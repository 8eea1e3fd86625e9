"""`pfh report`: stored results, shown again."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from pfh.errors import UserError

from pfh_cli.boundary import invocation
from pfh_cli.output import show

if TYPE_CHECKING:
    from pfh.results.records import RunResults


def report(
    context: typer.Context,
    run: Annotated[
        list[Path],
        typer.Argument(
            metavar="RUN", help="Folders that pfh run wrote, or their results.json; or the file of a study, study.yaml."
        ),
    ],
    html: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the HTML report of one run to this file.")
    ] = None,
    store: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            envvar="PFH_STORE",
            help="Where the samples of the run lie.",
            show_default="~/.cache/pfh",
        ),
    ] = None,
    summary: Annotated[
        bool, typer.Option("--summary", help="Print one line a run: what it changed in each family, and what it cost.")
    ] = False,
    match: Annotated[
        str | None,
        typer.Option(
            metavar="FAMILY[=+POINTS]",
            help="Show where each run had gained the same on this family: the most that all reached, or POINTS.",
            show_default="none",
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="Folder that pfh matrix gathered the study's runs in.", show_default="by name"
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the results as JSON, an object a run.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False,
) -> None:
    """Print the results of earlier runs, or write their HTML report anew; of a study, that of all its runs."""
    called = invocation(context)
    called.debug, called.store = debug, store
    if len(run) == 1 and run[0].suffix in (".yaml", ".yml"):
        _write_study(run[0], output, store)
        return
    if output is not None:
        raise UserError("--output is the folder of a study's runs: give the study's file, such as study.yaml.")
    if html and summary:
        raise UserError("--html writes the report of one run, and --summary a table of several: choose one.")
    if html and len(run) > 1:
        raise UserError(f"--html writes the report of one run, but {len(run)} were given.")
    from pfh.results.stored import open_results

    from pfh_cli.common_gain import show_common_gain

    opened = [_with_labels(open_results(folder), folder, store) for folder in run]
    if match:
        show_common_gain(run, opened, match, as_json=as_json)
        return
    if summary:
        _show_summary(run, opened, as_json=as_json)
        return
    for results in opened:
        if html:
            _write_html(results, html, store)
        else:
            show(results, as_json=as_json)


def _write_study(file: Path, output: Path | None, store: Path | None) -> None:
    from pfh.commands.study.reading import read_study
    from pfh.commands.study.report import report_again
    from pfh.registry.plugins import Plugins
    from pfh.store.store import Store, default_root

    folder = output or Path("pfh-results") / read_study(file)[0].name
    print(f"report: {report_again(file, folder, plugins=Plugins(), store=Store(store or default_root()))}")


def _with_labels(results: RunResults, folder: Path, store: Path | None) -> RunResults:
    from pfh.commands.label import FILE
    from pfh.commands.labelled import with_labels
    from pfh.registry.plugins import Plugins
    from pfh.store.store import Store, default_root

    beside = folder if folder.is_dir() else folder.parent
    if not (beside / FILE).is_file():
        return results
    return with_labels(results, beside, Store(store or default_root()), Plugins())


def _show_summary(folders: list[Path], opened: list[RunResults], *, as_json: bool) -> None:
    from pfh.results.summary import summarize
    from rich.console import Console

    from pfh_cli.output import WIDTH_OF_A_FILE
    from pfh_cli.summary_table import print_summaries

    for folder, results in zip(folders, opened, strict=True):
        if not results.stages:
            raise UserError(f"{folder} holds one model measured by itself, which changed nothing: leave it out.")
    from pfh.text import json_text

    summaries = [summarize(results) for results in opened]
    if as_json:
        print(json_text([asdict(summary) for summary in summaries], indent=1))
        return
    print_summaries(summaries, Console(highlight=False, width=None if sys.stdout.isatty() else WIDTH_OF_A_FILE))


def _write_html(results: RunResults, html: Path, store: Path | None) -> None:
    from pfh.report import write_report
    from pfh.results.stored import stored_pairs
    from pfh.store.store import Store, default_root

    held = Store(store or default_root())
    pairs = stored_pairs(results, held)
    missing = [
        family.family
        for number, stage in enumerate(results.stages)
        for family in stage.families
        if (number, family.family) not in pairs
    ]
    if missing:
        lost = ", ".join(dict.fromkeys(missing))
        print(f"the store {held.root} no longer holds the samples of {lost}: they cannot be browsed", file=sys.stderr)
    try:
        html.parent.mkdir(parents=True, exist_ok=True)
        write_report(html, results, pairs)
    except OSError as error:
        raise UserError(f"{html} cannot be written ({error.strerror}); name another file with --html.") from error
    print(f"report: {html}")
