"""`pfh judge`: a judge, on completions of the user's own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from pfh_cli.boundary import invocation
from pfh_cli.completion import plugin_names
from pfh_cli.flags import Debug, Options, StoreFolder
from pfh_cli.own_files import own_text
from pfh_cli.quiet import libraries_quiet


def judge(
    context: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="Which judge.", autocompletion=plugin_names("judges"))],
    file: Annotated[
        Path,
        typer.Argument(metavar="FILE.jsonl", help="JSON lines with prompt and completion; - is stdin."),
    ],
    option: Options = None,
    store: StoreFolder = None,
    debug: Debug = False,
) -> None:
    """Let a judge label completions of your own: the same rows, as JSON lines, with what it decided.

    Added are label (refused, complied, partial or broken) and confidence. It is how to find out whether to trust it.
    """
    called = invocation(context)
    called.debug, called.store = debug, store
    from pfh.commands.judge import judge_rows, open_judge, read_completions
    from pfh.registry.assignments import assign_options
    from pfh.registry.plugins import Plugins
    from pfh.sources.datasets import HubData
    from pfh.store.store import Store, default_root
    from pfh.text import json_ready

    plugins = Plugins()
    chosen = [plugins.catalogue.find("judges", name)]
    given = assign_options(option or [], chosen, plugins).get(f"judges:{name}", {})
    rows = read_completions(file, own_text(file))
    with libraries_quiet(debug):
        opened = open_judge(name, given, plugins, data=HubData(), cache_dir=Store(store or default_root()).cache)
    labelled = judge_rows(opened, rows)
    while True:
        with libraries_quiet(debug):
            row = next(labelled, None)
        if row is None:
            return
        print(json.dumps(json_ready(row), ensure_ascii=False))
