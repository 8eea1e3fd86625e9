"""`pfh eval`: measure one model."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pfh_cli.boundary import invocation
from pfh_cli.completion import plugin_names
from pfh_cli.output import show
from pfh_cli.plans import asked, show_plan
from pfh_cli.progress import open_progress
from pfh_cli.run import Dtype, Evals, Options, libraries_quiet
from pfh_cli.task_flags import ApplyChatTemplate, NumFewshot, Tasks, as_options

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pfh.measure import MeasureSpec
    from pfh.plugins import Plugins
    from pfh.run import EvalChoice
    from pydantic import BaseModel

MODEL_HELP = (
    "Hub id, folder, GGUF file or adapter; safe or base for the embedded model; the folder of an earlier run; "
    "lm-eval:FOLDER or inspect:FILE for a log."
)
Seed = Annotated[int, typer.Option(metavar="N", min=0, help="Of the documents, completions and the bootstrap.")]
Limit = Annotated[
    int | None,
    typer.Option(metavar="N", min=1, help="At most this many documents a benchmark.", show_default="all"),
]
Domain = Annotated[
    str,
    typer.Option(
        metavar="NAME",
        help="For families that put a domain's problems to the model.",
        autocompletion=plugin_names("domains"),
    ),
]
Backend = Annotated[
    str, typer.Option(metavar="NAME", help="What runs the model.", autocompletion=plugin_names("backends"))
]
Precision = Annotated[Dtype, typer.Option(help="Precision of generation and scoring; auto suits the device.")]
Revision = Annotated[
    str | None, typer.Option(metavar="REV", help="Branch, tag or commit of a hub model.", show_default="main")
]
AllowPickle = Annotated[
    bool, typer.Option("--allow-pickle", help="Load weights that are not safetensors; they can run any code.")
]
Output = Annotated[
    Path | None,
    typer.Option(metavar="DIR", help="Folder for results.json and report.html.", show_default="in pfh-results"),
]
StoreFolder = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR",
        envvar="PFH_STORE",
        help="Folder of what runs share and resume from.",
        show_default="~/.cache/pfh",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print the results as JSON.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Check and print what would be measured, and stop.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress and no log lines.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show tracebacks.")]


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
    from pfh.measure import MeasureSpec, fill_options, measure
    from pfh.plugins import Plugins
    from pfh.store import Store, default_root

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
        outcome = measure(spec, plugins=plugins, store=Store(root, progress), progress=progress, output=output)
    show(outcome.results, as_json=as_json)
    print(f"report: {outcome.folder / 'report.html'}", file=sys.stderr if as_json else sys.stdout)
    raise typer.Exit(outcome.exit_code)


def read_evals(given: list[str] | None) -> tuple[EvalChoice, ...]:
    """Return the choices behind `--eval`."""
    from pfh.run import EvalChoice

    return tuple(EvalChoice.parse(text) for text in given or ())


def assigned(
    given: list[str] | None, evals: tuple[EvalChoice, ...], domain: str, plugins: Plugins
) -> dict[str, dict[str, str]]:
    """Share `-o` out to the chosen families and the domain.

    Raises:
        UserError: no plugin of these has such an option, or there is no such family.
    """
    from pfh.assignments import share_out
    from pfh.logs import READERS

    installed = [choice.family for choice in evals if choice.family not in READERS]
    chosen = [plugins.catalogue.find("evals", name) for name in installed]
    if given:
        chosen.append(plugins.catalogue.find("domains", domain))
    return share_out(given or [], chosen, plugins)


def print_plan(
    spec: MeasureSpec, filled: Mapping[str, BaseModel | None], root: Path, plugins: Plugins, *, as_json: bool
) -> None:
    """Print what would be measured."""
    with libraries_quiet(debug=False):
        asks = asked(spec.evals, filled, plugins, limit=spec.limit, seed=spec.seed)
    options: dict[str, Any] = {key: model.model_dump(mode="json") if model else {} for key, model in filled.items()}
    show_plan(asdict(spec) | {"options": options, "asks": asks, "store": str(root)}, as_json=as_json)
