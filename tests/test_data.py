"""Datasets: mirror, hub cache and hub, and what is said when none of them has it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from pfh.errors import DataUnavailableError, UserError
from pfh.hooks.datasets import Dataset
from pfh.sources.datasets import HubData, read_jsonl
from pfh.sources.loaded_once import LoadedOnce

COMMIT = "0" * 39 + "1"
HUB_FILES = {"README.md": b"---\nlicense: mit\n---\n", "test.jsonl": b'{"prompt": "one"}\n{"prompt": "two"}\n'}


def write_rows(mirror: Path, rows: list[dict[str, object]], name: str = "acme/toy/default/test") -> Path:
    file = mirror / f"{name}.jsonl"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


def test_mirror_gives_rows_fingerprint_and_origin(tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [{"prompt": "Grüße", "n": 1}, {"prompt": "b", "n": 2}]
    write_rows(tmp_path, rows)
    dataset = HubData(tmp_path).load("acme/toy")
    assert list(dataset.rows) == rows
    assert dataset.origin == "mirror, acme/toy (default/test)"
    write_rows(tmp_path, [dict(reversed(row.items())) for row in rows], "acme/other/default/test")
    assert HubData(tmp_path).load("acme/other").fingerprint == dataset.fingerprint
    write_rows(tmp_path, rows[:1], "acme/fewer/default/test")
    assert HubData(tmp_path).load("acme/fewer").fingerprint != dataset.fingerprint


def test_mirror_is_named_by_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_rows(tmp_path, [{"prompt": "a"}], "acme/toy/standard/train")
    monkeypatch.setenv("PFH_DATA_MIRROR", str(tmp_path))
    assert HubData().load("acme/toy", "standard", "train").rows == ({"prompt": "a"},)


def test_what_cannot_be_had_says_where_was_looked_and_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_rows(tmp_path, [{"prompt": "a"}])
    with pytest.raises(DataUnavailableError) as absent_split:
        HubData(tmp_path).load("acme/toy", split="train")
    assert "has of it only default/test, not default/train" in str(absent_split.value)
    with pytest.raises(DataUnavailableError) as absent_folder:
        HubData(tmp_path / "nowhere").load("acme/toy")
    assert "nowhere does not exist" in str(absent_folder.value)
    monkeypatch.delenv("PFH_DATA_MIRROR", raising=False)
    with pytest.raises(DataUnavailableError) as no_mirror:
        HubData().load("acme/toy")
    message = str(no_mirror.value)
    assert "PFH_DATA_MIRROR is not set" in message
    assert "not in the local hub cache" in message
    assert "HF_HUB_OFFLINE" in message
    assert "acme/toy/default/test.jsonl" in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b'{"a": 1}\n\n{"a": \n', "line 3: not valid JSON"),
        (b'{"a": "\xff"}\n', "line 1: not valid JSON"),
        (b'{"a": 1}\n[1]\n', "line 2: not a JSON object"),
        (b"\n", "holds no rows"),
    ],
)
def test_damaged_mirror_file_is_named_with_its_line(tmp_path: Path, content: bytes, problem: str) -> None:
    file = write_rows(tmp_path, [])
    file.write_bytes(content)
    with pytest.raises(DataUnavailableError, match=problem) as error:
        HubData(tmp_path).load("acme/toy")
    assert str(file) in str(error.value)


def test_blank_lines_are_skipped(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text('{"a": 1}\n\n  \n{"a": 2}')
    assert read_jsonl(file) == ({"a": 1}, {"a": 2})


@pytest.mark.parametrize("hub_id", ["../secrets", "/etc/passwd", "a/b/c", "", "acme/..", "acme\\toy"])
def test_names_that_are_paths_are_refused(tmp_path: Path, hub_id: str) -> None:
    with pytest.raises(UserError, match="no hub id"):
        HubData(tmp_path).load(hub_id)
    with pytest.raises(UserError, match="no split"):
        HubData(tmp_path).load("acme/toy", split="../test")


class FakeHub(BaseHTTPRequestHandler):
    """Serves one dataset, and one that is gated, as the hub does."""

    def reply(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), "X-Repo-Commit": COMMIT, **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def do_GET(self) -> None:
        path, api = self.path.split("?")[0], "/api/datasets/acme/toy"
        entries = [
            {"type": "file", "path": name, "size": len(body), "oid": name[0] * 40} for name, body in HUB_FILES.items()
        ]
        if path.startswith("/datasets/acme/gated/"):
            self.reply(403, X_Error_Code="GatedRepo")
        elif path.startswith("/datasets/acme/toy/resolve/") and path.split("/")[-1] in HUB_FILES:
            name = path.split("/")[-1]
            self.reply(200, HUB_FILES[name], ETag=f'"{name[0] * 40}"')
        elif path == f"{api}/tree/{COMMIT}":
            self.reply(200, json.dumps(entries).encode(), Content_Type="application/json")
        elif path == f"{api}/revision/{COMMIT}":
            self.reply(200, json.dumps({"id": "acme/toy", "sha": COMMIT}).encode(), Content_Type="application/json")
        else:
            self.reply(404, X_Error_Code="EntryNotFound")

    do_HEAD = do_GET  # noqa: N815 - the name that http.server calls

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture
def hub() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), FakeHub)
    Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def load_elsewhere(home: Path, endpoint: str, *hub_ids: str, offline: bool = False) -> list[str]:
    """Load in a fresh process, since the hub's address is read at import; give each origin or error message."""
    script = (
        "import sys\n"
        "from pfh.sources.datasets import HubData\n"
        "from pfh.errors import DataUnavailableError\n"
        "data = HubData()\n"
        "for hub_id in sys.argv[1:]:\n"
        "    try:\n"
        "        dataset = data.load(hub_id)\n"
        "        print(dataset.origin, len(dataset.rows), dataset.fingerprint)\n"
        "    except DataUnavailableError as error:\n"
        "        print(error)\n"
    )
    environment = {name: value for name, value in os.environ.items() if name != "PFH_DATA_MIRROR"}
    environment |= {"HF_HOME": str(home), "HF_ENDPOINT": endpoint, "HF_HUB_OFFLINE": str(int(offline))}
    done = subprocess.run(
        [sys.executable, "-c", script, *hub_ids], env=environment, cwd=home, capture_output=True, text=True, check=True
    )
    return done.stdout.splitlines()


