"""The backends vllm and auto. vLLM itself runs in an environment of its own, which PFH_VLLM_PYTHON names."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
from pfh.errors import UserError
from pfh.hooks.backends import EngineSpec, GenerationRequest, Sampling, ScoringRequest
from pfh.hooks.checkpoint import Checkpoint
from pfh.progress import Silent
from pfh.registry.plugins import Plugins
from pfh.steps.session import Session
from pfh.store.store import Store
from pfh.testing import FAKE_CHECKPOINT, FakeEngine
from pfh_backends import auto, vllm
from pfh_backends.vllm.adapters import LoraRoom, room_for

from tests.tiny import tiny_adapter, tiny_llama

ROOT = Path(__file__).parent.parent
QUESTION = GenerationRequest(id="q", messages=({"role": "user", "content": "Hi"},))
OTHER = Checkpoint(name="other", path=Path("other"), fingerprint="other")


class Heard(Silent):
    """Remembers what was said."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, line: str) -> None:
        self.lines.append(line)


class Backends:
    """Opens fake engines, and remembers which and with what share of the memory."""

    def __init__(self) -> None:
        self.engines: dict[str, FakeEngine] = {}
        self.shares: dict[str, float] = {}

    def open(self, name: str, spec: EngineSpec) -> FakeEngine:
        self.engines[name] = FakeEngine((f"by {name}",), checkpoint=spec.checkpoint)
        self.shares[name] = spec.memory_share
        return self.engines[name]


@pytest.fixture
def backends() -> Backends:
    return Backends()


@pytest.fixture
def with_vllm(monkeypatch):
    """Make a package vllm importable that holds nothing."""
    module = ModuleType("vllm")
    module.__spec__ = type(sys.__spec__)("vllm", None)
    monkeypatch.setitem(sys.modules, "vllm", module)


@pytest.fixture
def without_vllm(monkeypatch):
    monkeypatch.setitem(sys.modules, "vllm", None)
    monkeypatch.setattr(vllm, "find_spec", lambda name: None)
    monkeypatch.setattr(auto, "find_spec", lambda name: None)


def adapter_of(tiny_base: Path, folder: Path, **changes) -> Checkpoint:
    base = Checkpoint(name="base", path=tiny_base, fingerprint="base")
    return base.with_adapter(tiny_adapter(tiny_base, folder, **changes), name=folder.name, fingerprint=folder.name)


def test_without_vllm_the_message_says_how_to_get_it(without_vllm):
    with pytest.raises(UserError, match=r"pip install 'pfh\[vllm\]'"):
        Plugins().open_engine("vllm", EngineSpec(checkpoint=FAKE_CHECKPOINT))


def test_auto_takes_hf_alone_where_there_is_no_vllm_and_says_why(without_vllm, backends):
    heard = Heard()
    engine = auto.open_engine(EngineSpec(checkpoint=FAKE_CHECKPOINT, open_engine=backends.open, progress=heard))
    assert engine is backends.engines["hf"]
    assert "generation by hf" in heard.lines[0]
    assert "pip install 'pfh[vllm]'" in heard.lines[0]


def test_auto_takes_hf_alone_for_a_gguf_file(with_vllm, backends):
    heard = Heard()
    checkpoint = Checkpoint(name="g", path=Path("g"), fingerprint="g", gguf_file="g.gguf")
    auto.open_engine(EngineSpec(checkpoint=checkpoint, open_engine=backends.open, progress=heard))
    assert list(backends.engines) == ["hf"]
    assert "GGUF" in heard.lines[0]


def test_auto_generates_with_vllm_and_does_the_rest_with_hf(with_vllm, backends):
    heard = Heard()
    engine = auto.open_engine(EngineSpec(checkpoint=FAKE_CHECKPOINT, open_engine=backends.open, progress=heard))
    assert "generation by vllm" in heard.lines[0]
    identity = engine.identity
    assert not backends.engines  # a model is loaded when it is asked something
    assert engine.generate([QUESTION], Sampling())[0].text == "by vllm"
    assert list(backends.engines) == ["vllm"]
    assert engine.count_tokens("two words") == 2
    assert list(backends.engines) == ["vllm"]
    score = engine.loglikelihood([ScoringRequest(id="s", context="a", continuation="b c")])[0]
    assert score.tokens == 2
    assert engine.hidden_states(["a b c"], [0])[0].shape == (1, 3, 4)
    assert backends.engines["hf"].generated == 0
    assert backends.shares["vllm"] <= 0.5 < backends.shares["hf"]
    assert engine.identity == identity
    assert "vllm" in identity


def test_auto_answers_with_the_checkpoint_in_use(with_vllm, backends):
    engine = auto.open_engine(EngineSpec(checkpoint=FAKE_CHECKPOINT, open_engine=backends.open))
    engine.generate([QUESTION], Sampling())
    engine.use(OTHER)
    engine.loglikelihood([ScoringRequest(id="s", context="a", continuation="b")])
    engine.generate([QUESTION], Sampling())
    assert [backends.engines[name].checkpoint for name in ("vllm", "hf")] == [OTHER, OTHER]
    assert engine.checkpoint == OTHER


def test_a_step_of_auto_depends_on_the_code_of_the_backends_behind_it(tmp_path):
    plugins = Plugins()
    environment = {
        name: Session(plugins=plugins, store=Store(tmp_path), progress=Silent(), backend=name).environment()
        for name in ("hf", "vllm", "auto")
    }
    assert "vllm" not in environment["hf"]
    assert "vllm" in environment["vllm"]
    for name in ("hf", "vllm"):
        assert plugins.load("backends", name).code_version in environment["auto"]["backend"]


