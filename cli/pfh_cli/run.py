"""`pfh run`: measure, post-train, measure again, report."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from pfh.errors import UserError

from pfh_cli.boundary import invocation
from pfh_cli.completion import plugin_names
from pfh_cli.flags import Dtype, Evals, Methods, Options
from pfh_cli.output import show
from pfh_cli.plans import asked, show_plan
from pfh_cli.progress import open_progress
from pfh_cli.quiet import libraries_quiet
from pfh_cli.task_flags import ApplyChatTemplate, NumFewshot, Tasks, as_options

if TYPE_CHECKING:
    from pfh.hooks.launchers import RunSpec
    from pfh.registry.plugins import Plugins
    from pydantic import BaseModel


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
    seed: Annotated[int, typer.Option(metavar="N", min=0, help="Of problems, rollouts, training and bootstrap.")] = 0,
    limit: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, help="At most this many documents a benchmark.", show_default="all"),
    ] = None,
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
    accelerate: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Train in several processes, as this configuration of accelerate says.",
            show_default="in this one",
        ),
    ] = None,
    backend: Annotated[
        str, typer.Option(metavar="NAME", help="What runs the model.", autocompletion=plugin_names("backends"))
    ] = "hf",
    dtype: Annotated[Dtype, typer.Option(help="Precision of generation and scoring; auto suits the device.")] = "auto",
    revision: Annotated[
        str | None, typer.Option(metavar="REV", help="Branch, tag or commit of a hub model.", show_default="main")
    ] = None,
    allow_pickle: Annotated[
        bool, typer.Option("--allow-pickle", help="Load weights that are not safetensors; they can run any code.")
    ] = False,
    unsafe_local_code: Annotated[
        bool,
        typer.Option(
            "--unsafe-local-code",
            help="Where no sandbox works: run code that a model wrote unconfined on this machine.",
        ),
    ] = False,
    output: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="Folder for results.json and report.html.", show_default="a folder in pfh-results"
        ),
    ] = None,
    store: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            envvar="PFH_STORE",
            help="Folder of what runs share and resume from.",
            show_default="~/.cache/pfh",
        ),
    ] = None,
    launcher: Annotated[
        str, typer.Option(metavar="NAME", help="Where the run is executed.", autocompletion=plugin_names("launchers"))
    ] = "local",
    as_json: Annotated[bool, typer.Option("--json", help="Print the results as JSON.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check and print what would run, and stop.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress and no log lines.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False,
) -> None:
    """Measure a model, post-train it, measure it again, and report what changed.

    Run the same command again and it goes on where it was stopped.
    """
    called = invocation(context)
    called.debug, called.store = debug, store
    if unsafe_local_code:
        os.environ["PFH_UNSAFE_LOCAL_CODE"] = "1"
    from pfh.commands.estimates import estimates
    from pfh.commands.requests import validate
    from pfh.commands.run import execute
    from pfh.hooks.budget import Budget
    from pfh.hooks.launchers import EvalChoice, LaunchSpec, RunSpec
    from pfh.registry.assignments import assign_options
    from pfh.registry.plugins import Plugins
    from pfh.starts.settings import default_problems
    from pfh.store.store import Store, default_root

    plugins = Plugins()
    methods, evals = tuple(method or ()), tuple(EvalChoice.parse(text) for text in eval_ or ())
    _require_choice(methods, evals, plugins)
    flags = as_options(evals, plugins, tasks, num_fewshot, apply_chat_template)
    chosen = [plugins.catalogue.find("methods", name) for name in methods]
    chosen += [plugins.catalogue.find("evals", choice.family) for choice in evals]
    chosen += [plugins.catalogue.find("domains", domain)]
    spec = RunSpec(
        methods=methods,
        evals=evals,
        domain=domain,
        model=model,
        start=None if base is None else "base" if base else "safe",
        options=assign_options((option or []) + flags, chosen, plugins),
        seed=seed,
        limit=limit,
        problems=problems or default_problems(model),
        budget=None if budget is None else Budget.parse(budget),
        accelerate=None if accelerate is None else str(accelerate),
        backend=backend,
        dtype=dtype,
        revision=revision,
        allow_pickle=allow_pickle,
    )
    filled = validate(spec, plugins)
    plugins.load("launchers", launcher)
    root = store or default_root()
    if dry_run:
        with libraries_quiet(debug):
            asks = asked(evals, filled, plugins, limit=limit, seed=seed)
            takes = estimates(spec, filled)
        plan = _plan(spec, filled) | {"takes": takes, "asks": asks, "launcher": launcher, "store": str(root)}
        show_plan(plan, as_json=as_json)
        return
    with open_progress(quiet=quiet) as progress, libraries_quiet(debug):
        if len(methods) > 1:
            for key, given in spec.options.items():
                progress.say(f"options of {key}: {', '.join(f'{name}={value}' for name, value in given.items())}")
        held = Store(root, progress)
        work = partial(execute, plugins=plugins, store=held, progress=progress, output=output)
        launched = plugins.launch(launcher, LaunchSpec(runs=(spec,), execute=work))
    if launched.state == "submitted":
        for outcome in launched.outcomes:
            print(outcome)
        return
    for outcome in launched.outcomes:
        show(outcome.results, as_json=as_json)
        print(f"report: {outcome.folder / 'report.html'}", file=sys.stderr if as_json else sys.stdout)
        print(f"model: {outcome.folder / 'model'}", file=sys.stderr if as_json else sys.stdout)
    raise typer.Exit(max(outcome.exit_code for outcome in launched.outcomes))


def _require_choice(methods: tuple[str, ...], evals: tuple[Any, ...], plugins: Plugins) -> None:
    if methods and evals:
        return
    names = {kind: plugins.catalogue.names(kind) for kind in ("methods", "evals")}
    missing = [] if methods else [f"a method with --method (installed: {', '.join(names['methods']) or 'none'})"]
    missing += [] if evals else [f"what to measure with --eval (installed: {', '.join(names['evals']) or 'none'})"]
    raise UserError(f"Name {' and '.join(missing)}, such as: pfh run --method dpo --eval safety")


def _plan(spec: RunSpec, filled: Mapping[str, BaseModel | None]) -> dict[str, Any]:
    options = {key: model.model_dump(mode="json") if model else {} for key, model in filled.items()}
    return asdict(spec) | {"options": options}
