"""`pfh run`: measure, post-train, measure again, report."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from pfh.errors import UserError

from pfh_cli.boundary import invocation
from pfh_cli.completion import plugin_names
from pfh_cli.flags import (
    AllowPickle,
    Alpha,
    ApplyChatTemplate,
    AsJson,
    Backend,
    ChatTemplateKwargs,
    Debug,
    DivergencePrompts,
    DryRun,
    Evals,
    Limit,
    Margin,
    Methods,
    NumFewshot,
    Options,
    Output,
    Precision,
    Quiet,
    Revision,
    StopEarly,
    StoreFolder,
    Tasks,
)
from pfh_cli.output import show_outcome
from pfh_cli.plans import print_plan
from pfh_cli.progress import open_progress
from pfh_cli.quiet import libraries_quiet


def run(
    context: typer.Context,
    method: Methods = None,
    eval_: Evals = None,
    domain: Annotated[
        str,
        typer.Option(metavar="NAME", help="Where training problems come from.", autocompletion=plugin_names("domains")),
    ] = "reasoning",
    model: Annotated[
        str | None,
        typer.Option(
            metavar="MODEL", help="Hub id or path of the start.", show_default="the embedded SmolLM2-135M-Instruct"
        ),
    ] = None,
    base: Annotated[
        bool | None,
        typer.Option("--base/--safe", help="Start unaligned, or aligned.", show_default="safe, for the embedded model"),
    ] = None,
    option: Options = None,
    tasks: Tasks = None,
    num_fewshot: NumFewshot = None,
    apply_chat_template: ApplyChatTemplate = False,
    chat_template_kwargs: ChatTemplateKwargs = None,
    seed: Annotated[int, typer.Option(metavar="N", min=0, help="Of problems, rollouts, training and bootstrap.")] = 0,
    limit: Limit = None,
    margin: Margin = None,
    divergence_prompts: DivergencePrompts = 16,
    stop_early: StopEarly = False,
    alpha: Alpha = None,
    problems: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=1,
            help="Training problems, the same for every method.",
            show_default="2048; 48 for the embedded model",
        ),
    ] = None,
    budget: Annotated[
        str | None,
        typer.Option(
            metavar="AMOUNT",
            help="What each method may spend: 20m, 100updates, 50000tokens, 500samples or 5e15flops.",
            show_default="as its options say",
        ),
    ] = None,
    match: Annotated[
        str | None,
        typer.Option(
            metavar="FAMILY[=+POINTS]",
            help="Measure checkpoints along the way on this family, and compare the first that gained so much.",
            show_default="the model as it ended",
        ),
    ] = None,
    match_every: Annotated[
        int, typer.Option(metavar="N", min=1, help="Updates between the checkpoints of --match.")
    ] = 10,
    stop_when: Annotated[
        str | None,
        typer.Option(
            metavar="FAMILY>POINTS",
            help="Stop a training that certainly lost more of this family, such as forgetting>2pp.",
            show_default="never",
        ),
    ] = None,
    stop_every: Annotated[int, typer.Option(metavar="N", min=1, help="Updates between the looks of --stop-when.")] = 10,
    stop_documents: Annotated[
        int,
        typer.Option(
            metavar="N", min=8, help="Documents a benchmark that --stop-when looks at, none of them reported."
        ),
    ] = 64,
    accelerate: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Train in several processes, as this configuration of accelerate says.",
            show_default="in this one",
        ),
    ] = None,
    contract: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FILE",
            help="YAML: what a stage, or the run, may and must not change; exit code 1 where it is broken. Repeatable.",
            show_default=False,
        ),
    ] = None,
    rehearsal: Annotated[
        bool,
        typer.Option("--rehearsal/--no-rehearsal", help="Try each method on two examples before anything is measured."),
    ] = True,
    backend: Backend = "hf",
    dtype: Precision = "auto",
    revision: Revision = None,
    allow_pickle: AllowPickle = False,
    unsafe_local_code: Annotated[
        bool,
        typer.Option(
            "--unsafe-local-code",
            help="Where no sandbox works: run code that a model wrote unconfined on this machine.",
        ),
    ] = False,
    output: Output = None,
    store: StoreFolder = None,
    launcher: Annotated[
        str, typer.Option(metavar="NAME", help="Where the run is executed.", autocompletion=plugin_names("launchers"))
    ] = "local",
    as_json: AsJson = False,
    dry_run: DryRun = False,
    devices: Annotated[
        str | None,
        typer.Option(
            metavar="NxMEMORY",
            help="With --dry-run: plan memory and time for these, such as 4x80GB or 8x80GB@400TFLOPS.",
            show_default="this machine",
        ),
    ] = None,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Measure a model, post-train it, measure it again, and report what changed.

    Run the same command again and it goes on where it was stopped.
    """
    called = invocation(context)
    called.debug, called.store = debug, store
    from pfh.commands.run import launch
    from pfh.commands.specs import Asked, run_spec
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
    spec = run_spec(
        asked,
        plugins,
        method=method,
        model=model,
        base=base,
        problems=problems,
        budget=budget,
        accelerate=accelerate,
        contract=contract,
        match=match,
        match_every=match_every,
        stop_when=stop_when,
        stop_every=stop_every,
        stop_documents=stop_documents,
        rehearsal=rehearsal,
    )
    plugins.load("launchers", launcher)
    if dry_run:
        print_plan(spec, plugins, store, as_json=as_json, debug=debug, devices=devices, launcher=launcher)
        return
    if devices is not None:
        raise UserError("--devices is what a plan is made for: add --dry-run, or leave it out.")
    with open_progress(quiet=quiet) as progress, libraries_quiet(debug):
        launched = launch(
            spec,
            launcher,
            plugins=plugins,
            store=Store(store or default_root(), progress),
            progress=progress,
            output=output,
            unsafe_local_code=unsafe_local_code,
        )
    for outcome in launched.outcomes:
        if launched.state == "submitted":
            print(outcome)
        else:
            show_outcome(outcome, as_json=as_json)
    if launched.state != "submitted":
        raise typer.Exit(max(outcome.exit_code for outcome in launched.outcomes))
