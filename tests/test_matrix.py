"""A study is executed by processes that may be killed at any moment, and ends with the figures of one that was not."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from pfh.results.records import read_results

from tests.plugin_dists import install, pfh
from tests.test_run import COIN, PICKY

SLOW = """
name: small
starts: [{{name: tiny, model: {model}, start: base, scale: 3.0e6}}]
methods:
  - none
  - gt-sft: {{batch_size: 2, gradient_accumulation: 1, max_steps: 2, save_steps: 1, learning_rate: [0.0001, 0.0002]}}
domains: [coin]
evals: ["picky:here"]
problems: 6
limit: 4
"""
GOLD = COIN.replace('answer="heads"', 'answer="heads", solution="heads"')


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("plugins")
    install(folder, "coin-dist", {"coin_domain": GOLD}, {"pfh.domains": {"coin": "coin_domain"}})
    return install(folder, "picky-dist", {"picky_eval": PICKY}, {"pfh.evals": {"picky": "picky_eval"}})


@pytest.fixture(scope="module")
def study(tiny_llama_path, tmp_path_factory):
    file = tmp_path_factory.mktemp("study") / "study.yaml"
    file.write_text(SLOW.format(model=tiny_llama_path))
    return file


@pytest.fixture(scope="module")
def whole(site, study, tmp_path_factory):
    """Run the study once, uninterrupted; return the folder with store and out."""
    folder = tmp_path_factory.mktemp("whole")
    done = matrix(site, study, folder)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "3 of 3 runs are finished" in done.stdout
    return folder


def matrix(site, study, folder, *arguments):
    places = ("--store", str(folder / "store"), "--output", str(folder / "out"))
    return pfh("matrix", str(study), *places, *arguments, path=site, HF_HUB_OFFLINE="1", OMP_NUM_THREADS="1")


def figures(folder: Path) -> dict[str, object]:
    found = {}
    for place in sorted((folder / "out" / "runs").iterdir()):
        stage = read_results(place / "results.json").stages[0]
        found[place.name] = (stage.before.fingerprint, stage.after.fingerprint, stage.families, stage.curves)
    return found


def test_every_run_of_a_study_is_the_run_that_pfh_run_makes(whole, site, study):
    names = sorted(figures(whole))
    assert names == [
        "tiny--gt-sft-learning_rate=0.0001---coin--seed-0",
        "tiny--gt-sft-learning_rate=0.0002---coin--seed-0",
        "tiny--none--coin--seed-0",
    ]
    model = study.read_text().partition("model: ")[2].partition(",")[0]
    options = {"batch_size": 2, "gradient_accumulation": 1, "max_steps": 2, "save_steps": 1, "learning_rate": 0.0002}
    flags = [each for name, value in options.items() for each in ("-o", f"{name}={value}")]
    said = pfh(
        "run", "--method", "gt-sft", "--eval", "picky:here", "--domain", "coin", "--model", model, "--base",
        "--problems", "6", "--limit", "4", "--store", str(whole / "store"), "--output", str(whole / "alone"), *flags,
        path=site, HF_HUB_OFFLINE="1",
    )  # fmt: skip
    assert said.returncode == 0, said.stderr[-2000:]
    assert said.stderr.count("reusing the stored evaluation") == 2
    alone = read_results(whole / "alone" / "results.json").stages[0]
    ours = figures(whole)["tiny--gt-sft-learning_rate=0.0002---coin--seed-0"]
    assert ours == (alone.before.fingerprint, alone.after.fingerprint, alone.families, alone.curves)


def test_run_again_it_submits_nothing_and_status_says_that_all_is_done(whole, site, study):
    again = matrix(site, study, whole)
    assert again.returncode == 0
    assert "0 tasks are to be done" in again.stderr
    said = json.loads(pfh("status", str(study), "--store", str(whole / "store"), "--json", path=site).stdout)
    assert [row["runs"] for row in said["phases"]] == [{"done": 3}]
    assert said["launcher"] is None


def test_the_report_is_written_anew_without_planning(whole, site, study):
    file = whole / "out" / "study-report" / "study.json"
    before = file.read_text()
    file.unlink()
    said = pfh("report", str(study), "--store", str(whole / "store"), "--output", str(whole / "out"), path=site)
    assert said.returncode == 0, said.stderr[-2000:]
    assert file.read_text() == before
    elsewhere = pfh("report", str(study), "--output", str(whole), path=site)
    assert elsewhere.returncode == 2
    assert "holds no finished run" in elsewhere.stderr


def test_killed_at_any_moment_it_ends_with_the_same_figures(whole, site, study, tmp_path):
    """Each of the launcher and its workers is killed once, at a moment of its own."""
    dice = random.Random(0)
    command = [sys.executable, "-m", "pfh_cli.main", "matrix", str(study), "--workers", "2"]
    command += ["--store", str(tmp_path / "store"), "--output", str(tmp_path / "out")]
    environment = {**os.environ, "PYTHONPATH": str(site), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    for victim in ("worker", "launcher"):
        running = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        records = tmp_path / "store" / "studies" / "small" / "records"
        deadline = time.monotonic() + 120
        while running.poll() is None and not list(records.glob("*.json")) and time.monotonic() < deadline:
            time.sleep(0.1)
        time.sleep(dice.uniform(0, 3))
        if victim == "worker":
            for record in records.glob("*.json"):
                said = json.loads(record.read_text())
                if said["state"] == "running":
                    os.kill(said["pid"], signal.SIGKILL)
            running.wait(timeout=300)
        else:
            running.kill()
            running.wait()
    done = matrix(site, study, tmp_path)
    assert done.returncode == 0, done.stderr[-2000:]
    assert figures(tmp_path) == figures(whole)


def test_contracts_of_a_study_are_held_in_its_runs(whole, site, study, tmp_path):
    (tmp_path / "release.yaml").write_text("contract: 1\nmust_stay: [{what: picky/here, within: 2}]\n")
    file = tmp_path / "study.yaml"
    file.write_text(study.read_text() + "contracts: [release.yaml]\n")
    done = pfh(
        "matrix", str(file), "--store", str(whole / "store"), "--output", str(tmp_path / "out"), path=site,
        HF_HUB_OFFLINE="1", OMP_NUM_THREADS="1",
    )  # fmt: skip
    runs = {place.name: read_results(place / "results.json") for place in (tmp_path / "out" / "runs").iterdir()}
    gates = {name: [gate.contract for gate in results.gates] for name, results in runs.items()}
    assert gates == {name: [] if "none" in name else ["release.yaml"] for name in gates}
    passed = [gate.passes for results in runs.values() for gate in results.gates]
    assert len(passed) == 2
    assert done.returncode == int(not all(passed)), done.stderr[-2000:]
    assert len(list((tmp_path / "out" / "runs").glob("*/gate.xml"))) == 2
    assert "release.yaml: The gate" in (tmp_path / "out" / "study-report" / "index.html").read_text()
    assert "tasks are to be done" in done.stderr
