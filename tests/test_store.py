"""The store: whole artifacts or none, damage found, work kept across attempts."""

import errno
import json
import multiprocessing
import os

import pytest
from pfh.errors import StepFailedError, UserError
from pfh.progress import Silent
from pfh.store.store import MANIFEST, Store, artifact_key


class Lines(Silent):
    def __init__(self):
        self.lines = []

    def say(self, line):
        self.lines.append(line)


def write(text):
    return lambda work, folder: (folder / "value.txt").write_text(text)


def test_an_artifact_is_built_once_and_found_again(tmp_path):
    store = Store(tmp_path)
    first = store.make("thing", {"a": 1}, write("one"))
    again = Store(tmp_path).make("thing", {"a": 1}, write("two"))
    assert (first.reused, again.reused) == (False, True)
    assert again.path.joinpath("value.txt").read_text() == "one"
    assert store.find("thing", {"a": 2}) is None


def test_the_key_depends_on_the_inputs_and_not_on_their_order():
    assert artifact_key("k", {"a": 1, "b": 2}) == artifact_key("k", {"b": 2, "a": 1})
    assert artifact_key("k", {"a": 1}) != artifact_key("k", {"a": 2})
    assert artifact_key("k", {"a": 1}) != artifact_key("other", {"a": 1})


def test_a_failed_build_leaves_no_artifact_and_keeps_its_work(tmp_path):
    store = Store(tmp_path)

    def fail(work, folder):
        (work / "checkpoint").write_text("half way")
        (folder / "value.txt").write_text("half")
        raise StepFailedError("no")

    with pytest.raises(StepFailedError):
        store.make("thing", {}, fail)
    assert store.find("thing", {}) is None

    def go_on(work, folder):
        assert not any(folder.iterdir()), "an attempt starts with an empty folder"
        (folder / "value.txt").write_text((work / "checkpoint").read_text() + ", done")

    assert store.make("thing", {}, go_on).path.joinpath("value.txt").read_text() == "half way, done"
    assert not any((tmp_path / "partial").iterdir())


@pytest.mark.parametrize("damage", ["changed", "missing", "manifest", "half-written"])
def test_a_damaged_artifact_is_set_aside_and_made_again(tmp_path, damage):
    path = Store(tmp_path).make("thing", {}, write("good")).path
    if damage == "changed":
        (path / "value.txt").write_text("evil")
    elif damage == "missing":
        (path / "value.txt").unlink()
    elif damage == "manifest":
        (path / MANIFEST).unlink()
    else:
        manifest = path / MANIFEST
        manifest.write_text(manifest.read_text()[:-20])
    said = Lines()
    remade = Store(tmp_path, said).make("thing", {}, write("good"))
    assert not remade.reused
    assert (remade.path / "value.txt").read_text() == "good"
    assert len(list((tmp_path / "set-aside").iterdir())) == 1
    assert "damaged" in said.lines[0]


def test_the_manifest_tells_inputs_and_checksums(tmp_path):
    path = Store(tmp_path).make("thing", {"model": "m"}, write("x")).path
    manifest = json.loads((path / MANIFEST).read_text())
    assert manifest["inputs"] == {"model": "m"}
    assert set(manifest["files"]) == {"value.txt"}


def test_a_full_disk_is_one_clear_error_and_the_store_stays_whole(tmp_path):
    def fill(work, folder):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    store = Store(tmp_path)
    with pytest.raises(StepFailedError, match="disk of the store"):
        store.make("thing", {}, fill)
    assert not store.make("thing", {}, write("x")).reused


def test_other_os_errors_are_not_taken_for_a_full_disk(tmp_path):
    def deny(work, folder):
        raise PermissionError(errno.EACCES, "denied")

    with pytest.raises(PermissionError):
        Store(tmp_path).make("thing", {}, deny)


def test_a_root_that_cannot_be_written_is_the_users_to_mend(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="PFH_STORE"):
        Store(tmp_path / "file" / "store")


def _make_slowly(root, built):
    def build(work, folder):
        with built.get_lock():
            built.value += 1
        import time

        time.sleep(0.3)
        (folder / "value.txt").write_text("x")

    Store(root).make("thing", {}, build)


def test_two_processes_build_one_artifact_once(tmp_path):
    context = multiprocessing.get_context("fork")
    built = context.Value("i", 0)
    processes = [context.Process(target=_make_slowly, args=(tmp_path, built)) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(30)
    assert built.value == 1
    assert all(process.exitcode == 0 for process in processes)


def test_discard_makes_room_for_a_new_build(tmp_path):
    store = Store(tmp_path)
    store.discard(store.make("thing", {}, write("one")))
    assert store.make("thing", {}, write("two")).path.joinpath("value.txt").read_text() == "two"
