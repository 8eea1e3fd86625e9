"""`pfh invariants check`: a file of invariants read, tried on its own texts, and told what its prompts can prove."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pfh_cli.boundary import invocation
from pfh_cli.flags import Debug

app = typer.Typer(
    rich_markup_mode=None,
    no_args_is_help=True,
    help="Invariants of your own: prompts and the checks that a model's replies must hold.",
)


@app.callback()
def _invariants() -> None:
    """Take the command `check` by its name, though it is the only one."""


@app.command("check")
def check(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="YAML: prompts, checks and rates.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print what was found as JSON.")] = False,
    debug: Debug = False,
) -> None:
    """Is the file right, and what can its prompts prove? No model is asked.

    Exit codes: 0 it is, 2 it is at fault.
    """
    invocation(context).debug = debug
    from pfh.commands.requests import MeasureSpec
    from pfh.commands.specs import plan
    from pfh.hooks.launchers import EvalChoice
    from pfh.registry.plugins import Plugins

    from pfh_cli.plans import show_plan

    asked = MeasureSpec(
        models=("base",),
        evals=(EvalChoice(family="behaviour", benchmarks=("invariants",)),),
        options={"evals:behaviour": {"file": str(file)}},
    )
    show_plan({"options": {}, "asks": plan(asked, Plugins())["asks"]}, as_json=as_json)
