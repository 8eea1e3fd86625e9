"""Leases: one holder at a time on any machine, by signs of life and not by clocks; who lost it publishes nothing."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import threading
import time
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from pfh.progress import Silent
from pfh.store.lease import Held, Holder, Lease, LeaseLostError, this_machine
from pfh.store.store import Store

SOON = 0.4


def elsewhere(folder: Path, generation: int = 1, owner: str = "far") -> None:
    """Let a process of another machine hold the lease."""
    folder.mkdir(parents=True, exist_ok=True)
    holder = Holder(owner=owner, host="node-7", pid=1, machine="another", born=0.0)
    (folder / str(generation)).write_text(json.dumps(asdict(holder)))


def beat_on(folder: Path, ends: threading.Event, owner: str = "far") -> threading.Thread:
    """Give signs of life for the holder elsewhere, with the time stamps of a clock that is years off."""

    def beat():
        count = 0
        while not ends.wait(0.05):
            count += 1
            file = folder / f"{owner}.beat"
            file.write_text(str(count))
            os.utime(file, (1.0, 1.0))

    thread = threading.Thread(target=beat)
    thread.start()
    return thread


def test_a_lease_passes_from_one_to_the_next(tmp_path):
    first, second = Lease(tmp_path / "a"), Lease(tmp_path / "a")
    first.acquire()
    with pytest.raises(Held, match=f"process {os.getpid()} on"):
        second.acquire(wait=False)
    first.release()
    second.acquire(wait=False)
    assert (second.generation, second.stolen) == (3, False)


def _hold(folder, ready):
    Lease(folder).acquire()
    ready.set()
    time.sleep(60)


def test_a_process_of_this_machine_that_was_killed_is_followed_at_once(tmp_path):
    context = multiprocessing.get_context("fork")
    ready = context.Event()
    process = context.Process(target=_hold, args=(tmp_path / "a", ready))
    process.start()
    assert ready.wait(20)
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    began = time.monotonic()
    lease = Lease(tmp_path / "a")
    lease.acquire()
    assert time.monotonic() - began < 2
    assert not lease.stolen


def test_a_later_process_with_the_number_of_a_dead_one_is_not_taken_for_it():
    here = Holder(owner="x", pid=os.getpid(), machine=this_machine(), born=1.0)
    assert here.dead
    assert not replace(here, machine="another").dead


def test_another_machine_is_given_up_only_when_its_signs_of_life_stand_still(tmp_path):
    folder, ends = tmp_path / "a", threading.Event()
    elsewhere(folder)
    thread = beat_on(folder, ends)
    with pytest.raises(Held, match="process 1 on node-7"):
        Lease(folder, SOON).acquire(wait=False)
    lease, began = Lease(folder, SOON), time.monotonic()
    threading.Timer(1.0, ends.set).start()
    lease.acquire()
    thread.join()
    assert time.monotonic() - began > 1.0 + SOON / 2
    assert lease.stolen


def _count(folder, most, held, wrong):
    for _ in range(most):
        lease = Lease(folder)
        lease.acquire()
        with held.get_lock():
            held.value += 1
            wrong.value += held.value != 1
        time.sleep(0.001)
        with held.get_lock():
            held.value -= 1
        lease.release()


def test_of_many_that_want_it_one_has_it(tmp_path):
    context = multiprocessing.get_context("fork")
    held, wrong = context.Value("i", 0), context.Value("i", 0)
    processes = [context.Process(target=_count, args=(tmp_path / "a", 5, held, wrong)) for _ in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
        assert process.exitcode == 0
    assert wrong.value == 0
    assert Lease(tmp_path / "a")._highest() == 40


def test_of_two_that_give_up_the_same_one_follows(tmp_path):
    elsewhere(tmp_path / "a")
    thieves = [Lease(tmp_path / "a", SOON) for _ in range(2)]
    followed = []

    def take(lease):
        lease.acquire()
        followed.append(time.monotonic())
        time.sleep(0.5)
        lease.release()

    threads = [threading.Thread(target=take, args=(lease,)) for lease in thieves]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert abs(followed[1] - followed[0]) >= 0.5
    assert sorted(lease.stolen for lease in thieves) == [False, True]


def test_who_lost_a_lease_cannot_seal_it_and_does_not_free_it(tmp_path):
    lease = Lease(tmp_path / "a")
    lease.acquire()
    elsewhere(tmp_path / "a", 2)
    with pytest.raises(LeaseLostError):
        lease.seal()
    lease.release()
    assert lease._holder(lease._highest()).owner == "far"


class Lines(Silent):
    def __init__(self):
        self.lines = []

    def say(self, line):
        self.lines.append(line)


def test_a_worker_that_was_given_up_and_is_alive_does_not_publish_over_anothers_artifact(tmp_path):
    said = Lines()
    slow, other = Store(tmp_path, said), Store(tmp_path)

    def build_slowly(work, folder):
        """Build; in the middle another machine takes over and publishes, as it saw no sign of life from here."""
        (work / "checkpoint").write_text("half way")
        (folder / "value.txt").write_text("slow")
        place = next((tmp_path / "locks").iterdir())
        elsewhere(place, 2)
        made = Lease(place)
        made._generation = 2
        partial = next((tmp_path / "partial").iterdir())
        fresh = partial / "artifact-2"
        fresh.mkdir()
        (fresh / "value.txt").write_text("other")
        name, _, key = partial.name.rpartition("-")
        other._complete(name, key, {}, fresh)
        other._publish(name, key, fresh, made)
        made._lay(4, "")

    artifact = slow.make("thing", {}, build_slowly)
    assert (artifact.path / "value.txt").read_text() == "other"
    assert artifact.reused
    assert "was taken over by another process" in said.lines[-1]
    assert not (tmp_path / "set-aside").exists()


def test_who_takes_over_goes_on_with_the_work_and_who_was_given_up_finds_it_gone(tmp_path):
    store = Store(tmp_path, expiry=SOON)
    work = store.scratch("thing", {})
    (work / "checkpoint").write_text("half way")
    elsewhere(tmp_path / "locks" / work.parent.name)

    def go_on(mine, folder):
        assert not work.exists()
        assert mine == store.scratch("thing", {})
        (folder / "value.txt").write_text((mine / "checkpoint").read_text() + ", done")

    assert store.make("thing", {}, go_on).path.joinpath("value.txt").read_text() == "half way, done"
    assert not any((tmp_path / "partial").iterdir())
