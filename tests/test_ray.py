"""Ray: tasks on a cluster, of which those of a killed worker run again; a cluster that goes away is one line."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
from pfh.errors import UserError
from pfh.hooks.launchers import LaunchSpec, TaskSpec
from pfh_launchers.ray import Options, launch, run_tasks
from pfh_launchers.ray_client import check_answers, why_it_failed
from pfh_launchers.ray_task import TaskDied, execute, write_what_came_back

from tests.test_matrix import figures, matrix, site, study, whole  # noqa: F401 - fixtures

PYTHON = os.environ.get("PFH_RAY_PYTHON") or (sys.executable if find_spec("ray") else "")
WHY = "Ray is not here: name a Python that has it and pfh in PFH_RAY_PYTHON"

FAKE = """
import json, os, signal, sys, time
from pathlib import Path

file = Path(sys.argv[-1])
does = file.read_text()
record = file.parents[1] / "records" / file.name
record.write_text(json.dumps({"said": "no room"}))
tried = Path(os.environ["PFH_TRIED"]) / file.stem
tried.write_text(tried.read_text() + "x" if tried.exists() else "x")
print("its words")
if does == "dies" or does == "dies once" and tried.read_text() == "x":
    os.kill(os.getpid(), signal.SIGKILL)
if does == "waits" and tried.read_text() == "x":
    time.sleep(600)
sys.exit(3 if does == "fails" else 0)
"""
LAUNCH = """
import dataclasses, json, sys
from pathlib import Path
from pfh.errors import PfhError
from pfh.hooks.launchers import LaunchSpec, TaskSpec
from pfh_launchers.ray import Options, launch

told = json.loads(sys.argv[1])
folder = Path(told["folder"])
tasks = tuple(
    TaskSpec(id=name, label=f"task {name}", file=folder / "tasks" / f"{name}.json", needs=tuple(needs))
    for name, needs in told["tasks"])
command, options = (sys.executable, told["script"]), Options(**told["options"])
spec = LaunchSpec(tasks=tasks, command=command, folder=folder, workers=2, options=options)
try:
    print(json.dumps([dataclasses.asdict(each) for each in launch(spec).outcomes]))
except PfhError as error:
    print(json.dumps(str(error)))
"""


def prepared(folder: Path, tasks: dict[str, tuple[str, ...]]) -> list[TaskSpec]:
    for name in ("tasks", "records", "logs", "tried"):
        (folder / name).mkdir()
    (folder / "fake.py").write_text(FAKE)
    specs = []
    for name, (does, *needs) in tasks.items():
        file = folder / "tasks" / f"{name}.json"
        file.write_text(does)
        specs.append(TaskSpec(id=name, label=f"task {name}", file=file, needs=tuple(needs)))
    return specs


@pytest.mark.skipif(find_spec("ray") is not None, reason="Ray is here")
def test_where_there_is_no_ray_one_line_says_so(tmp_path):
    spec = LaunchSpec(tasks=tuple(prepared(tmp_path, {"a": ("ends",)})), folder=tmp_path, options=Options())
    with pytest.raises(UserError, match=r"pip install 'pfh\[ray\]'"):
        launch(spec)


def test_answers_that_come_together_are_all_heard(tmp_path, monkeypatch):
    client = tmp_path / "client"
    client.write_text(
        f"#!{sys.executable}\n"
        "import json, os, sys\n"
        "ids = [json.loads(sys.stdin.readline())['file'].rpartition('/')[2].removesuffix('.json') for _ in range(2)]\n"
        "os.write(1, ''.join(json.dumps({'task': each, 'code': 0}) + chr(10) for each in ids).encode())\n"
        "sys.stdin.read()\n"
    )
    client.chmod(0o755)
    tasks = tuple(prepared(tmp_path, {"a": ("ends",), "b": ("ends",)}))
    monkeypatch.setattr(sys, "executable", str(client))
    found = run_tasks(LaunchSpec(tasks=tasks, folder=tmp_path, command=("python",)), Options())
    assert [each.state for each in found] == ["done", "done"]


def test_a_node_that_does_not_see_the_folder_sends_back_what_its_task_noted(tmp_path, monkeypatch):
    prepared(tmp_path, {})
    monkeypatch.setenv("PFH_TRIED", str(tmp_path / "tried"))
    file = tmp_path / "tasks" / "a.json"
    came_back = execute(str(file), "fails", [str(tmp_path / "fake.py")], 1, {})
    assert (came_back["code"], came_back["said"]) == (3, "no room")
    write_what_came_back(file, came_back)
    assert json.loads((tmp_path / "records" / "a.json").read_text()) == {"said": "no room"}
    assert (tmp_path / "logs" / "a.log").read_text() == "its words\n"
    with pytest.raises(TaskDied):
        execute(str(file), "dies", [str(tmp_path / "fake.py")], 1, {})


class RaisedError(Exception):
    """What Ray wraps a task's own exception in."""

    def __init__(self, cause: Exception) -> None:
        super().__init__(f"a traceback of many lines\n{type(cause).__name__}: {cause}")
        self.cause = cause


class WorkerCrashedError(Exception):
    pass


