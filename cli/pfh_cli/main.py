"""The command `pfh`: its subcommands, one a module."""

from __future__ import annotations

import atexit
import gc
import sys
from io import TextIOWrapper
from typing import Annotated

import typer
from pfh import __version__

from pfh_cli.boundary import Invocation, guarded
from pfh_cli.compare import compare
from pfh_cli.doctor import doctor
from pfh_cli.drift import drift
from pfh_cli.eval import evaluate
from pfh_cli.export import export
from pfh_cli.gate import gate
from pfh_cli.invariants import app as invariants
from pfh_cli.judge import judge
from pfh_cli.label import label
from pfh_cli.list_plugins import list_plugins
from pfh_cli.matrix import cancel, matrix, status, task
from pfh_cli.new_plugin import new_plugin
from pfh_cli.optional_name import CompareCommand
from pfh_cli.plan import plan
from pfh_cli.recover import recover
from pfh_cli.report import report
from pfh_cli.run import run
from pfh_cli.shadow import shadow
from pfh_cli.startup import coerce_only_what_is_given
from pfh_cli.verify import verify

# Plain help: the styled one imports Rich, which doubles the time that `pfh --help` takes.
app = typer.Typer(
    name="pfh",
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
app.command("run")(run)
app.command("eval")(evaluate)
app.command("compare", cls=CompareCommand)(compare)
app.command("plan")(plan)
app.command("matrix")(matrix)
app.command("status")(status)
app.command("cancel")(cancel)
app.command("task")(task)
app.command("report")(report)
app.command("recover")(recover)
app.command("gate")(gate)
app.add_typer(invariants, name="invariants")
app.command("drift")(drift)
app.command("shadow")(shadow)
app.command("export")(export)
app.command("verify")(verify)
app.command("judge")(judge)
app.command("label")(label)
app.command("list-plugins")(list_plugins)
app.command("new-plugin")(new_plugin)
app.command("doctor")(doctor)


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"pfh {__version__}")
        raise typer.Exit()


@app.callback(invoke_without_command=True)
def _pfh(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    """Post-train a language model, and learn what it forgot, whether it is still safe, and if the difference is real.

    Results go to stdout, progress and log lines to stderr. Exit codes: 0 fine, 1 something measured fell short of a
    contract, 2 the input or the environment is at fault, 3 a step failed, 130 interrupted.
    """
    if context.invoked_subcommand is None:
        print(context.get_help())


COLLECTED_AFTER = 10_000
"""Objects made before Python looks for garbage: at its default of some hundred, a fifth of the time that the libraries
take to load is spent on looking through them."""


def main() -> int:
    """Run the command line that the process was called with; return its exit code."""
    gc.set_threshold(COLLECTED_AFTER)
    atexit.register(gc.freeze)  # nor is there anything to be found among them when the process ends
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):  # a character that the terminal's encoding lacks is no failure
            stream.reconfigure(errors="backslashreplace")

    def command(called: Invocation) -> int:
        program = typer.main.get_command(app)
        coerce_only_what_is_given(program)
        code = program(prog_name="pfh", standalone_mode=False, obj=called)
        return code if isinstance(code, int) else 0

    return guarded(command)


if __name__ == "__main__":
    raise SystemExit(main())
