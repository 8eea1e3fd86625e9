"""A store mirrored at a URL: what one machine makes another finds, whole or not at all."""

from __future__ import annotations

import json

import pytest
from pfh.errors import UserError
from pfh.store.mirror import Mirror
from pfh.store.places import default_root, store_folder
from pfh.store.store import Store

from tests.plugin_dists import pfh


def write(text):
    def build(work, folder):
        (folder / "deep").mkdir()
        (folder / "deep" / "value.txt").write_text(text)

    return build


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """Return a function that opens the mirrored store on a machine of that name, which shares no disk with others."""

    def machine(name: str, url: str = f"file://{tmp_path}/bucket") -> Store:
        monkeypatch.setenv("HOME", str(tmp_path / name))
        return Store(store_folder(url))

    return machine


def test_what_one_machine_made_is_found_on_another_and_made_once(machine):
    first = machine("one").make("thing", {"a": 1}, write("text"))
    store = machine("two")
    assert store.has("thing", first.key)
    assert store.keys("thing") == {first.key}
    found = store.make("thing", {"a": 1}, write("other"))
    assert found.reused
    assert found.path != first.path
    assert (found.path / "deep" / "value.txt").read_text() == "text"


def test_what_was_made_while_the_mirror_was_away_is_copied_later(machine, tmp_path):
    store = machine("one")
    made = store.make("thing", {}, write("text"))
    pointer = next((tmp_path / "bucket" / "artifacts" / "thing").iterdir())
    pointer.unlink()
    assert not machine("two").has("thing", made.key)
    machine("one").make("thing", {}, write("again"))
    assert machine("two").get("thing", made.key) is not None


def test_an_artifact_that_is_damaged_on_the_way_is_not_used(machine, tmp_path):
    made = machine("one").make("thing", {}, write("text"))
    next((tmp_path / "bucket" / "objects").rglob("value.txt")).write_text("evil")
    store = machine("two")
    assert store.get("thing", made.key) is None
    store.make("thing", {}, write("text"))
    assert machine("three").get("thing", made.key) is not None


def test_an_artifact_does_not_write_outside_of_itself(machine, tmp_path):
    made = machine("one").make("thing", {}, write("text"))
    pointer = next((tmp_path / "bucket" / "artifacts" / "thing").iterdir())
    told = json.loads(pointer.read_text())
    pointer.write_text(json.dumps(told | {"files": ["../../../../evil.txt"]}))
    with pytest.raises(UserError, match="outside of itself"):
        machine("two").get("thing", made.key)


def test_the_first_of_two_that_write_the_same_counts(tmp_path):
    mirrors = [Mirror("memory://bucket/folder") for _ in range(2)]
    for mirror, text in zip(mirrors, ("first", "second"), strict=True):
        folder = tmp_path / text
        folder.mkdir()
        (folder / "value.txt").write_text(text)
        mirror.put("thing", "0" * 20, folder)
    assert mirrors[1].fetch("thing", "0" * 20, tmp_path / "found")
    assert (tmp_path / "found" / "value.txt").read_text() == "first"


@pytest.mark.parametrize("url", ["nowhere://bucket", "s3://bucket"])
def test_a_place_that_cannot_be_opened_is_one_line(url, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(UserError, match=f"The store {url} cannot be opened"):
        Store(store_folder(url))


def test_a_url_is_taken_wherever_a_store_is(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("PFH_STORE", "memory://bucket")
    assert default_root().is_relative_to(tmp_path / ".cache" / "pfh" / "mirrored")
    said = pfh("status", "nothing.yaml", "--store", "nowhere://bucket", HOME=str(tmp_path))
    assert said.returncode == 2
    assert "pfh: The store nowhere://bucket cannot be opened" in said.stderr


def test_a_folder_whose_mirror_cannot_be_read_is_not_taken_for_one_without(machine):
    store = machine("one")
    (store.root / "mirror.json").write_text("")
    with pytest.raises(UserError, match=r"mirror\.json cannot be read"):
        Store(store.root)


def test_a_damaged_artifact_is_written_anew_once(machine, tmp_path):
    machine("one").make("thing", {}, write("text"))
    next((tmp_path / "bucket" / "objects").rglob("value.txt")).write_text("evil")
    store = machine("two")
    for _ in range(3):
        store.make("thing", {}, write("text"))
    assert len(list((tmp_path / "bucket" / "objects").rglob("value.txt"))) == 2
