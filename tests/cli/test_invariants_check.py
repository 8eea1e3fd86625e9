"""`pfh invariants check`: what a file can prove on stdout; what is wrong with it in one line, by its line."""

from __future__ import annotations

import json

from pfh_cli.main import app
from typer.testing import CliRunner

from tests.plugin_dists import pfh

FILE = """version: 1
defaults: {{hold: {hold}}}
invariants:
  - id: polite
    prompts: [{prompts}]
    checks: [{{regex: "(?i)please"}}]
    passes: [Please wait.]
    fails: ["{fails}"]
"""


def written(folder, *, count=60, hold="{at_least: 0.95}", fails="Wait."):
    file = folder / "own.yaml"
    prompts = ", ".join(f"Ask {number} politely" for number in range(count))
    file.write_text(FILE.format(hold=hold, prompts=prompts, fails=fails))
    return str(file)


def test_a_file_that_is_right_is_told_what_it_can_prove(tmp_path):
    """No failure in 59 prompts proves 95%, and in fewer it does not (the rule of three, exactly)."""
    for count, can in ((59, True), (58, False)):
        said = CliRunner().invoke(app, ["invariants", "check", written(tmp_path, count=count), "--json"])
        assert said.exit_code == 0
        (row,) = json.loads(said.stdout)["asks"]["behaviour"]["rows"]
        assert (row["documents"], "cannot prove" not in row["source"]) == (count, can)


def test_a_file_whose_own_texts_contradict_it_is_one_line(tmp_path):
    said = pfh("invariants", "check", written(tmp_path, fails="Please, no."))
    assert said.returncode == 2
    assert said.stdout == ""
    (line,) = said.stderr.splitlines()
    assert "own.yaml, line 8: " in line
    assert "should fail, and every check holds of it" in line


def test_a_file_that_is_not_there_is_one_line(tmp_path):
    said = pfh("invariants", "check", str(tmp_path / "none.yaml"))
    assert said.returncode == 2
    assert len(said.stderr.splitlines()) == 1
