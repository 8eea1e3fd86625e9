"""`pfh compare`: two models or more, on the same samples."""

from __future__ import annotations

from typing import Annotated

import typer

from pfh_cli.boundary import invocation
from pfh_cli.flags import (
    MODEL_HELP,
    AllowPickle,
    Alpha,
    ApplyChatTemplate,
    AsJson,
    Backend,
    ChatTemplateKwargs,
    Debug,
    DivergencePrompts,
    Domain,
    DryRun,
    Evals,
    Limit,
    Margin,
    NumFewshot,
    Options,
    Output,
    Precision,
    Quiet,
    Revision,
    Seed,
    StopEarly,
    StoreFolder,
    Tasks,
)
from pfh_cli.optional_name import AllowMismatch, allowed
from pfh_cli.output import show_outcome
from pfh_cli.plans import print_plan
from pfh_cli.progress import open_progress
from pfh_cli.quiet import libraries_quiet


def compare(
    context: typer.Context,
    models: Annotated[list[str], typer.Argument(metavar="BEFORE AFTER...", help=MODEL_HELP)],
    eval_: Evals = None,
    option: Options = None,
    tasks: Tasks = None,
    num_fewshot: NumFewshot = None,
    apply_chat_template: ApplyChatTemplate = False,
    chat_template_kwargs: ChatTemplateKwargs = None,
    domain: Domain = "reasoning",
    seed: Seed = 0,
    seeds: Annotated[
        str | None,
        typer.Option(metavar="N,N,...", help="Measure under each of these seeds, for families that sample."),
    ] = None,
    noise_floor: Annotated[
        bool, typer.Option("--noise-floor", help="Measure BEFORE twice, and mark changes not above its own.")
    ] = False,
    allow_mismatch: AllowMismatch = None,
    limit: Limit = None,
    margin: Margin = None,
    divergence_prompts: DivergencePrompts = 16,
    stop_early: StopEarly = False,
    alpha: Alpha = None,
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
    """Compare models sample by sample: what did each one after forget, gain or change against the one before?

    Models, stored results and logs of other tools may be mixed. What is stored is not measured again.
    """
    called = invocation(context)
    called.debug, called.store = debug, store
    from pfh.commands.compare import compare as compare_models
    from pfh.commands.specs import Asked, compare_spec
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
        margin=margin,
        divergence_prompts=divergence_prompts,
        stop_early=stop_early,
        alpha=alpha,
        backend=backend,
        dtype=dtype,
        revision=revision,
        allow_pickle=allow_pickle,
    )
    spec = compare_spec(
        asked, plugins, models, seeds=seeds, noise_floor=noise_floor, allow_mismatch=allowed(allow_mismatch)
    )
    if dry_run:
        print_plan(spec, plugins, store, as_json=as_json, debug=debug)
        return
    with open_progress(quiet=quiet) as progress, libraries_quiet(debug):
        held = Store(store or default_root(), progress)
        outcome = compare_models(spec, plugins=plugins, store=held, progress=progress, output=output)
    show_outcome(outcome, as_json=as_json)
    raise typer.Exit(outcome.exit_code)
