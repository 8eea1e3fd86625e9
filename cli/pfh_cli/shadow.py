"""`pfh shadow`: logged requests, answered by a model before and one after."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pfh_cli.boundary import invocation
from pfh_cli.flags import (
    MODEL_HELP,
    AllowPickle,
    AsJson,
    Debug,
    DryRun,
    Limit,
    Options,
    Output,
    Precision,
    Quiet,
    Seed,
    StoreFolder,
)
from pfh_cli.output import show_outcome
from pfh_cli.plans import print_plan
from pfh_cli.progress import open_progress
from pfh_cli.quiet import libraries_quiet


def shadow(
    context: typer.Context,
    requests: Annotated[
        Path, typer.Argument(metavar="REQUESTS.jsonl", help="Logged chat requests, a JSON object with messages a line.")
    ],
    before: Annotated[str, typer.Argument(metavar="BEFORE", help=MODEL_HELP)],
    after: Annotated[str, typer.Argument(metavar="AFTER", help="Likewise, the one that would take its place.")],
    masks: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Patterns of your own that are masked too, NAME PATTERN a line.")
    ] = None,
    option: Options = None,
    seed: Seed = 0,
    limit: Limit = None,
    dtype: Precision = "auto",
    allow_pickle: AllowPickle = False,
    output: Output = None,
    store: StoreFolder = None,
    as_json: AsJson = False,
    dry_run: DryRun = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """What would a model's users see change? Replay logged requests on both models, personal data masked by rules.

    Nothing leaves this machine: remote models are refused. The report shows what replies lost, worst first.
    """
    called = invocation(context)
    called.debug, called.store = debug, store
    from pfh.commands.compare import compare
    from pfh.commands.specs import Asked, compare_spec
    from pfh.registry.plugins import Plugins
    from pfh.store.store import Store, default_root

    plugins = Plugins()
    asked = Asked(
        eval=["traffic"],
        option=[
            f"traffic.requests={requests}",
            *([f"traffic.masks={masks}"] if masks else []),
            *(option or []),
        ],
        tasks=None,
        num_fewshot=None,
        apply_chat_template=False,
        chat_template_kwargs=None,
        domain="reasoning",
        seed=seed,
        limit=limit,
        divergence_prompts=0,
        backend="hf",
        dtype=dtype,
        revision=None,
        allow_pickle=allow_pickle,
    )
    spec = compare_spec(asked, plugins, [before, after], seeds=None, noise_floor=False, allow_mismatch=False)
    if dry_run:
        print_plan(spec, plugins, store, as_json=as_json, debug=debug)
        return
    with open_progress(quiet=quiet) as progress, libraries_quiet(debug):
        held = Store(store or default_root(), progress)
        outcome = compare(spec, plugins=plugins, store=held, progress=progress, output=output)
    show_outcome(outcome, as_json=as_json)
    raise typer.Exit(outcome.exit_code)
