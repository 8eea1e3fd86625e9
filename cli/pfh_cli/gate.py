"""`pfh gate`: results held against a contract."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from pfh_cli.boundary import invocation
from pfh_cli.flags import Debug, Sealed, StoreFolder

MARKS = {"holds": "ok", "broken": "BROKEN", "undecided": "?", "not measured": "NOT MEASURED", "may change": "-"}


def gate(
    context: typer.Context,
    results: Annotated[Path, typer.Argument(metavar="RESULTS", help="Folder that pfh wrote, or its results.json.")],
    contract: Annotated[
        Path, typer.Option("--contract", metavar="FILE", help="YAML: what may and must not change.", show_default=False)
    ],
    junit: Annotated[
        Path | None, typer.Option("--junit", metavar="FILE", help="Write JUnit XML for a CI service.")
    ] = None,
    sealed: Sealed = 0.0,
    store: StoreFolder = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the clauses as JSON.")] = False,
    debug: Debug = False,
) -> None:
    """May this version go out? Hold the results of a run or comparison against a contract, clause by clause.

    Exit codes: 0 every clause holds, 1 one is broken (or undecided, or not measured, unless the contract says warn), 2
    the contract or the results are at fault.
    """
    invocation(context).debug = debug
    from pfh.commands.gate import gate as held_against

    samples = None
    if sealed or junit is not None:
        from pfh.commands.gate import Samples
        from pfh.store.store import Store, default_root

        samples = Samples(Store(store or default_root()), sealed)
    held, code = held_against(results, contract, junit_file=junit, samples=samples)
    if as_json:
        from pfh.text import json_text

        print(json_text(asdict(held) | {"sentence": held.sentence}, indent=1))
    else:
        from pfh.text import printable

        for clause in held.clauses:
            asked = clause.status if clause.state == "not measured" else clause.demand
            line = f"{MARKS[clause.state]:12}  {clause.name}: {asked}; {clause.said}"
            print(printable(line, lines=False))
        print(held.sentence)
        if any(clause.chance is not None for clause in held.clauses):
            print(f"An unchanged model would pass the non-inferiority clauses with a chance of {held.chance:.0%}.")
    sys.stdout.flush()
    raise typer.Exit(code)
