"""What goes wrong around a study's execution is one line, and takes down nothing else."""

from __future__ import annotations

import json
import os
import shutil
import socket
import time
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest
from pfh.commands.study import submitted
from pfh.commands.study.ended import ended_early
from pfh.commands.study.matrix import _exit_code
from pfh.commands.study.performing import perform_file
from pfh.commands.study.plan import plan_study
from pfh.commands.study.settings import launcher_options, user_file
from pfh.commands.study.state import (
    CANCEL,
    PLAN,
    Recorded,
    alone,
    edited,
    read_state,
    study_folder,
    write_plan,
    write_state,
)
from pfh.commands.study.status import _correct, cancel_study, study_status
from pfh.commands.study.submitted import (
    SUBMITTED,
    Submitted,
    check_one_launcher,
    note_submitted,
    submitted_of,
    wait_for_all,
)
from pfh.commands.study.tasks import run_as_json, tasks_of, write_task
from pfh.errors import UserError
from pfh.hooks.launchers import EvalChoice, RunSpec, SubmittedTask, TaskOutcome
from pfh.progress import Silent
from pfh.registry.plugins import Plugins
from pfh.store.store import Store

from tests.confined import drop_privileges, forked
from tests.plugin_dists import install, pfh
from tests.test_matrix import GOLD
from tests.test_run import PICKY

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


class Bars(Silent):
    """Keeps what is drawn, and lets a cluster end a task whenever something is."""

    def __init__(self, queue: Path, tasks: list[dict[str, str]]) -> None:
        self.drawn: list[int] = []
        self._queue, self._tasks = queue, tasks
        queue.write_text(json.dumps(tasks))

    @contextmanager
    def task(self, description, total, done=0):
        self.drawn.append(total)
        self._end_one()
        yield self

    def advance(self, amount=1):
        self.drawn.append(amount)
        self._end_one()

    def note(self, text):
        pass

    def _end_one(self):
        self._queue.write_text(json.dumps(self._tasks[1:]))
        self._tasks = self._tasks[1:]


def test_who_waits_for_a_cluster_sees_how_many_tasks_have_ended(planned, cluster, monkeypatch):
    _, _, folder = planned
    monkeypatch.setattr(submitted, "LOOKS_EVERY", 0.01)
    note_submitted(folder, "far", [TaskOutcome(id="training-a", state="submitted", said="41")])
    there = [{"id": f"training-{each}", "job": "41", "state": "running"} for each in "abc"]
    bars = Bars(folder / "queue.json", there)
    wait_for_all(folder, {}, cluster, bars)
    assert bars.drawn == [3, 1, 1, 1]


def test_who_cancels_what_is_waited_for_takes_it_from_the_cluster(planned, cluster, monkeypatch):
    _, _, folder = planned
    monkeypatch.setattr(submitted, "LOOKS_EVERY", 0.01)
    note_submitted(folder, "far", [TaskOutcome(id="training-a", state="submitted", said="41")])
    (folder / "queue.json").write_text(json.dumps([{"id": "training-a", "job": "41", "state": "running"}]))
    (folder / CANCEL).touch()
    wait_for_all(folder, {}, cluster, Silent())
    assert not (folder / "queue.json").exists()


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


def test_how_long_a_task_takes_is_told_by_its_own_machine_whose_clock_may_be_off(planned, cluster):
    file, store, folder = planned
    ahead = {
        "state": "running",
        "host": "node-7",
        "pid": 1,
        "began": time.time() + 7200,
        "seconds": 90.0,
        "label": "train",
    }
    write_state(folder / "records" / "training-a.json", ahead)
    (running,) = study_status(file, store, cluster)["running"]
    assert running["minutes"] == 1.5
    recorded = Recorded(folder / "records" / "evaluation-a.json", "measure")
    recorded.ended("done")
    assert 0 <= read_state(folder / "records" / "evaluation-a.json")["seconds"] < 60


SMALL = """\
name: small
starts:
  - {{name: tiny, model: {model}, start: base, scale: 3.0e6}}
  - {{name: gone, model: org/gone, start: base, scale: 3.0e6}}
methods:
  - none
  - gt-sft: {{max_steps: 2, learning_rate: 0.0001}}
domains: [coin]
evals: ["picky:here"]
problems: 6
limit: 4
"""


@pytest.fixture
def small(tmp_path, tiny_llama_path, monkeypatch) -> Path:
    """Return the file of a study of a tiny model, and of one that cannot be had."""
    site = install(tmp_path / "site", "coin-dist", {"coin_domain": GOLD}, {"pfh.domains": {"coin": "coin_domain"}})
    install(site, "brim-dist", {"brim_eval": BRIM}, {"pfh.evals": {"picky": "brim_eval"}})
    monkeypatch.syspath_prepend(str(site))
    file = tmp_path / "study.yaml"
    file.write_text(SMALL.format(model=tiny_llama_path))
    return file


