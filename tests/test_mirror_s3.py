"""A store mirrored in a bucket: an S3 on this machine, which two machines without a common disk share."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
from pfh.errors import StepFailedError, UserError
from pfh.store.places import store_folder
from pfh.store.store import Store

from tests.plugin_dists import pfh
from tests.test_matrix import SLOW, figures, site  # noqa: F401 - a fixture
from tests.test_mirror import write

pytestmark = pytest.mark.skipif(
    find_spec("s3fs") is None or find_spec("moto") is None, reason="it needs s3fs and moto[server]"
)


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def bucket(endpoint, monkeypatch) -> str:
    """Return the URL of a bucket that is there and empty."""
    import s3fs

    named = {"AWS_ACCESS_KEY_ID": "nobody", "AWS_SECRET_ACCESS_KEY": "nothing", "AWS_DEFAULT_REGION": "us-east-1"}
    for name, value in {**named, "AWS_ENDPOINT_URL": endpoint}.items():
        monkeypatch.setenv(name, value)
    s3fs.S3FileSystem.clear_instance_cache()
    files = s3fs.S3FileSystem()
    if files.exists("shared"):
        files.rm("shared", recursive=True)
    files.mkdir("shared")
    return "s3://shared/pfh"


def test_what_one_machine_made_another_fetches_from_the_bucket(bucket, tmp_path, monkeypatch):
    def machine(name: str) -> Store:
        monkeypatch.setenv("HOME", str(tmp_path / name))
        return Store(store_folder(bucket))

    made = machine("one").make("thing", {"a": 1}, write("text"))
    store = machine("two")
    assert store.keys("thing") == {made.key}
    found = store.make("thing", {"a": 1}, write("other"))
    assert found.reused
    assert (found.path / "deep" / "value.txt").read_text() == "text"
    import s3fs

    files = s3fs.S3FileSystem()
    damaged = next(name for name in files.find("shared") if name.endswith("value.txt"))
    files.pipe_file(damaged, b"evil")
    third = machine("three")
    assert third.get("thing", made.key) is None
    third.make("thing", {"a": 1}, write("text"))
    assert machine("four").get("thing", made.key) is not None


def test_an_endpoint_that_does_not_answer_is_one_line(bucket, tmp_path, monkeypatch):
    import s3fs

    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    s3fs.S3FileSystem.clear_instance_cache()
    with pytest.raises(
        (UserError, StepFailedError), match=r"The store s3://shared/pfh cannot be (opened|read|written)"
    ):
        Store(store_folder(bucket)).make("thing", {"a": 1}, write("text"))


def test_a_study_goes_on_where_another_machine_left_it(bucket, site, tiny_llama_path, tmp_path):  # noqa: F811
    study = tmp_path / "study.yaml"
    study.write_text(SLOW.format(model=tiny_llama_path))

    def matrix(machine: str):
        home: Path = tmp_path / machine
        home.mkdir()
        command = ("matrix", str(study), "--store", bucket, "--output", str(home / "out"))
        said = pfh(*command, path=site, HOME=str(home), HF_HUB_OFFLINE="1", OMP_NUM_THREADS="1")
        assert said.returncode == 0, said.stderr[-2000:]
        assert "3 of 3 runs are finished" in said.stdout
        return said

    matrix("one")
    again = matrix("two")
    assert "0 tasks are to be done" in again.stderr
    assert figures(tmp_path / "one") == figures(tmp_path / "two")
