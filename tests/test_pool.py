"""The pool of processes: what fails takes down only what needs it, and a worker that dies is replaced."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from pfh.hooks.launchers import LaunchSpec, TaskSpec
from pfh_launchers.local import launch
from pfh_launchers.threads import thread_settings

WORKER = """
import json, os, sys
from pathlib import Path

for line in sys.stdin:
    file = Path(line.strip())
    tried = file.with_suffix(".tried")
    count = len(tried.read_text()) if tried.exists() else 0
    tried.write_text("x" * (count + 1))
    text = file.read_text()
    if text == "dies once" and count == 0 or text == "dies":
        os._exit(9)
    if text == "cancels":
        (file.parent / "cancel").touch()
    code = 3 if text == "fails" else 0
    print(json.dumps({"task": file.stem, "code": code, "said": "no room" if code else ""}), flush=True)
"""


@pytest.fixture
def run(tmp_path: Path):
    """Return a function that launches tasks, id to (what it does, needs), and returns id to outcome."""
    (tmp_path / "logs").mkdir()
    script = tmp_path / "worker.py"
    script.write_text(WORKER)

    def run(tasks, workers=2):
        specs = []
        for name, (does, *needs) in tasks.items():
            file = tmp_path / f"{name}.json"
            file.write_text(does)
            specs.append(TaskSpec(id=name, label=f"task {name}", file=file, needs=tuple(needs)))
        spec = LaunchSpec(tasks=tuple(specs), command=(sys.executable, str(script)), folder=tmp_path, workers=workers)
        return {each.id: each for each in launch(spec).outcomes}

    return run


def test_a_failed_task_takes_down_only_what_needs_it(run):
    ended = run({"a": ("ends",), "b": ("fails", "a"), "c": ("ends", "b"), "d": ("ends", "c"), "e": ("ends", "a")})
    states = {name: each.state for name, each in ended.items()}
    assert states == {"a": "done", "b": "failed", "c": "left out", "d": "left out", "e": "done"}
    assert ended["b"].said == "no room"
    assert ended["d"].said == "it needs what failed: task b"


def test_a_task_whose_worker_dies_is_begun_again_but_not_for_ever(run, tmp_path):
    ended = run({"a": ("dies once",), "b": ("dies",), "c": ("ends", "a")}, workers=1)
    assert {name: each.state for name, each in ended.items()} == {"a": "done", "b": "failed", "c": "done"}
    assert "died 3 times" in ended["b"].said
    assert len((tmp_path / "b.tried").read_text()) == 3


@pytest.mark.parametrize(
    ("given", "threads"),
    [
        ({}, ["2", "2"]),
        ({"OMP_NUM_THREADS": "1"}, ["1", "1"]),
        ({"OMP_NUM_THREADS": "8"}, ["2", "2"]),
        ({"OMP_NUM_THREADS": "2,1", "MKL_NUM_THREADS": "1"}, ["2", "1"]),
        ({"OMP_NUM_THREADS": "many"}, ["2", "2"]),
    ],
)
def test_a_worker_has_its_share_of_the_cores_and_never_more_threads_than_the_user_has_set(given, threads):
    settings = thread_settings(2, given)
    assert [settings["OMP_NUM_THREADS"], settings["MKL_NUM_THREADS"]] == threads
    assert settings["OMP_WAIT_POLICY"] == "PASSIVE"


def test_what_is_cancelled_ends_at_once(run):
    ended = run({"a": ("cancels",), "b": ("ends", "a"), "c": ("ends", "b")}, workers=1)
    assert ended["c"].state in ("cancelled", "done")
    assert ended["a"].state in ("cancelled", "done")
