"""Results on stdout: tables for a reader, JSON for a script."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pfh.commands.outcomes import RunOutcome
    from pfh.results.records import RunResults

WIDTH_OF_A_FILE = 120
"""Columns of the tables where stdout is no terminal."""


def show(results: RunResults, *, as_json: bool) -> None:
    """Print `results`."""
    if as_json:
        from pfh.results.records import results_json

        print(results_json(results))
        return
    from rich.console import Console

    from pfh_cli.tables import print_results

    print_results(results, Console(highlight=False, width=None if sys.stdout.isatty() else WIDTH_OF_A_FILE))


def show_outcome(outcome: RunOutcome, *, as_json: bool) -> None:
    """Print the results of `outcome`, and where its report lies, and its model if there is one."""
    show(outcome.results, as_json=as_json)
    told = sys.stderr if as_json else sys.stdout
    print(f"report: {outcome.folder / 'report.html'}", file=told)
    if any(stage.method for stage in outcome.results.stages):
        print(f"model: {outcome.folder / 'model'}", file=told)
