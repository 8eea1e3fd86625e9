"""A rehearsal: every method makes its update on two examples, and what cannot be used is refused in one line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from pfh.errors import UserError
from pfh.progress import Silent
from pfh.registry.plugins import Plugins
from pfh.sources.models import resolve
from pfh.steps.domains import OpenDomain
from pfh.steps.rehearsal import rehearse_stage
from pfh.steps.session import Session
from pfh.store.store import Store

from tests.letters import Letters, problems
from tests.test_every_method import OPTIONS
from tests.tiny import tiny_model


class Log(Silent):
    def __init__(self):
        self.lines = []

    def say(self, line):
        self.lines.append(line)


@pytest.fixture
def rehearse(tmp_path):
    """Return a function that rehearses a method on a model, and what was said."""
    log = Log()
    session = Session(plugins=Plugins(), store=Store(tmp_path / "store"), progress=log, dtype="float32")

    def run(model: Path, method: str, **options: str) -> list[str]:
        log.lines.clear()
        domain = OpenDomain(name="reasoning", domain=Letters(), problems=problems(3), options=None)
        checkpoint = resolve(str(model), cache_dir=tmp_path / "cache")
        rehearse_stage(session, checkpoint, domain, method, options=session.plugins.options("methods", method, options))
        return log.lines

    yield run
    session.release()


@pytest.mark.parametrize("method", OPTIONS)
def test_every_method_is_rehearsed_with_its_own_trainer_and_once(method, rehearse, tiny_llama_path, tmp_path):
    given = dict(OPTIONS[method])
    if "teacher" in given:
        given["teacher"] = tiny_model(tmp_path / "teacher", given["teacher"], seed=1)
    options = {name: str(value) for name, value in given.items()}
    (said,) = rehearse(tiny_llama_path, method, **options)
    assert said.startswith(f"{method} was rehearsed: ")
    (stored,) = (tmp_path / "store" / "artifacts" / "rehearsal").iterdir()
    made = (stored / "rehearsal.json").stat().st_mtime_ns
    assert json.loads((stored / "rehearsal.json").read_text()).keys() == {"seconds", "memory"}
    if method == "gt-sft":
        assert rehearse(tiny_llama_path, method, **options, learning_rate="0.5")  # another training
        assert len(list(stored.parent.iterdir())) == 2
        assert rehearse(tiny_llama_path, method, **options) == [said]
        assert (stored / "rehearsal.json").stat().st_mtime_ns == made


def test_what_fails_in_a_rehearsal_says_in_which_part_and_why(rehearse, tiny_llama_path, tmp_path, monkeypatch):
    import torch
    from pfh_backends.hf.engine import HfEngine

    for target, error, line in (
        ("pfh.kit.training.rehearsal.save_trained", KeyError("lora_E"), "it cannot save what was trained: KeyError"),
        ("pfh.kit.training.loop.attempt", IndexError("index out of range"), "it cannot train one update: IndexError"),
        ("pfh.kit.training.loop.attempt", torch.OutOfMemoryError(), "two short examples do not fit into the memory"),
    ):
        with monkeypatch.context() as patched:
            patched.setattr(target, lambda *_, error=error, **__: (_ for _ in ()).throw(error))
            with pytest.raises(UserError, match=rf"gt-sft cannot be used on .*{line}.*Nothing was measured; --no-reh"):
                rehearse(tiny_llama_path, "gt-sft")
    monkeypatch.setattr(HfEngine, "generate", lambda *_: (_ for _ in ()).throw(RuntimeError("no such kernel")))
    with pytest.raises(UserError, match="it cannot answer with what was trained: RuntimeError: no such kernel"):
        rehearse(tiny_llama_path, "gt-sft")
    assert not list((tmp_path / "store").glob("artifacts/rehearsal/*"))
