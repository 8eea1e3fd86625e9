"""`pfh verify`: a domain's verifier, on completions of the user's own."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from pfh_cli.boundary import invocation
from pfh_cli.completion import plugin_names
from pfh_cli.flags import Debug, Options
from pfh_cli.own_files import own_text
from pfh_cli.quiet import libraries_quiet


def verify(
    context: typer.Context,
    domain: Annotated[
        str, typer.Argument(metavar="DOMAIN", help="Whose verifier.", autocompletion=plugin_names("domains"))
    ],
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE.jsonl",
            help="JSON lines with prompt, completion and answer (a text, or a list of accepted ones); - is stdin.",
        ),
    ],
    option: Options = None,
    debug: Debug = False,
) -> None:
    """Let a domain's verifier judge completions of your own: the same rows, as JSON lines, with what it decided.

    Added are reward (strict, as training pays it), score (as evaluation counts it, 0 or 1), extracted and status.
    """
    called = invocation(context)
    called.debug = debug
    from pfh.commands.verify import open_for_verification, read_rows, refusal_note, refused_golds, verify_rows
    from pfh.registry.assignments import assign_options
    from pfh.registry.plugins import Plugins
    from pfh.sources.datasets import HubData
    from pfh.text import json_ready

    plugins = Plugins()
    given = assign_options(option or [], [plugins.catalogue.find("domains", domain)], plugins).get(
        f"domains:{domain}", {}
    )
    with libraries_quiet(debug):
        opened = open_for_verification(domain, given, plugins, HubData())
        asked = read_rows(file, own_text(file), opened)
        refused = refused_golds(opened, asked)
    if refused:
        print(refusal_note(refused), file=sys.stderr)
    rows = verify_rows(opened, asked)
    while True:
        with libraries_quiet(debug):
            row = next(rows, None)
        if row is None:
            return
        print(json.dumps(json_ready(row), ensure_ascii=False))