def test_hub_then_cache(tmp_path: Path, hub: str) -> None:
    (tmp_path / "acme" / "toy").mkdir(parents=True)  # a folder of that name must not be taken for the dataset
    online, gated, absent = load_elsewhere(tmp_path, hub, "acme/toy", "acme/gated", "acme/absent")
    assert online.startswith("hub, acme/toy (default/test) 2 ")
    assert "gated dataset" in gated
    assert "hf auth login" in gated
    assert "cannot be had" in absent
    (cached,) = load_elsewhere(tmp_path, "http://127.0.0.1:9", "acme/toy", offline=True)
    assert cached == online.replace("hub,", "hub cache,", 1)


def test_hub_that_does_not_answer_is_asked_once(tmp_path: Path) -> None:
    first, second = load_elsewhere(tmp_path, "http://127.0.0.1:9", "acme/toy", "acme/other")
    assert "the hub at http://127.0.0.1:9 does not answer" in first
    assert "does not answer" in second


@pytest.mark.skipif(not os.environ.get("PFH_DATA_MIRROR"), reason="PFH_DATA_MIRROR is not set")
def test_real_mirror() -> None:
    dataset = HubData().load("walledai/XSTest")
    assert len(dataset.rows) == 450
    assert {row["label"] for row in dataset.rows} == {"safe", "unsafe"}


def test_what_is_loaded_once_is_asked_for_once_and_so_is_what_cannot_be_had() -> None:
    asked = []

    class Source:
        def load(self, hub_id: str, config: str = "default", split: str = "test") -> Dataset:
            asked.append((hub_id, config, split))
            if hub_id == "org/none":
                raise DataUnavailableError("org/none cannot be had: it was looked for everywhere")
            return Dataset(rows=({"a": 1},), fingerprint=split, origin="here")

    data = LoadedOnce(Source())
    assert data.load("org/some") is data.load("org/some")
    assert data.load("org/some", split="train").fingerprint == "train"
    for _ in range(2):
        with pytest.raises(DataUnavailableError, match="it was looked for everywhere"):
            data.load("org/none")
    assert asked == [("org/some", "default", "test"), ("org/some", "default", "train"), ("org/none", "default", "test")]