def test_room_is_as_large_as_the_adapter_needs(tiny_llama_path, tmp_path):
    room = room_for(adapter_of(tiny_llama_path, tmp_path / "a", r=12, target_modules=["q_proj", "down_proj"]))
    assert room == LoraRoom(rank=16, modules=frozenset({"q_proj", "down_proj"}))


def test_an_adapter_on_other_modules_finds_no_room():
    room = LoraRoom(rank=16, modules=frozenset({"q_proj"}))
    larger, elsewhere = LoraRoom(rank=32, modules=room.modules), LoraRoom(rank=8, modules=frozenset({"v_proj"}))
    assert room.holds(LoraRoom(rank=8, modules=room.modules))
    assert not room.holds(larger)
    assert not room.holds(elsewhere)
    wide = room.widened(larger).widened(elsewhere)
    assert wide.holds(room)
    assert wide.holds(larger)
    assert wide.holds(elsewhere)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"use_dora": True}, "use_dora"),
        ({"modules_to_save": ["lm_head"]}, "modules_to_save"),
        ({"rank_pattern": {"q_proj": 2}}, "rank_pattern"),
        ({"alpha_pattern": {"q_proj": 2}}, "alpha_pattern"),
        ({"target_modules": ["q_proj", "lm_head"]}, "lm_head"),
        ({"r": 520}, "rank 520"),
    ],
)
def test_adapters_that_vllm_would_not_apply_as_trained_are_refused(tiny_llama_path, tmp_path, changes, named):
    checkpoint = adapter_of(tiny_llama_path, tmp_path / "a", **changes)
    with pytest.raises(UserError, match=f"{named}.*--backend hf"):
        room_for(checkpoint)


def test_adapter_weights_that_cannot_be_read_are_named(tiny_llama_path, tmp_path):
    checkpoint = adapter_of(tiny_llama_path, tmp_path / "torn")
    weights = checkpoint.adapter / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:100])
    with pytest.raises(UserError, match="adapter torn cannot be read"):
        room_for(checkpoint)


@pytest.fixture(scope="module")
def by_backend(tmp_path_factory):
    """Return what hf, vllm and auto answer on a tiny base and two adapters of it, all in the environment with vLLM."""
    python = os.environ.get("PFH_VLLM_PYTHON")
    if not python:
        pytest.skip("PFH_VLLM_PYTHON is not set: it names a Python that has vLLM (docs/how-to/backends.md)")
    folder = tmp_path_factory.mktemp("vllm")
    wide = {"hidden_size": 64, "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 32}
    base = tiny_llama(folder / "base", max_position_embeddings=256, **wide)
    adapters = [
        tiny_adapter(base, folder / "one", target_modules=["q_proj", "v_proj"]),
        tiny_adapter(base, folder / "two", seed=2, r=16),
    ]
    path = os.pathsep.join(str(ROOT / part) for part in ("core", "plugins/backends"))
    answers = {}
    for backend in ("hf", "vllm", "auto"):
        done = subprocess.run(
            [python, "-W", "ignore", str(ROOT / "tests/vllm_answers.py"), backend, base, *adapters],
            env=os.environ | {"PYTHONPATH": path},
            capture_output=True,
            text=True,
            timeout=400,
        )
        assert done.returncode == 0, done.stderr[-3000:]
        answers[backend] = json.loads(done.stdout.splitlines()[-1])
    return answers


@pytest.mark.vllm
def test_vllm_answers_as_hf_does(by_backend):
    for ours, theirs in zip(by_backend["vllm"]["answers"], by_backend["hf"]["answers"], strict=True):
        for kind in ("greedy", "stopped", "prompts"):
            assert ours[kind] == theirs[kind]
        for one, other in zip(ours["scores"], theirs["scores"], strict=True):
            assert one["logprob"] == pytest.approx(other["logprob"], abs=1e-3)
            assert (one["greedy"], one["tokens"]) == (other["greedy"], other["tokens"])


@pytest.mark.vllm
def test_vllm_scores_what_is_longer_than_the_window_on_two_tokens_less(by_backend):
    ours, theirs = (by_backend[name]["answers"][0]["overlong"] for name in ("vllm", "hf"))
    assert ours["tokens"] == theirs["tokens"]
    assert ours["logprob"] == pytest.approx(theirs["logprob"], abs=0.5)


@pytest.mark.vllm
def test_vllm_swaps_adapters_and_comes_back_to_the_base(by_backend):
    base, one, two, again = by_backend["vllm"]["answers"]
    assert again == base
    assert one["greedy"] != base["greedy"] != two["greedy"] != one["greedy"]


@pytest.mark.vllm
def test_a_draw_of_vllm_depends_on_its_own_request_alone(by_backend):
    for answers in by_backend["vllm"]["answers"]:
        assert answers["drawn alone"] == answers["drawn"][:2]
        assert answers["drawn"] != answers["greedy"]


@pytest.mark.vllm
def test_vllm_names_the_backend_that_shows_hidden_states(by_backend):
    assert "--backend hf" in by_backend["vllm"]["hidden"]
    assert by_backend["auto"]["hidden"] == by_backend["hf"]["hidden"]


@pytest.mark.vllm
def test_auto_writes_as_vllm_and_scores_as_hf(by_backend):
    assert "vllm" in by_backend["auto"]["identity"]
    for mixed, written, scored in zip(*(by_backend[name]["answers"] for name in ("auto", "vllm", "hf")), strict=True):
        assert mixed["drawn"] == written["drawn"]
        assert mixed["scores"] == scored["scores"]