class TaskUnschedulableError(Exception):
    pass


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (RaisedError(TaskDied("signal 9")), "its process died 3 times, the last time with: signal 9"),
        (RaisedError(PermissionError("no logs here")), "it could not be executed (PermissionError: no logs here)"),
        (WorkerCrashedError("it crashed"), "its worker died 3 times, the last time with: it crashed"),
        (TaskUnschedulableError("no such node"), "Ray says: no such node"),
    ],
)
def test_a_tasks_own_error_is_told_from_a_lost_worker(error, said):
    """With the names that Ray has for them; the marked tests see Ray's own."""
    ray = SimpleNamespace(exceptions=SimpleNamespace(RayTaskError=RaisedError))
    assert why_it_failed(ray, error, 3) == said


def test_an_address_is_tried_before_ray_tries_it_for_minutes():
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        for address in (f"127.0.0.1:{port}", f"ray://127.0.0.1:{port}", "auto"):
            check_answers(address)
    for address in (f"127.0.0.1:{port}", f"ray://127.0.0.1:{port}"):
        with pytest.raises(OSError, match="refused"):
            check_answers(address)


def launched(folder: Path, tasks: dict[str, tuple[str, ...]], **options: object) -> subprocess.Popen[str]:
    prepared(folder, tasks)
    told = {
        "folder": str(folder),
        "script": str(folder / "fake.py"),
        "tasks": [(name, needs) for name, (_, *needs) in tasks.items()],
        "options": options,
    }
    return subprocess.Popen(
        [PYTHON, "-c", LAUNCH, json.dumps(told)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PFH_TRIED": str(folder / "tried")},
    )


CLUSTER = {"raylet", "gcs_server"}
"""Processes that a cluster is."""


def name_of(process: psutil.Process) -> str:
    """Return the name of a process; empty where it has ended meanwhile, as Ray's workers do."""
    try:
        return str(process.name())
    except psutil.NoSuchProcess:
        return ""


def wait_for(there: Callable[[], bool], seconds: float = 600.0) -> None:
    """Wait until something is so, however loaded the machine is."""
    deadline = time.monotonic() + seconds
    while not there():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def told_by(process: subprocess.Popen[str]) -> dict[str, tuple[str, str]]:
    said = json.loads(process.communicate(timeout=900)[0])
    return {each["id"]: (each["state"], each["said"]) for each in said}


@pytest.mark.ray
@pytest.mark.skipif(not PYTHON, reason=WHY)
def test_tasks_of_killed_workers_run_again_and_what_fails_takes_down_only_what_needs_it(tmp_path):
    tasks = {
        "a": ("ends",),
        "b": ("dies once", "a"),
        "c": ("waits", "a"),
        "d": ("dies", "b"),
        "e": ("fails", "c"),
        "f": ("ends", "e"),
        "g": ("ends", "c"),
        "h": ("ends",),
    }
    process = launched(tmp_path, tasks, tries=2)
    (tmp_path / "logs" / "h.log").mkdir()
    wait_for((tmp_path / "tried" / "c").exists)
    file = str(tmp_path / "tasks" / "c.json")
    waiting = next(each for each in psutil.process_iter(["cmdline"]) if file in (each.info["cmdline"] or []))
    waiting.parent().kill()  # Ray's own worker, with which its task ends
    ended = told_by(process)
    assert {name: state for name, (state, _) in ended.items()} == {
        "a": "done", "b": "done", "c": "done", "d": "failed", "e": "failed", "f": "left out", "g": "done",
        "h": "failed",
    }  # fmt: skip
    assert "died 2 times" in ended["d"][1]
    assert ended["e"][1] == "no room"
    assert ended["h"][1].startswith("it could not be executed (IsADirectoryError:")
    wait_for(lambda: not waiting.is_running() or waiting.status() == psutil.STATUS_ZOMBIE)
    assert (tmp_path / "tried" / "c").read_text() == "xx"


@pytest.mark.ray
@pytest.mark.skipif(not PYTHON, reason=WHY)
def test_a_cluster_that_is_not_there_or_goes_away_is_one_line(tmp_path):
    for name in ("gone", "away"):
        (tmp_path / name).mkdir()
    gone = launched(tmp_path / "gone", {"a": ("ends",)}, address="127.0.0.1:1")
    said = json.loads(gone.communicate(timeout=900)[0])
    assert said.startswith("No Ray cluster can be reached at 127.0.0.1:1")
    away = launched(tmp_path / "away", {"a": ("waits",), "b": ("ends", "a"), "c": ("ends",)})
    wait_for((tmp_path / "away" / "tried" / "a").exists)
    cluster = [each for each in psutil.Process(away.pid).children(recursive=True) if name_of(each) in CLUSTER]
    assert {name_of(each) for each in cluster} == CLUSTER
    for each in cluster:
        with suppress(psutil.NoSuchProcess):  # what ends with the other
            each.kill()
    ended = told_by(away)
    assert ended["a"][0] == "failed"
    assert "the Ray cluster that was started here went away" in ended["a"][1]
    assert ended["b"][0] == "left out"


@pytest.mark.ray
@pytest.mark.skipif(not PYTHON, reason=WHY)
def test_a_study_on_ray_has_the_figures_of_one_on_this_machine(whole, site, study, tmp_path, monkeypatch):  # noqa: F811
    """Costs two minutes: each task is a process that loads the libraries anew."""
    monkeypatch.setattr(sys, "executable", PYTHON)
    done = matrix(site, study, tmp_path, "--launcher", "ray", "--workers", "2")
    assert done.returncode == 0, done.stderr[-2000:]
    assert "3 of 3 runs are finished" in done.stdout
    assert figures(tmp_path) == figures(whole)
