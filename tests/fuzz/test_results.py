"""What pfh itself wrote, or so it says, fuzzed: results and stores."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from hypothesis import strategies as st
from pfh.commands.compare import compare
from pfh.commands.requests import CompareSpec
from pfh.progress import Silent
from pfh.registry.plugins import Plugins
from pfh.report import write_report
from pfh.results.contracts import read_contract
from pfh.results.gate import judge
from pfh.results.junit import junit
from pfh.results.records import results_json
from pfh.results.stored import open_results, stored_pairs
from pfh.results.summary import summarize
from pfh.store.store import MANIFEST, Store, _sealed
from pfh_cli.tables import print_results
from rich.console import Console

from tests.fuzz.files import CONTRACT, TABLE, contract_file, parquet, write
from tests.fuzzing import changed, damaged, folder, json_bytes, json_file


@pytest.mark.parametrize("kind", ["out", "one"])
def test_results(kind: str, kept: Path, tmp_path: Path, fuzzed: Callable[..., None]) -> None:
    file, store = tmp_path / "results.json", Store(kept / "store")
    contract = read_contract(contract_file(tmp_path, CONTRACT))

    def read(content: bytes) -> None:
        file.write_bytes(content)
        opened = open_results(file)
        print_results(opened, Console(file=io.StringIO(), width=100))
        write_report(tmp_path / "report.html", opened, stored_pairs(opened, store))
        results_json(opened)
        if opened.stages:
            summarize(opened)
            junit(judge(contract, opened), opened, undecided="fail", not_measured="warn")

    valid = json.loads((kept / kind / "results.json").read_bytes())
    for stage in valid["stages"]:
        stage["method"] = "dpo"
        stage["curves"] = [{"step": 1.0, "loss": 0.5}, {"step": 2.0, "loss": None}]
        stage["ledger"] = [{"name": "training", "seconds": 1.0, "tokens": 5, "updates": 1, "samples": 2}]
    fuzzed(read, json_bytes(valid), json_file(valid))


def test_stores(kept: Path, tmp_path: Path, fuzzed: Callable[..., None]) -> None:
    """An artifact that was changed is not used; one whose changer made the manifest fit is read or refused."""
    artifacts = sorted((kept / "store" / "artifacts" / "evaluation").iterdir())
    valid = {file.name: file.read_bytes() for file in artifacts[0].iterdir()}
    manifest, described = json.loads(valid[MANIFEST]), json.loads(valid["benchmarks.json"])
    strategies = {
        MANIFEST: json_file(manifest),
        "benchmarks.json": json_file(described),
        "samples.parquet": st.one_of(damaged(valid["samples.parquet"]), changed(TABLE).map(parquet)),
    }
    shutil.copytree(kept / "store", tmp_path / "store")
    place = tmp_path / "store" / "artifacts" / "evaluation" / artifacts[0].name

    def read(files: Mapping[str, bytes]) -> None:
        import hashlib

        write(place, files)
        if files.get(MANIFEST) == valid[MANIFEST]:
            named = {name: hashlib.sha256(files[name]).hexdigest() for name in manifest["files"] if name in files}
            said = {name: value for name, value in manifest.items() if name != "seal"} | {"files": named}
            (place / MANIFEST).write_text(_sealed(said))
        opened = open_results(kept / "out")
        write_report(tmp_path / "report.html", opened, stored_pairs(opened, Store(tmp_path / "store")))
        spec = CompareSpec(models=(str(kept / "out@start"), str(kept / "out")))
        compare(spec, plugins=Plugins(), store=Store(tmp_path / "store"), progress=Silent(), output=tmp_path / "again")

    fuzzed(read, valid, folder(strategies, valid))
