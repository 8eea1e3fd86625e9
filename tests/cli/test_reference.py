"""docs/reference/commands.md says what the commands say."""

import re
from pathlib import Path

import typer
from pfh_cli.main import app
from typer.testing import CliRunner

DOCS = Path(__file__).parent.parent.parent / "docs" / "reference"


def test_the_reference_shows_the_help_of_every_command(monkeypatch):
    text = (DOCS / "commands.md").read_text()
    monkeypatch.setenv("COLUMNS", "100")

    for name in ["", *typer.main.get_command(app).commands]:
        help_text = CliRunner().invoke(app, [*name.split(), "--help"], prog_name="pfh").stdout
        assert f"```text\n{help_text.rstrip()}\n```" in text, (
            f"run python docs/reference/make_commands.py: pfh {name} changed"
        )


def test_the_reference_has_every_exit_code():
    from pfh import errors
    from pfh_cli import boundary

    codes = {value for module in (errors, boundary) for name, value in vars(module).items() if name.startswith("EXIT_")}
    documented = re.findall(r"^\| (\d+) \|", (DOCS / "commands.md").read_text(), re.MULTILINE)

    assert {int(code) for code in documented} == {0, *codes}
