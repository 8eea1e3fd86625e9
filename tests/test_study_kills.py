"""Twenty kills of launcher, worker and pool: a study ends the same, and only interrupted batches are repeated."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import psutil

from tests import pool_of_fakes

KILLS = 20
ROOT = Path(__file__).parents[1]


def begun(folder: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "tests.pool_of_fakes", str(folder)]
    return subprocess.Popen(command, cwd=ROOT, start_new_session=True, stderr=subprocess.DEVNULL)


def until_it_computes(folder: Path, launcher: subprocess.Popen[bytes]) -> subprocess.Popen[bytes]:
    """Wait for a batch that is computed from now on, by a launcher that is begun again if it has ended."""
    log = folder / "computed"
    before, deadline = log.stat().st_size if log.exists() else 0, time.monotonic() + 60
    while not log.exists() or log.stat().st_size == before:
        assert time.monotonic() < deadline
        if launcher.poll() is not None:
            launcher = begun(folder)
        time.sleep(0.01)
    return launcher


def kill(victim: str, launcher: subprocess.Popen[bytes], dice: random.Random) -> int:
    """Kill the launcher, one of its workers, or all of them; return how many workers that were."""
    workers = psutil.Process(launcher.pid).children() if launcher.poll() is None else []
    chosen = workers if victim == "pool" else [dice.choice(workers)] if victim == "worker" and workers else []
    if victim in ("launcher", "pool"):
        launcher.kill()
    for worker in chosen:
        try:
            os.kill(worker.pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
    return len(chosen)


def test_a_study_that_was_killed_twenty_times_ends_as_one_that_was_not(tmp_path):
    """Costs twenty seconds: twenty times the processes of a pool begin."""
    dice = random.Random(0)
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    whole.mkdir()
    killed.mkdir()
    assert begun(whole).wait(120) == 0
    per_task = pool_of_fakes.BATCHES
    assert Counter(Counter(line.split()[0] for line in (whole / "computed").read_text().splitlines()).values()) == {
        per_task: len(pool_of_fakes.names())
    }
    interrupted, launcher = 0, begun(killed)
    for number in range(KILLS):
        launcher = until_it_computes(killed, launcher)
        time.sleep(dice.uniform(0, 2 * pool_of_fakes.SECONDS))
        interrupted += kill(("worker", "launcher", "pool")[number % 3], launcher, dice)
    launcher.wait(120)
    assert begun(killed).wait(120) == 0
    assert pool_of_fakes.contents(killed) == pool_of_fakes.contents(whole)
    computed = Counter((killed / "computed").read_text().splitlines())
    assert set(computed) == set((whole / "computed").read_text().splitlines())
    assert 0 < sum(computed.values()) - len(computed) <= interrupted
    assert not (killed / "store" / "set-aside").exists()
    assert not any((killed / "store" / "partial").iterdir())
