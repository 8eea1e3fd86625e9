"""What goes wrong around a study's execution is one line, and takes down nothing else."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path

import pytest
from pfh.commands.study.ended import ended_early
from pfh.commands.study.performing import perform_file
from pfh.commands.study.settings import launcher_options, user_file
from pfh.commands.study.state import PLAN, Recorded, alone, read_state, write_state
from pfh.commands.study.status import _correct, cancel_study, study_status
from pfh.commands.study.submitted import SUBMITTED, Submitted, check_one_launcher, note_submitted, submitted_of
from pfh.commands.study.tasks import run_as_json
from pfh.errors import UserError
from pfh.hooks.launchers import EvalChoice, RunSpec, SubmittedTask, TaskOutcome
from pfh.progress import Silent
from pfh.registry.plugins import Plugins
from pfh.store.store import Store

from tests.plugin_dists import install, pfh

STUDY = """\
name: small
starts: [{name: tiny, start: base}]
methods: [none]
domains: [reasoning]
evals: [safety]
"""
CLUSTER = '''
"""A launcher whose cluster is a file."""
import json
from pathlib import Path

from pfh import hookimpl
from pfh.hooks.launchers import LaunchResult, SubmittedTask


def queue(spec):
    file = spec.folder / "queue.json"
    return [SubmittedTask(**task) for task in json.loads(file.read_text())] if file.exists() else []


@hookimpl
def launch(spec):
    return LaunchResult(outcomes=(), state="submitted")


@hookimpl
def submitted_tasks(spec):
    return queue(spec)


@hookimpl
def cancel_tasks(spec):
    had = queue(spec)
    (spec.folder / "queue.json").unlink(missing_ok=True)
    return had
'''


@pytest.fixture
def cluster(tmp_path, monkeypatch) -> Plugins:
    site = install(tmp_path / "site", "far-party", {"far_party": CLUSTER}, {"pfh.launchers": {"far": "far_party"}})
    monkeypatch.syspath_prepend(str(site))
    return Plugins()


@pytest.fixture
def planned(tmp_path) -> tuple[Path, Store, Path]:
    """Return a study's file, its store, and its folder with a plan: a training, and an evaluation that needs it."""
    file = tmp_path / "study.yaml"
    file.write_text(STUDY)
    store = Store(tmp_path / "store")
    folder = store.root / "studies" / "small"
    for name in ("tasks", "records", "logs"):
        (folder / name).mkdir(parents=True)
    steps = {
        f"{kind}-1": {"kind": kind, "key": "1", "task": f"{kind}-a", "seconds": 60}
        for kind in ("training", "evaluation")
    }
    write_state(
        folder / PLAN,
        {
            "refused": {},
            "runs": {"one": {"phase": "rest", "comparison": "evaluation-1", "steps": list(steps)}},
            "steps": steps,
            "tasks": {
                "training-a": {"label": "train", "needs": []},
                "evaluation-a": {"label": "measure", "needs": ["training-a"]},
            },
        },
    )
    for name, step in (("training-a", "training-1"), ("evaluation-a", "evaluation-1")):
        (folder / "tasks" / f"{name}.json").write_text(
            json.dumps({"task": name, "store": "", "steps": [{"id": step, "run": run_as_json(RUN)}]})
        )
    return file, store, folder


RUN = RunSpec(methods=("none",), evals=(EvalChoice(family="safety"),))


def test_a_second_pfh_matrix_on_one_study_is_told_who_runs_it(tmp_path):
    running = f"process {os.getpid()} on {socket.gethostname()}"
    with alone(tmp_path, Silent()), pytest.raises(UserError, match=running), alone(tmp_path, Silent()):
        pass
    with alone(tmp_path, Silent()):
        assert read_state(tmp_path / "launcher.json")["pid"] == os.getpid()


def test_a_store_that_a_node_does_not_see_is_one_line_in_the_tasks_record(planned):
    _, _, folder = planned
    file = folder / "tasks" / "training-a.json"
    said = json.loads(file.read_text())
    file.write_text(json.dumps(said | {"store": "/nowhere/store"}))
    code, why = perform_file(file)
    assert code == 2
    assert why == (
        f"The store /nowhere/store is not to be seen on {socket.gethostname()}: give a folder that all nodes see, or a "
        "URL, as --store."
    )
    assert read_state(folder / "records" / "training-a.json")["said"] == why


