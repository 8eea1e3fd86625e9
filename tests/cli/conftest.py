"""The command line called in this process, with plugins that only pretend."""

import sys
from pathlib import Path
from typing import NamedTuple

import pytest
from pfh.results.records import write_results
from pfh_cli.main import main

from tests.cli.pretence import EVAL, LAUNCHER, RUN, results
from tests.plugin_dists import METHOD, install, install_method


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """Return a folder for sys.path with a method, an eval and a launcher that only pretends."""
    folder = tmp_path / "site"
    install_method(folder, METHOD)
    install(folder, "third-eval", {"third_eval": EVAL}, {"pfh.evals": {"third-eval": "third_eval"}})
    return install(folder, "pretend", {"pretend": LAUNCHER}, {"pfh.launchers": {"pretend": "pretend"}})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder as a run leaves it."""
    folder = tmp_path / "run"
    folder.mkdir()
    write_results(folder / "results.json", results())
    return folder


@pytest.fixture
def call(site: Path, monkeypatch, capfd):
    """Return a function that runs the command line in this process, the plugins of `site` installed."""
    before = set(sys.modules)
    monkeypatch.syspath_prepend(site)
    monkeypatch.setenv("COLUMNS", "100")

    def run(*arguments: str) -> Ended:
        monkeypatch.setattr(sys, "argv", ["pfh", *arguments])
        capfd.readouterr()
        code = main()
        return Ended(code, *capfd.readouterr())

    yield run
    for name in set(sys.modules) - before:
        if str(site) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


@pytest.fixture
def pretend(call, folder: Path, tmp_path: Path, monkeypatch):
    """Return a function that runs `pfh run` with the launcher that pretends."""
    monkeypatch.setenv("PRETEND_FOLDER", str(folder))
    monkeypatch.setenv("PFH_STORE", str(tmp_path / "store"))

    def run(instead: str = "", *arguments: str, code: int = 0) -> Ended:
        monkeypatch.setenv("PRETEND", instead)
        monkeypatch.setenv("PRETEND_CODE", str(code))
        return call(*RUN, "--launcher", "pretend", *arguments)

    return run


class Ended(NamedTuple):
    """How a command ended in this process."""

    returncode: int
    stdout: str
    stderr: str
