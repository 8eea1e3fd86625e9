"""`pfh eval`: measure one model."""

from __future__ import annotations

from typing import Annotated

import typer

from pfh_cli.boundary import invocation
from pfh_cli.flags import (
    MODEL_HELP,
    AllowPickle,
    ApplyChatTemplate,
    AsJson,
    Backend,
    ChatTemplateKwargs,
    Debug,
    Domain,
    DryRun,
    Evals,
    Limit,
    NumFewshot,
    Options,
    Output,
    Precision,
    Quiet,
    Revision,
    Seed,
    StoreFolder,
    Tasks,
)
from pfh_cli.output import show_outcome
from pfh_cli.plans import print_plan
from pfh_cli.progress import open_progress
from pfh_cli.quiet import libraries_quiet


def evaluate(
    context: typer.Context,
    model: Annotated[str, typer.Argument(metavar="MODEL", help=MODEL_HELP)],
    eval_: Evals = None,
    option: Options = None,
    tasks: Tasks = None,
    num_fewshot: NumFewshot = None,
    apply_chat_template: ApplyChatTemplate = False,
    chat_template_kwargs: ChatTemplateKwargs = None,
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
    from pfh.commands.evaluate import evaluate as measure
    from pfh.commands.specs import Asked, measure_spec
    from pfh.registry.plugins import Plugins
    from pfh.store.store import Store, default_root

    plugins = Plugins()
    asked = Asked(
        eval=eval_,
        option=option,
        tasks=tasks,
        num_fewshot=num_fewshot,
        apply_chat_template=apply_chat_template,
        chat_template_kwargs=chat_template_kwargs,
        domain=domain,
        seed=seed,
        limit=limit,
        backend=backend,
        dtype=dtype,
        revision=revision,
        allow_pickle=allow_pickle,
    )
    spec = measure_spec(asked, plugins, model)
    if dry_run:
        print_plan(spec, plugins, store, as_json=as_json, debug=debug)
        return
    with open_progress(quiet=quiet) as progress, libraries_quiet(debug):
        held = Store(store or default_root(), progress)
        outcome = measure(spec, plugins=plugins, store=held, progress=progress, output=output)
    show_outcome(outcome, as_json=as_json)
    raise typer.Exit(outcome.exit_code)
