"""What `--model` may name, and what the user reads when it names nothing that can be used."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import httpx2
import pytest
from pfh.errors import UserError
from pfh.hooks.checkpoint import Checkpoint
from pfh.kit.tokens import chat_templates as templates
from pfh.sources import fingerprints
from pfh.sources.fingerprints import file_hash
from pfh.sources.models import family, family_here, resolve

from tests.tiny import CHATML, tiny_adapter, tiny_tokenizer


@pytest.fixture
def model(tmp_path, tiny_llama_path) -> Path:
    return shutil.copytree(tiny_llama_path, tmp_path / "model")


@pytest.fixture
def cache(tmp_path) -> Path:
    return tmp_path / "cache"


def write_gguf(path: Path, architecture: str = "llama") -> Path:
    from gguf import GGUFWriter

    path.parent.mkdir(parents=True, exist_ok=True)
    writer = GGUFWriter(path, architecture)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def test_a_model_folder(model, cache):
    checkpoint = resolve(str(model), cache_dir=cache)
    assert (checkpoint.name, checkpoint.path, checkpoint.adapter) == (str(model), model, None)
    assert family(checkpoint) == "llama"


def test_a_family_is_told_without_the_weights(model, cache, tmp_path, monkeypatch):
    adapter = tiny_adapter(model, tmp_path / "adapter")
    gguf = write_gguf(tmp_path / "file" / "m.gguf", "qwen2")
    for named in (model, adapter, gguf):
        assert family_here(str(named)) == family(resolve(str(named), cache_dir=cache))
    (model / "model.safetensors").unlink()
    assert (family_here(str(model)), family_here(str(adapter))) == ("llama", "llama")
    assert family_here("openai:m@http://127.0.0.1:9/v1") == "unknown"
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert family_here("nobody/nothing-here") is None
    settings = json.loads((adapter / "adapter_config.json").read_text())
    for base in ("openai:m@http://127.0.0.1:9/v1", "a\0b", 5, ".", "../adapter"):
        (adapter / "adapter_config.json").write_text(json.dumps(settings | {"base_model_name_or_path": base}))
        assert family_here(str(adapter)) is None


def test_a_relative_path_is_made_absolute(model, cache, monkeypatch):
    monkeypatch.chdir(model.parent)
    assert resolve("model", cache_dir=cache).path == model


def test_the_fingerprint_follows_the_content_and_nothing_else(model, cache, tmp_path):
    first = resolve(str(model), cache_dir=cache).fingerprint
    copied = shutil.copytree(model, tmp_path / "copy")
    (copied / "README.md").write_text("another place, another text")
    (copied / "training_args.bin").write_bytes(b"state")
    settings = json.loads((copied / "config.json").read_text())
    (copied / "config.json").write_text(json.dumps(settings | {"_name_or_path": "/elsewhere"}))
    assert resolve(str(copied), cache_dir=cache).fingerprint == first

    seen = {first}
    for name in ("model.safetensors", "tokenizer.json", "chat_template.jinja", "config.json", "generation_config.json"):
        changed = shutil.copytree(model, tmp_path / name)
        content = (changed / name).read_bytes()
        if name == "model.safetensors":
            (changed / name).write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        else:
            (changed / name).write_bytes(content.replace(b"{", b"{ ", 1) if name.endswith(".json") else content + b" ")
        if name == "config.json":
            (changed / name).write_text(json.dumps(settings | {"rms_norm_eps": 0.5}))
        seen.add(resolve(str(changed), cache_dir=cache).fingerprint)
    assert len(seen) == 6


def test_a_large_file_is_hashed_once(tmp_path, cache, monkeypatch):
    file = tmp_path / "large"
    file.write_bytes(b"x" * (1 << 20))
    first = file_hash(file, cache)
    monkeypatch.setattr(fingerprints, "_read_hash", lambda file: pytest.fail("it was read again"))
    assert file_hash(file, cache) == first


def test_a_gguf_file_and_its_folder(tmp_path, cache):
    file = write_gguf(tmp_path / "quantised" / "model.Q4_1.gguf")
    by_file, by_folder = resolve(str(file), cache_dir=cache), resolve(str(file.parent), cache_dir=cache)
    assert by_file.gguf_file == by_folder.gguf_file == "model.Q4_1.gguf"
    assert by_file.path == by_folder.path == file.parent
    assert by_file.fingerprint == by_folder.fingerprint
    assert family(by_file) == "llama"
    write_gguf(file.parent / "second.gguf")
    with pytest.raises(UserError, match=r"several GGUF files \(model.Q4_1.gguf, second.gguf\)"):
        resolve(str(file.parent), cache_dir=cache)


def test_an_adapter_folder(model, tmp_path, cache):
    adapter = tiny_adapter(model, tmp_path / "adapter")
    checkpoint = resolve(str(adapter), cache_dir=cache)
    assert (checkpoint.path, checkpoint.adapter) == (model, adapter)
    base = resolve(str(model), cache_dir=cache)
    assert checkpoint.fingerprint != base.fingerprint
    other = tiny_adapter(model, tmp_path / "other", seed=2)
    assert resolve(str(other), cache_dir=cache).fingerprint != checkpoint.fingerprint


def test_an_adapter_is_the_same_wherever_its_base_lies(model, tmp_path, cache):
    adapter = tiny_adapter(model, tmp_path / "adapter")
    first = resolve(str(adapter), cache_dir=cache)
    moved = model.rename(tmp_path / "moved")
    settings = json.loads((adapter / "adapter_config.json").read_text())
    settings |= {"base_model_name_or_path": "../moved", "target_modules": settings["target_modules"][::-1]}
    (adapter / "adapter_config.json").write_text(json.dumps(settings))
    second = resolve(str(adapter), cache_dir=cache)
    assert second.path.resolve() == moved
    assert second.fingerprint == first.fingerprint


def test_an_adapter_that_names_no_base(model, tmp_path, cache):
    adapter = tiny_adapter(model, tmp_path / "adapter")
    settings = json.loads((adapter / "adapter_config.json").read_text())
    (adapter / "adapter_config.json").write_text(json.dumps(settings | {"base_model_name_or_path": None}))
    with pytest.raises(UserError, match="names no base"):
        resolve(str(adapter), cache_dir=cache)


def test_an_adapter_whose_base_is_gone(model, tmp_path, cache):
    adapter = tiny_adapter(model, tmp_path / "adapter")
    shutil.rmtree(model)
    with pytest.raises(
        UserError, match=f"The base of the adapter {adapter} cannot be had: There is no model at {model}"
    ):
        resolve(str(adapter), cache_dir=cache)


def test_a_path_that_does_not_exist_names_its_neighbour(model, cache):
    with pytest.raises(UserError, match=r"There is no model at .*/modle\. Did you mean 'model'\?"):
        resolve(str(model.parent / "modle"), cache_dir=cache)


@pytest.mark.parametrize(
    ("removed", "message"),
    [
        (("model.safetensors",), "has a config.json but no weights"),
        (("config.json",), "has weights but no config.json"),
        (("config.json", "model.safetensors"), "is no model folder"),
        (("tokenizer.json",), "has no tokenizer"),
    ],
)
def test_a_folder_that_lacks_something(model, cache, removed, message):
    for name in removed:
        (model / name).unlink()
    with pytest.raises(UserError, match=message):
        resolve(str(model), cache_dir=cache)


def test_a_pickle_is_loaded_on_demand_only(model, cache):
    (model / "model.safetensors").rename(model / "pytorch_model.bin")
    with pytest.raises(UserError, match=r"pickle only \(pytorch_model.bin\).*--allow-pickle"):
        resolve(str(model), cache_dir=cache)
    assert resolve(str(model), allow_pickle=True, cache_dir=cache).allow_pickle
    with pytest.raises(UserError, match="is a pickle file"):
        resolve(str(model / "pytorch_model.bin"), cache_dir=cache)


def test_a_missing_shard(model, cache):
    index = {"weight_map": {"a": "model.safetensors", "b": "model-00002-of-00002.safetensors"}}
    (model / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(UserError, match=r"incomplete: model-00002-of-00002.safetensors"):
        resolve(str(model), cache_dir=cache)


def test_broken_files(model, tmp_path, cache):
    (model / "config.json").write_text("{")
    with pytest.raises(UserError, match=r"config.json of .* is no JSON"):
        resolve(str(model), cache_dir=cache)
    (tmp_path / "page.gguf").write_text("<html>")
    with pytest.raises(UserError, match="is no GGUF file"):
        resolve(str(tmp_path / "page.gguf"), cache_dir=cache)
    with pytest.raises(UserError, match="is a file, but no GGUF file"):
        resolve(str(model / "tokenizer.json"), cache_dir=cache)


@pytest.fixture
def hub_cache(tmp_path, monkeypatch) -> Path:
    """Return an empty local hub cache; the hub itself cannot be reached."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    return tmp_path / "hub"


