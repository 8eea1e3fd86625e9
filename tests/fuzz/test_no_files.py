"""What is no file, where one should stand."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from pfh.commands.evaluate import evaluate
from pfh.commands.requests import MeasureSpec
from pfh.errors import UserError
from pfh.progress import Silent
from pfh.registry.plugins import Plugins
from pfh.results.stored import open_results
from pfh.store.store import MANIFEST, Store

from tests.confined import command, forked
from tests.fuzz.files import RESULTS, SAMPLES, answer, put
from tests.tiny import tiny_adapter


def no_files(place: Path) -> Iterator[Path]:
    """Make each thing that stands where a file should."""
    import os

    yield place / "missing"
    (place / "folder").mkdir()
    yield place / "folder"
    os.mkfifo(place / "pipe")
    yield place / "pipe"
    (place / "loop").symlink_to("loop")
    yield place / "loop"
    (place / "zero").symlink_to("/dev/zero")
    yield place / "zero"
    (place / "empty").touch()
    yield place / "empty"


READ_IN_FOLDERS: dict[str, tuple[str, ...]] = {
    "model": ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "generation_config.json"),
    "adapter": ("adapter_config.json", "adapter_model.safetensors"),
    "results": ("results.json",),
    "manifest": (MANIFEST, "benchmarks.json", "samples.parquet"),
    "log": (SAMPLES, RESULTS),
}


@pytest.mark.parametrize("kind", READ_IN_FOLDERS)
def test_what_is_no_file_is_refused_or_left_out(kind: str, kept: Path, tiny_llama_path: Path, tmp_path: Path) -> None:
    evaluation = min((kept / "store" / "artifacts" / "evaluation").iterdir())
    adapter = tiny_adapter(tiny_llama_path, tmp_path / "adapter") if kind == "adapter" else tmp_path
    source = {"model": tiny_llama_path, "results": kept / "out", "manifest": evaluation, "log": kept / "log"}
    source["adapter"] = adapter

    def read(place: Path) -> None:
        if kind in ("model", "adapter"):
            answer(place)
        elif kind == "results":
            open_results(place)
        elif kind == "manifest":
            store = Store(tmp_path / "store")
            artifact = tmp_path / "store" / "artifacts" / "evaluation" / evaluation.name
            shutil.rmtree(artifact, ignore_errors=True)
            shutil.copytree(place, artifact, symlinks=True)
            assert store.get("evaluation", evaluation.name) is None
        else:
            spec, plugins = MeasureSpec(models=(f"lm-eval:{place}",)), Plugins()
            evaluate(spec, plugins=plugins, store=Store(tmp_path / "s"), progress=Silent(), output=tmp_path / "o")

    def every() -> int:
        (tmp_path / "things").mkdir()
        for thing in no_files(tmp_path / "things"):
            for name in READ_IN_FOLDERS[kind]:
                place = put(tmp_path / "place", source[kind], name, b"")
                (place / name).unlink()
                if thing.is_fifo() and kind == "manifest":
                    continue  # a copy of a pipe would wait for its writer
                if thing.is_symlink() or thing.exists():
                    (place / name).symlink_to(thing)
                try:
                    read(place)
                except UserError:
                    continue
        return 0

    if kind != "manifest":
        read(source[kind])
    ended = forked(every)
    assert ended.code == 0, ended.stderr[-3000:]
    assert ended.grown < 1 << 30


def test_a_command_that_hangs_or_eats_memory_is_seen_by_these_tests(tmp_path: Path) -> None:
    assert forked(lambda: len(bytearray(4 << 30)) and 0, memory=1 << 30).code == 99
    assert forked(lambda: any(iter(int, 1)) or 0, seconds=0.2).code == -9
    assert command("list-plugins", "--json").code == 0