BRIM = PICKY.replace(
    '    names = spec.benchmarks or ("here", "far")\n',
    """    if "FULL" in os.environ:
        raise OSError(28, "No space left on device")
    names = spec.benchmarks or ("here", "far")
""",
)


def test_a_model_that_cannot_be_had_is_one_line_and_the_other_runs_go_on(small, tmp_path):
    planned = plan_study(small, plugins=Plugins(), store=Store(tmp_path / "store"), download=True)
    assert [run.start.name for run in planned.runs] == ["tiny", "tiny"]
    assert sorted(planned.refused) == ["gone--gt-sft--coin--seed-0", "gone--none--coin--seed-0"]
    for said in planned.refused.values():
        assert "org/gone" in said
        assert "\n" not in said
    outcomes = (TaskOutcome(id="a", state="done"),)
    assert _exit_code(planned, {}, outcomes) == 2


def test_an_edit_of_the_file_names_the_runs_that_it_changes_and_what_is_done_keeps_its_keys(small, tmp_path):
    plugins, store = Plugins(), Store(tmp_path / "store")
    before = plan_study(small, plugins=plugins, store=store)
    folder = study_folder(store, "small")
    write_plan(folder, before, {task.id: task for task in tasks_of(before)})
    assert edited(read_state(folder / PLAN), before) == ()
    kept = [line for line in small.read_text().splitlines() if "name: gone" not in line]
    small.write_text("\n".join(kept).replace("0.0001", "0.0002"))
    after = plan_study(small, plugins=plugins, store=store)
    changed, gone = edited(read_state(folder / PLAN), after)
    assert changed.endswith("made anew as far as that goes: tiny--gt-sft--coin--seed-0")
    assert gone.startswith("no longer in the study (what is done of them stays in the store): gone--")
    same = {step.part for name, step in after.graph.items() if name in before.graph}
    assert same >= {"self-test", "evaluation of the start", "evaluation again"}
    assert "training" not in same


def test_a_full_disk_on_one_node_fails_its_task_alone_and_the_task_goes_on_when_there_is_room(
    small, tmp_path, monkeypatch
):
    store = Store(tmp_path / "store")
    planned = plan_study(small, plugins=Plugins(), store=store, phase="rest")
    folder = study_folder(store, "small")
    measuring = next(
        name
        for run, plan in zip(planned.runs, planned.plans, strict=True)
        for name, step in plan.graph.items()
        if run.start.name == "tiny" and step.part == "evaluation of the start"
    )
    task = next(each for each in tasks_of(planned) if measuring in each.steps)
    file = write_task(task, folder / "tasks", "small", store.root)
    with monkeypatch.context() as full:
        full.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=3 << 20))
        code, said = perform_file(file)
        assert code == 2
        assert "its disk has 3 MB left" in said
        assert "\n" not in said
    monkeypatch.setenv("FULL", "1")
    code, said = perform_file(file)
    assert code == 3
    assert "disk" in said.lower() or "space" in said.lower()
    assert "\n" not in said
    assert read_state(folder / "records" / f"{task.id}.json")["said"] == said
    monkeypatch.delenv("FULL")
    assert perform_file(file) == (0, "")
    assert store.has("evaluation", planned.graph[measuring].key)


def test_a_store_that_a_node_may_not_write_is_one_line_in_the_tasks_record(small, tmp_path):
    store = Store(tmp_path / "store")
    planned = plan_study(small, plugins=Plugins(), store=store)
    folder = study_folder(store, "small")
    task = next(each for each in tasks_of(planned) if not each.needs)
    file = write_task(task, folder / "tasks", "small", store.root)
    parts = [store.root / "artifacts", *(store.root / "artifacts").rglob("*")]
    for part in parts:
        part.chmod(0o555 if part.is_dir() else 0o444)

    def on_the_node() -> int:
        drop_privileges()
        code, said = perform_file(file)
        print(said)
        return code

    try:
        ended = forked(on_the_node, memory=16 << 30, seconds=240)
    finally:
        for part in parts:
            part.chmod(0o755)
    assert ended.code == 2, ended.stderr
    assert "cannot be written (Permission denied); name another with --store" in ended.stdout
    assert ended.stdout.count("\n") == 1
    assert read_state(folder / "records" / f"{task.id}.json")["said"] == ended.stdout.strip()


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
