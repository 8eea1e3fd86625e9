"""Slurm: tasks become jobs with dependencies; what is cancelled or out of time is made by the next call or by Slurm."""

from __future__ import annotations

import json
import os
import re
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from pfh.errors import UserError
from pfh.hooks.launchers import LaunchSpec, TaskSpec
from pfh_launchers import slurm_queue as queue
from pfh_launchers.slurm import Options, launch, minutes_of
from pfh_launchers.slurm_jobs import jobs_of

from tests.plugin_dists import install, pfh
from tests.slurm_on_loopback import missing, slurm
from tests.test_matrix import GOLD, SLOW, figures, matrix
from tests.test_run import PICKY

SLEEPY = (
    PICKY.replace(
        '    names = spec.benchmarks or ("here", "far")\n',
        '    names = spec.benchmarks or ("here", "far")\n    sleep_at_first(spec.engine.checkpoint.fingerprint)\n',
    )
    + '''

def sleep_at_first(name):
    """Where SLEEP names a folder, sleep for long the first time that each of the first two models is measured."""
    import time
    from pathlib import Path

    folder = Path(os.environ.get("SLEEP", "/nowhere"))
    if folder.is_dir() and len(list(folder.iterdir())) < 2 and not (folder / name).exists():
        (folder / name).touch()
        time.sleep(600)
'''
)


def task(name: str, *needs: str, seconds: float = 10.0, priority: float = 0.0) -> TaskSpec:
    return TaskSpec(id=name, label=name, file=Path(f"{name}.json"), needs=needs, seconds=seconds, priority=priority)


def test_tasks_of_one_kind_that_wait_for_the_same_are_an_array_behind_what_they_need():
    tasks = [
        task("start-a"),
        task("training-a", "start-a", seconds=5, priority=1),
        task("training-b", "start-a", seconds=9, priority=2),
        task("training-c", "start-a", "elsewhere"),
        task("evaluation-a", "training-a"),
    ]
    jobs = list(jobs_of(tasks))
    assert [[each.id for each in job.tasks] for job in jobs] == [
        ["start-a"],
        ["training-b", "training-a"],
        ["training-c"],
        ["evaluation-a"],
    ]
    assert jobs[1].seconds == 9
    assert len({job.name for job in jobs}) == 4


@pytest.mark.parametrize(
    ("said", "minutes"),
    [
        (90, 90),
        ("90", 90),
        ("1:30", 2),
        ("2:00:00", 120),
        ("1-12", 2160),
        ("1-12:30", 2190),
        ("1-0:0:1", 1441),
        ("x", 0),
    ],
)
def test_time_limits_are_read_as_slurm_reads_them(said, minutes):
    assert minutes_of(said) == minutes