def snapshot(hub_cache: Path, model: Path, commit: str) -> Path:
    folder = hub_cache / "models--org--name"
    (folder / "refs").mkdir(parents=True, exist_ok=True)
    (folder / "refs" / "main").write_text(commit)
    return shutil.copytree(model, folder / "snapshots" / commit)


def test_a_hub_id_in_the_local_cache(model, hub_cache, cache):
    folder = snapshot(hub_cache, model, "a" * 40)
    checkpoint = resolve("org/name", cache_dir=cache)
    assert (checkpoint.name, checkpoint.path) == ("org/name", folder)
    snapshot(hub_cache, model, "b" * 40)
    assert resolve("org/name", cache_dir=cache).fingerprint != checkpoint.fingerprint
    assert resolve("org/name", revision="a" * 40, cache_dir=cache) == checkpoint


def test_a_hub_id_without_network(hub_cache, cache):
    with pytest.raises(UserError, match=r"no folder org/name here.* not in the local hub cache.*cannot be reached"):
        resolve("org/name", cache_dir=cache)


def test_a_hub_id_of_which_only_the_configuration_is_cached(model, hub_cache, cache):
    (snapshot(hub_cache, model, "a" * 40) / "model.safetensors").unlink()
    with pytest.raises(UserError, match="org/name offers no safetensors"):
        resolve("org/name", cache_dir=cache)


