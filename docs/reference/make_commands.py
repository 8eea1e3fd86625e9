"""Write the help texts into docs/reference/commands.md: `python docs/reference/make_commands.py`."""

from __future__ import annotations

import os
import re
from pathlib import Path

import typer
from pfh_cli.main import app
from typer.testing import CliRunner

PAGE = Path(__file__).parent / "commands.md"


def help_text(command: str) -> str:
    """Return what `pfh COMMAND --help` prints on a terminal 100 columns wide."""
    os.environ["COLUMNS"] = "100"
    return CliRunner().invoke(app, [*command.split(), "--help"], prog_name="pfh").stdout.rstrip()


def refreshed(page: str) -> str:
    """Return `page` with every block that begins with "Usage: pfh" written anew."""
    known = {"", *typer.main.get_command(app).commands}  # type: ignore[attr-defined]

    def block(match: re.Match[str]) -> str:
        command = match[1] if match[1] in known else ""
        return f"```text\n{help_text(command)}\n```"

    return re.sub(r"```text\nUsage: pfh ?([a-z-]*).*?\n```", block, page, flags=re.DOTALL)


if __name__ == "__main__":
    PAGE.write_text(refreshed(PAGE.read_text()))