@pytest.mark.parametrize("wrong", [{"time": "soon"}, {"time": "0"}, {"lines": ["constraint=a100"]}, {"partion": "x"}])
def test_settings_are_read_strictly(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Options.model_validate(wrong)


def test_where_there_is_no_slurm_one_line_says_so(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    spec = LaunchSpec(tasks=(task("start-a"),), folder=tmp_path, options=Options())
    with pytest.raises(UserError, match="needs sbatch, which is not on this machine"):
        launch(spec)


def test_a_slurm_that_does_not_answer_is_the_environments_fault(monkeypatch, tmp_path):
    for name in ("sbatch", "squeue", "scancel", "sinfo", "srun"):
        command = tmp_path / name
        command.write_text("#!/bin/sh\necho 'no configuration source' >&2\nexit 1\n")
        command.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    with pytest.raises(UserError, match="Slurm does not answer squeue: no configuration source"):
        queue.queued(tmp_path)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("plugins")
    install(folder, "coin-dist", {"coin_domain": GOLD}, {"pfh.domains": {"coin": "coin_domain"}})
    return install(folder, "sleepy-dist", {"sleepy_eval": SLEEPY}, {"pfh.evals": {"picky": "sleepy_eval"}})


@pytest.fixture
def cluster(tmp_path, monkeypatch) -> Iterator[None]:
    with slurm(tmp_path / "slurm") as configuration:
        monkeypatch.setenv("SLURM_CONF", str(configuration))
        yield


def jobs(*states: str) -> list[str]:
    said = subprocess.run(["squeue", "-h", "-r", "-o", "%i %T"], capture_output=True, text=True, check=True).stdout
    return [line.split()[0] for line in said.splitlines() if not states or line.split()[1] in states]


def wait_for(there, seconds: float = 1500.0) -> None:
    deadline = time.monotonic() + seconds
    while not there():
        assert time.monotonic() < deadline, subprocess.run(["squeue"], capture_output=True, text=True).stdout
        time.sleep(0.5)


@pytest.mark.slurm
@pytest.mark.skipif(bool(missing()), reason=missing())
def test_a_study_on_slurm_ends_right_though_one_job_is_cancelled_and_one_runs_out_of_time(
    cluster, site, tiny_llama_path, tmp_path
):
    """Costs six minutes: a time limit is of whole minutes, and a job is told up to one before it."""
    study = tmp_path / "study.yaml"
    limits = "launchers: {slurm: {partition: main, time: 3, grace: 20, cpus: 1, lines: [--nice=0]}}\n"
    study.write_text(SLOW.format(model=tiny_llama_path) + limits)
    asleep = tmp_path / "asleep"
    asleep.mkdir()
    os.environ["SLEEP"] = str(asleep)
    try:
        first = matrix(site, study, tmp_path, "--launcher", "slurm")
        assert first.returncode == 0, first.stderr[-2000:]
        assert "tasks are with slurm in" in first.stdout
        again = matrix(site, study, tmp_path, "--launcher", "slurm")
        assert "0 tasks are to be done" in again.stderr, again.stderr
        elsewhere = matrix(site, study, tmp_path)
        assert elsewhere.returncode == 2
        assert "are with the launcher slurm" in elsewhere.stderr
        wait_for(lambda: len(list(asleep.iterdir())) == 2)  # the first was told that its time was up, and went on
    finally:
        del os.environ["SLEEP"]
    logs = "".join(file.read_text() for file in (tmp_path / "store/studies/small/jobs").rglob("*.err"))
    assert "this job is timed-out" in logs
    sleeper = jobs("RUNNING")
    subprocess.run(["scancel", *sleeper], check=True)
    wait_for(lambda: not jobs())
    said = json.loads(pfh("status", str(study), "--store", str(tmp_path / "store"), "--json", path=site).stdout)
    assert said["cluster"]["tasks"] == []
    assert any("ended before the task did" in each["said"] for each in said["failed"])
    waited = matrix(site, study, tmp_path, "--launcher", "slurm", "--wait")
    assert waited.returncode == 0, waited.stderr[-2000:]
    assert "3 of 3 runs are finished" in waited.stdout
    assert re.search(r"tasks: \d+ done in|tasks: \d+/\d+ \(\d+%\)", waited.stderr), waited.stderr[-2000:]
    assert matrix(site, study, tmp_path / "alone").returncode == 0
    assert figures(tmp_path) == figures(tmp_path / "alone")


@pytest.mark.slurm
@pytest.mark.skipif(bool(missing()), reason=missing())
def test_a_partition_that_there_is_not_is_one_line_and_a_study_can_be_cancelled(
    cluster, site, tiny_llama_path, tmp_path
):
    study = tmp_path / "study.yaml"
    study.write_text(SLOW.format(model=tiny_llama_path) + "launchers: {slurm: {partition: mian}}\n")
    wrong = matrix(site, study, tmp_path, "--launcher", "slurm")
    assert wrong.returncode == 2
    assert "Slurm has no partition 'mian'. Did you mean 'main'? It has main." in wrong.stderr
    study.write_text(
        SLOW.format(model=tiny_llama_path) + "launchers: {slurm: {account: '', lines: [--begin=now+1hour]}}\n"
    )
    assert matrix(site, study, tmp_path, "--launcher", "slurm").returncode == 0
    assert jobs("PENDING")
    ended = pfh("cancel", str(study), "--store", str(tmp_path / "store"), path=site)
    assert "tasks are taken from the cluster" in ended.stdout
    assert not jobs()
