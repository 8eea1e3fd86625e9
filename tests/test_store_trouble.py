"""Stores and outputs that cannot be written, or have no room: said before anything is computed, and reading goes on."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from pfh.commands.outcomes import check_writable
from pfh.errors import UserError
from pfh.report import write_report
from pfh.store.store import Store
from pfh.text import write_whole

from tests.confined import Ended, command, drop_privileges, forked
from tests.test_readers import line, results, written
from tests.test_report import results as some_results


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    """Return a folder with a log, and a store that holds it and can only be read."""
    log = written(tmp_path / "log", {"sums": [line(i, 1.0) for i in range(3)]}, results({"sums": {"acc,none": 1.0}}))
    written(tmp_path / "other", {"sums": [line(i, 0.0) for i in range(3)]})
    first = command("eval", str(log), "--store", str(tmp_path / "store"), "--output", str(tmp_path / "out"))
    assert first.code == 0, first.stderr
    parts = [tmp_path / "store", *(tmp_path / "store").rglob("*")]
    for part in parts:
        part.chmod(0o555 if part.is_dir() else 0o444)
    yield tmp_path
    for part in parts:
        part.chmod(0o755)


def test_what_a_read_only_store_holds_is_read_and_what_it_does_not_is_refused_in_one_line(place: Path) -> None:
    def call(*arguments: str) -> Ended:
        return command(*arguments, "--store", str(place / "store"), privileged=False)

    again = call("eval", str(place / "log"), "--output", str(place / "again"))
    assert again.code == 0, again.stderr
    assert call("report", str(place / "out")).code == 0
    exported = call("export", str(place / "out"), "--output", str(place / "exported"), "--format", "lm-eval")
    assert exported.code == 0, exported.stderr
    new = call("eval", str(place / "other"), "--output", str(place / "new"))
    assert new.code == 2
    assert "cannot be written (Permission denied); name another with --store" in new.stderr
    assert new.stderr.count("\n") == 1
    assert not (place / "new").exists()


def test_what_one_user_made_another_reads_or_is_told_whose_it_is(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")

    def build(work: Path, folder: Path) -> None:
        (folder / "value.txt").write_text("x")
        (folder / "value.txt").chmod(0o600)  # as safetensors and temporary files are written

    made = store.make("thing", {}, build)
    file = made.path / "value.txt"
    assert file.stat().st_mode == (made.path / "manifest.json").stat().st_mode
    for hidden in (file, made.path / "manifest.json", made.path):
        mode = hidden.stat().st_mode
        hidden.chmod(0)

        def read() -> int:
            drop_privileges()
            Store(tmp_path / "store").make("thing", {}, build)
            return 0

        ended = forked(read)
        hidden.chmod(mode)
        assert "is another user's and cannot be read: have them run chmod -R a+rX" in ended.stderr


def test_an_output_that_cannot_be_written_is_refused_before_anything(place: Path) -> None:
    (place / "out").chmod(0o555)
    ended = command("eval", "safe", "--eval", "safety", "--output", str(place / "out" / "deeper"), privileged=False)
    assert ended.code == 2
    assert "is read-only; name another folder with --output" in ended.stderr


def test_without_room_nothing_is_begun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(tmp_path / "store")
    made = store.make("thing", {}, lambda work, folder: (folder / "value.txt").write_text("x"))
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=3 << 20))
    with pytest.raises(UserError, match="its disk has 3 MB left; name another folder with --output"):
        check_writable(tmp_path / "out")
    with pytest.raises(UserError, match="its disk has 3 MB left"):
        store.make("other", {}, lambda work, folder: pytest.fail("it was begun"))
    assert store.make("thing", {}, lambda work, folder: pytest.fail("it is there")).path == made.path


def test_a_report_is_whole_or_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "report.html"
    file.write_text("the one before")
    write = Path.write_text

    def half(self: Path, text: str, **settings: Any) -> int:
        write(self, text[: len(text) // 2], **settings)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "write_text", half)
    with pytest.raises(OSError, match="No space"):
        write_report(file, some_results(), {})
    assert file.read_text() == "the one before"
    assert [each.name for each in tmp_path.iterdir()] == ["report.html"]


def test_what_is_no_file_is_written_to_in_its_place(tmp_path: Path) -> None:
    write_whole(Path("/dev/null"), "text")
    assert not Path("/dev/null").is_file()
    (tmp_path / "link").symlink_to("target")
    write_whole(tmp_path / "link", "text")
    assert ((tmp_path / "target").read_text(), (tmp_path / "link").is_symlink()) == ("text", True)