@pytest.mark.parametrize(
    ("error", "message"),
    [
        ("GatedRepoError", "is gated: accept its terms"),
        ("RepositoryNotFoundError", "The hub knows no model org/name"),
        ("RevisionNotFoundError", "has no revision v2"),
        ("HfHubHTTPError", "The hub did not give org/name: too many requests"),
    ],
)
def test_what_the_hub_refuses(monkeypatch, cache, error, message):
    import huggingface_hub
    from huggingface_hub import errors

    def refuse(*args, **kwargs):
        response = httpx2.Response(403, request=httpx2.Request("GET", "https://hub.invalid"))
        raise getattr(errors, error)("too many requests\nsecond line", response=response)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", refuse)
    with pytest.raises(UserError, match=message):
        resolve("org/name", revision="v2", cache_dir=cache)


CHAT = (
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Hi"},
    {"role": "assistant", "content": "Hello"},
    {"role": "user", "content": "Bye"},
)
PLAIN = "Be brief.\n\nUser: Hi\n\nAssistant: Hello\n\nUser: Bye\n\nAssistant:"


def test_a_chat_template_is_used_as_it_is():
    tokenizer = tiny_tokenizer()
    assert templates.render(tokenizer, CHAT[3:]) == "<|im_start|>user\nBye<|im_end|>\n<|im_start|>assistant\n"
    assert templates.stops(tokenizer) == ()


def with_bos(tokenizer):
    from tokenizers.processors import TemplateProcessing

    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="<|im_start|> $A", special_tokens=[("<|im_start|>", 1)]
    )
    return tokenizer


@pytest.mark.parametrize("adds_bos", [False, True])
def test_the_plain_template_renders_alike_in_engines_and_trainers(adds_bos):
    tokenizer = tiny_tokenizer(chat_template=None)
    if adds_bos:
        tokenizer = with_bos(tokenizer)
    expected = ("<|im_start|>" if adds_bos else "") + PLAIN
    assert templates.render(tokenizer, CHAT) == expected
    tokenizer.chat_template = templates.chat_template(tokenizer)  # what a trainer does
    assert tokenizer.apply_chat_template(list(CHAT), tokenize=False, add_generation_prompt=True) == expected
    assert templates.render(tokenizer, CHAT) == expected
    assert templates.stops(tokenizer) == ("\n\nUser:",)

    closed = tokenizer.apply_chat_template([*CHAT, {"role": "assistant", "content": "See you"}], tokenize=False)
    assert closed == expected + " See you<|im_end|>"  # the prompt is a prefix of prompt and completion


def test_a_template_that_refuses_a_chat():
    tokenizer = tiny_tokenizer("{{ raise_exception('no system turn') }}" + CHATML)
    with pytest.raises(UserError, match="refuses a chat of the turns system, user, assistant, user: no system turn"):
        templates.render(tokenizer, CHAT)


def test_with_adapter_keeps_the_base(tmp_path):
    base = Checkpoint(name="base", path=tmp_path, fingerprint="1", gguf_file="x.gguf")
    tuned = base.with_adapter(tmp_path / "adapter", name="tuned", fingerprint="2")
    assert (tuned.path, tuned.gguf_file, tuned.name, tuned.fingerprint) == (tmp_path, "x.gguf", "tuned", "2")
