"""`pfh eval`: measure one model."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from pfh_cli.boundary import invocation
from pfh_cli.choices import assigned, read_evals
from pfh_cli.flags import (
    MODEL_HELP,
    AllowPickle,
    AsJson,
    Backend,
    Debug,
    Domain,
    DryRun,
    Evals,
    Limit,
    Options,
    Output,
    Precision,
    Quiet,
    Revision,
    Seed,
    StoreFolder,
)
from pfh_cli.output import show
from pfh_cli.plans import print_plan
from pfh_cli.progress import open_progress
from pfh_cli.quiet import libraries_quiet
from pfh_cli.task_flags import ApplyChatTemplate, NumFewshot, Tasks, as_options

if TYPE_CHECKING:
    pass


def evaluate(
    context: typer.Context,
    model: Annotated[str, typer.Argument(metavar="MODEL", help=MODEL_HELP)],
    eval_: Evals = None,
    option: Options = None,
    tasks: Tasks = None,
    num_fewshot: NumFewshot = None,
    apply_chat_template: ApplyChatTemplate = False,
    domain: Domain = "reasoning",
    seed: Seed = 0,
    limit: Limit = None,
    backend: Backend = "hf",
    dtype: Precision = "auto",
    revision: Revision = None,
    allow_pickle: AllowPickle = False,
    output: Output = None,
    store: StoreFolder = None,
    as_json: AsJson = False,
    dry_run: DryRun = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Measure one model: scores with their intervals, by benchmark and category.

    What is stored is not measured again, and an interrupted measurement goes on where it stopped.
    """
    called = invocation(context)
    called.debug, called.store = debug, store
    from pfh.commands.evaluate import evaluate as measured
    from pfh.commands.requests import MeasureSpec, fill_options
    from pfh.registry.plugins import Plugins
    from pfh.store.store import Store, default_root

    plugins = Plugins()
    evals = read_evals(eval_)
    option = (option or []) + as_options(evals, plugins, tasks, num_fewshot, apply_chat_template)
    spec = MeasureSpec(
        models=(model,),
        evals=evals,
        domain=domain,
        options=assigned(option, evals, domain, plugins),
        seed=seed,
        limit=limit,
        backend=backend,
        dtype=dtype,
        revision=revision,
        allow_pickle=allow_pickle,
    )
    filled = fill_options(spec, plugins)
    root = store or default_root()
    if dry_run:
        print_plan(spec, filled, root, plugins, as_json=as_json)
        return
    with open_progress(quiet=quiet) as progress, libraries_quiet(debug):
        outcome = measured(spec, plugins=plugins, store=Store(root, progress), progress=progress, output=output)
    show(outcome.results, as_json=as_json)
    print(f"report: {outcome.folder / 'report.html'}", file=sys.stderr if as_json else sys.stdout)
    raise typer.Exit(outcome.exit_code)
