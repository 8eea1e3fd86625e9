"""`pfh list-plugins`: what is installed, and with --check whether it works."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.terminal import on_a_terminal
from tests.plugin_dists import METHOD, install, install_method, pfh


def test_plugins_are_listed_as_a_table_and_as_json(site: Path):
    table = pfh("list-plugins", path=site)
    listed = pfh("list-plugins", "--json", path=site)

    assert table.stdout.splitlines()[0].split() == ["kind", "name", "distribution", "summary"]
    assert re.search(r"^methods +third +third-party 1\.0 +A method for tests\.$", table.stdout, re.MULTILINE)
    assert {
        "kind": "launchers",
        "name": "pretend",
        "distribution": "pretend",
        "version": "1.0",
        "status": "",
        "summary": "Pretends to have run; PRETEND is what it does instead of running.",
    } in json.loads(listed.stdout)


def test_one_kind_can_be_listed():
    listed = json.loads(pfh("list-plugins", "--kind", "judges", "--json").stdout)

    assert {"judges"} == {row["kind"] for row in listed}
    assert "rule" in {row["name"] for row in listed}


def test_a_kind_without_plugins_says_so():
    assert pfh("list-plugins", "--kind", "wrappers").stdout == "No wrappers are installed.\n"


def test_the_check_says_of_every_plugin_whether_it_works(tmp_path: Path):
    sources = {
        "raising": "raise RuntimeError('no')",
        "exiting": "import os; os._exit(9)",
        "fine": METHOD.replace("train", "launch"),
    }
    for name, source in sources.items():
        install(tmp_path, f"{name}-party", {f"{name}_party": source}, {"pfh.launchers": {name: f"{name}_party"}})

    checked = pfh("list-plugins", "--check", "--kind", "launchers", "--json", path=tmp_path)

    status = {row["name"]: row["status"] for row in json.loads(checked.stdout)}
    assert checked.returncode == 0
    assert status["fine"] == "ok"
    assert "RuntimeError: no" in status["raising"]
    assert "exit code 9" in status["exiting"]


def test_a_name_that_two_distributions_provide_is_marked(tmp_path: Path):
    install_method(tmp_path, METHOD, distribution="one")
    install_method(tmp_path, METHOD, distribution="two")

    table = pfh("list-plugins", path=tmp_path)
    listed = pfh("list-plugins", "--json", path=tmp_path)

    assert re.search(r"third +one 1\.0 +also provided by two 1\.0; A method for tests\.", table.stdout)
    status = {row["distribution"]: row["status"] for row in json.loads(listed.stdout)}
    assert status["one"] == "also provided by two 1.0"
    assert status["two"] == "also provided by one 1.0"
    assert status["pfh"] == ""


@pytest.mark.skipif(sys.platform == "win32", reason="there are no pseudo-terminals")
def test_on_a_terminal_a_long_summary_is_wrapped_under_its_column(tmp_path: Path, monkeypatch):
    install_method(tmp_path, f"'''{'word ' * 40}end.'''\\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))

    shown = on_a_terminal([sys.executable, "-m", "pfh_cli.main", "list-plugins", "--kind", "methods"]).splitlines()

    (first,) = (number for number, line in enumerate(shown) if "third-party" in line)
    assert shown[first + 1].startswith(" " * shown[0].index("summary") + "word")
    assert max(map(len, shown)) <= 100


def test_control_characters_of_a_foreign_summary_do_not_reach_the_terminal(tmp_path: Path):
    install_method(tmp_path, "'''Red \\x1b[31m.'''\n")

    assert "Red \\x1b[31m." in pfh("list-plugins", path=tmp_path).stdout


def test_a_character_that_the_encoding_lacks_is_shown_as_its_escape(tmp_path: Path):
    install_method(tmp_path, "'''Größer.'''\n")

    listed = pfh("list-plugins", path=tmp_path, PYTHONIOENCODING="ascii")

    assert "Gr\\xf6\\xdfer." in listed.stdout


def test_a_reader_that_goes_away_is_no_error():
    writer = subprocess.Popen(
        [sys.executable, "-m", "pfh_cli.main", "list-plugins"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    writer.stdout.close()

    assert writer.stderr.read() == b""
    assert writer.wait() == 141
