"""`pfh compare`: two models or more, on the same samples."""

from __future__ import annotations

import sys
from typing import Annotated

import typer
from pfh.errors import UserError

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


def compare(
    context: typer.Context,
    models: Annotated[list[str], typer.Argument(metavar="BEFORE AFTER...", help=MODEL_HELP)],
    eval_: Evals = None,
    option: Options = None,
    tasks: Tasks = None,
    num_fewshot: NumFewshot = None,
    apply_chat_template: ApplyChatTemplate = False,
    domain: Domain = "reasoning",
    seed: Seed = 0,
    seeds: Annotated[
        str | None,
        typer.Option(metavar="N,N,...", help="Measure under each of these seeds, for families that sample."),
    ] = None,
    noise_floor: Annotated[
        bool, typer.Option("--noise-floor", help="Measure BEFORE twice, and mark changes not above its own.")
    ] = False,
    allow_mismatch: Annotated[
        bool, typer.Option("--allow-mismatch", help="Compare what was measured differently, on common documents.")
    ] = False,
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
    """Compare models sample by sample: what did each one after forget, gain or change against the one before?

    Models, stored results and logs of other tools may be mixed. What is stored is not measured again.
    """
    called = invocation(context)
    called.debug, called.store = debug, store
    from pfh.commands.compare import compare as compare_models
    from pfh.commands.requests import CompareSpec, fill_options
    from pfh.registry.plugins import Plugins
    from pfh.store.store import Store, default_root

    if len(models) < 2:
        raise UserError("Name two models or more: the one before, then those after.")
    plugins = Plugins()
    evals = read_evals(eval_)
    option = (option or []) + as_options(evals, plugins, tasks, num_fewshot, apply_chat_template)
    spec = CompareSpec(
        models=tuple(models),
        evals=evals,
        domain=domain,
        options=assigned(option, evals, domain, plugins),
        seed=seed,
        seeds=_numbers(seeds),
        noise_floor=noise_floor,
        allow_mismatch=allow_mismatch,
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
        outcome = compare_models(spec, plugins=plugins, store=Store(root, progress), progress=progress, output=output)
    show(outcome.results, as_json=as_json)
    print(f"report: {outcome.folder / 'report.html'}", file=sys.stderr if as_json else sys.stdout)
    raise typer.Exit(outcome.exit_code)


def _numbers(text: str | None) -> tuple[int, ...]:
    words = [word.strip() for word in (text or "").split(",") if word.strip()]
    if not all(word.isdecimal() for word in words):
        raise UserError(f"--seeds got {text!r}; write whole numbers with commas, such as --seeds 0,1,2.")
    return tuple(int(word) for word in words)
