"""Files from strangers: adapters, results and stores that say what they should not; and secrets, shown nowhere."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
from pfh.commands.outcomes import check_writable
from pfh.errors import UserError, reading
from pfh.sources.fingerprints import REMEMBERED_BYTES, file_hash
from pfh.sources.models import resolve
from pfh.store.store import MANIFEST, Store
from pfh.text import json_text, redacted


@pytest.fixture
def adapter(tmp_path: Path) -> Path:
    """Return an adapter folder whose configuration the test writes."""
    folder = tmp_path / "adapter"
    folder.mkdir()
    (folder / "adapter_model.safetensors").write_bytes(b"\x02\0\0\0\0\0\0\0{}")
    return folder


@pytest.mark.parametrize(
    ("base", "said"),
    [
        ("openai:x@http://127.0.0.1:9/v1", "no model at openai:x"),
        ("OPENAI:x", "no model at"),
        (".", "adapter over another adapter"),
        (5, "no text"),
        (["x"], "no text"),
        ("a\0b", "cannot be"),
        ("a" * 5000, "cannot be"),
        ("", "names no base"),
    ],
)
def test_what_an_adapter_names_as_its_base_is_weights_or_refused(adapter: Path, base: object, said: str) -> None:
    (adapter / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": base}))
    with pytest.raises(UserError, match=said):
        resolve(str(adapter), cache_dir=adapter.parent / "cache")


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a": ' * 50_000, "\xff", "[]", "", "{"])
def test_a_broken_configuration_is_the_users_and_one_line(adapter: Path, text: str) -> None:
    (adapter / "adapter_config.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(UserError) as raised:
        resolve(str(adapter), cache_dir=adapter.parent / "cache")
    assert "\n" not in str(raised.value)


def test_weights_that_are_no_file_are_refused_without_being_read(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    (tmp_path / "tokenizer.json").write_text("{}")
    os.mkfifo(tmp_path / "model.safetensors")
    with pytest.raises(UserError, match="is no file"):
        resolve(str(tmp_path), cache_dir=tmp_path / "cache")


def test_other_weights_of_the_same_path_size_and_time_are_other_weights(tmp_path: Path) -> None:
    file, cache = tmp_path / "model.safetensors", tmp_path / "cache"
    file.write_bytes(b"a" * REMEMBERED_BYTES)
    first, times = file_hash(file, cache), file.stat()
    file.write_bytes(b"b" * REMEMBERED_BYTES)
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert file_hash(file, cache) != first


def store_with_one(root: Path) -> tuple[Store, str]:
    store = Store(root)
    made = store.make("evaluation", {"model": "m"}, lambda work, folder: (folder / "data.txt").write_text("x" * 50))
    return store, made.key


@pytest.mark.parametrize("key", ["", ".", "..", "../training", "x" * 300, "a\0b", "*", "../../artifacts", "\x1b[2J"])
def test_what_is_no_key_names_no_artifact_and_moves_nothing(tmp_path: Path, key: str) -> None:
    store, real = store_with_one(tmp_path / "store")
    assert store.get("evaluation", key) is None
    assert Store(tmp_path / "store").get("evaluation", real) is not None


def test_every_flipped_byte_of_a_manifest_is_noticed_and_reading_moves_nothing(tmp_path: Path) -> None:
    _, key = store_with_one(tmp_path / "store")
    folder = tmp_path / "store" / "artifacts" / "evaluation" / key
    whole = (folder / MANIFEST).read_bytes()
    for place in range(len(whole)):
        for bit in (1, 32):
            flipped = bytearray(whole)
            flipped[place] ^= bit
            (folder / MANIFEST).write_bytes(flipped)
            assert Store(tmp_path / "store").get("evaluation", key) is None, (place, bit)
    (folder / MANIFEST).write_bytes(whole)
    assert Store(tmp_path / "store").get("evaluation", key) is not None
    (folder / "more.txt").write_text("x")
    assert Store(tmp_path / "store").get("evaluation", key) is None
    assert folder.exists()
    assert not (tmp_path / "store" / "set-aside").exists()


def test_an_artifact_under_anothers_key_is_not_that_one(tmp_path: Path) -> None:
    store, key = store_with_one(tmp_path / "store")
    other = store.make("evaluation", {"model": "n"}, lambda work, folder: (folder / "data.txt").write_text("y"))
    shutil.rmtree(other.path)
    shutil.copytree(tmp_path / "store" / "artifacts" / "evaluation" / key, other.path)
    assert Store(tmp_path / "store").get("evaluation", other.key) is None


def test_what_is_damaged_is_set_aside_when_it_is_made_again(tmp_path: Path) -> None:
    _, key = store_with_one(tmp_path / "store")
    damaged = tmp_path / "store" / "artifacts" / "evaluation" / key / "data.txt"
    damaged.write_text("z" * 50)
    again = Store(tmp_path / "store")
    made = again.make("evaluation", {"model": "m"}, lambda work, folder: (folder / "data.txt").write_text("x" * 50))
    assert (made.reused, damaged.read_text()) == (False, "x" * 50)
    assert [file.read_text() for file in (tmp_path / "store" / "set-aside").rglob("data.txt")] == ["z" * 50]


def test_secrets_in_an_endpoints_url_are_used_and_never_named(tmp_path: Path) -> None:
    text = "openai:m@http://bob:CANARYword@127.0.0.1:9/v1?api_key=CANARYkey"
    remote = resolve(text, cache_dir=tmp_path)
    assert remote.name == "openai:m@http://127.0.0.1:9/v1"
    assert "CANARY" not in repr(remote)
    assert remote.endpoint is not None
    assert (remote.endpoint.login, remote.endpoint.query) == ("bob:CANARYword", "api_key=CANARYkey")
    assert remote.fingerprint == resolve("openai:m@http://127.0.0.1:9/v1", cache_dir=tmp_path).fingerprint


@pytest.mark.parametrize(
    "text",
    [
        "GET https://bob:CANARY@host/v1 failed",
        "at http://host/v1?api_key=CANARY&x=1",
        "http://host/?x=1&access_token=CANARY",
        "Incorrect API key provided: Bearer sk-CANARY",
    ],
)
def test_what_is_said_holds_no_secret(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-CANARY")
    assert "CANARY" not in redacted(text)


def test_json_holds_no_character_that_a_terminal_acts_on_and_means_the_same() -> None:
    text = "\x1b[2J\x9b31m\u202eevil\u200b\u2028\x7f\U000e0041 é 漢 \ud800"
    written = json_text({"a": text})
    assert not set(written) & set("\x1b\x9b\u202e\u200b\u2028\x7f\U000e0041")
    assert json.loads(written)["a"] == text.replace("\ud800", "\\ud800")
    assert "é 漢" in written


@pytest.mark.parametrize("error", [ZeroDivisionError("x"), RecursionError(), KeyError("k"), OSError(40, "loop")])
def test_whatever_a_parser_raises_is_one_line_of_the_users(error: Exception) -> None:
    def parse() -> None:
        with reading("The file x", "give another"):
            raise error

    with pytest.raises(UserError, match=r"^The file x cannot be read \(.*\): give another\.$"):
        parse()


def test_an_output_that_cannot_be_written_is_refused_before_anything_and_nothing_is_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    for output in (tmp_path / "file", tmp_path / "file" / "deeper", Path("/dev/null")):
        with pytest.raises(UserError, match=r"cannot be written: .* --output"):
            check_writable(output)
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text("{}")
    with pytest.raises(UserError, match="holds a model"):
        check_writable(tmp_path / "model")
    shutil.rmtree(tmp_path / "model")
    check_writable(tmp_path / "new" / "folder")
    check_writable(None)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