def test_a_record_that_cannot_be_written_stops_no_task(tmp_path):
    (tmp_path / "records").write_text("a file in its place")
    recorded = Recorded(tmp_path / "records" / "a.json", "label")
    with recorded.task("doing", total=2) as bar:
        bar.advance()
    recorded.ended("done")


def test_what_a_cluster_has_is_shown_not_handed_to_another_and_can_be_cancelled(planned, cluster):
    file, store, folder = planned
    assert submitted_of(folder, {}, cluster).launcher == ""
    note_submitted(folder, "far", [TaskOutcome(id="training-a", state="submitted", said="41")])
    note_submitted(folder, "far", [TaskOutcome(id="evaluation-a", state="submitted", said="42")])
    assert read_state(folder / SUBMITTED)["tasks"] == {"training-a": "41", "evaluation-a": "42"}
    (folder / "queue.json").write_text(
        json.dumps(
            [
                {"id": "training-a", "job": "41", "state": "running"},
                {"id": "evaluation-a", "job": "42", "state": "queued", "said": "Dependency"},
            ]
        )
    )
    there = submitted_of(folder, {}, cluster)
    assert there.steps == {"training-1": "training-a", "evaluation-1": "evaluation-a"}
    check_one_launcher(there, "far")
    with pytest.raises(UserError, match=r"2 tasks of this study are with the launcher far \(job 41\)"):
        check_one_launcher(there, "local")
    said = study_status(file, store, cluster)
    assert [(task["label"], task["state"]) for task in said["cluster"]["tasks"]] == [
        ("train", "running"),
        ("measure", "queued"),
    ]
    assert said["failed"] == []
    assert cancel_study(file, store, cluster) == "small ends: 2 tasks are taken from the cluster."
    ended = study_status(file, store, cluster)
    assert [(each["label"], each["said"]) for each in ended["failed"]] == [("train", ended_early("41", folder))]
    assert ended["phases"][0]["steps"] == {"failed": 1, "left out": 1}


def test_a_cluster_that_cannot_be_asked_is_said_and_the_rest_is_shown(planned, cluster):
    file, store, folder = planned
    note_submitted(folder, "gone", [TaskOutcome(id="training-a", state="submitted", said="41")])
    said = study_status(file, store, cluster)
    assert said["cluster"]["unknown"].startswith("No launcher named 'gone'.")
    assert said["phases"][0]["steps"] == {"waiting": 2}


def test_a_task_whose_process_is_gone_does_not_run(planned):
    _, _, folder = planned
    dead = {"state": "running", "host": socket.gethostname(), "pid": 2**22 + 1}
    records = {"training-a": dict(dead), "evaluation-a": {}}
    _correct(records, read_state(folder / PLAN), set(), Submitted(launcher=""), folder)
    assert records["training-a"]["state"] == "stopped"
    requeued = Submitted(launcher="far", tasks=(SubmittedTask(id="training-a", job="1", state="queued"),))
    records = {"training-a": dict(dead), "evaluation-a": {}}
    _correct(records, read_state(folder / PLAN), set(), requeued, folder)
    assert records["training-a"]["state"] == "waiting"


def test_settings_of_a_launcher_are_the_studys_over_the_users_own(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    file = user_file("slurm")
    file.parent.mkdir()
    file.write_text("account: us\ntime: 4:00:00\nlines: [--constraint=a100]\n")
    options = launcher_options("slurm", {"time": 90}, Plugins())
    assert (options.account, options.time, options.lines) == ("us", 90, ("--constraint=a100",))
    file.write_text("acct: us\n")
    with pytest.raises(UserError, match=r"slurm\.yaml: launchers:slurm has no option 'acct'. Did you mean 'account'"):
        launcher_options("slurm", {}, Plugins())
    file.write_text("- account\n")
    with pytest.raises(UserError, match="settings are a mapping"):
        launcher_options("slurm", {}, Plugins())


def test_an_unknown_launcher_and_an_address_for_another_one_are_one_line(tmp_path):
    file = tmp_path / "study.yaml"
    file.write_text(STUDY)
    wrong = pfh("matrix", str(file), "--store", str(tmp_path / "store"), "--launcher", "slrum")
    assert wrong.returncode == 2
    assert "No launcher named 'slrum'. Did you mean 'slurm'?" in wrong.stderr
    other = pfh("matrix", str(file), "--store", str(tmp_path / "store"), "--ray-address", "here:1")
    assert other.returncode == 2
    assert "--ray-address is for --launcher ray, and this is local." in other.stderr
