"""Searches with gradients and by likelihood: what they lower, what they leave as it was, and that they go on."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from pfh.errors import UserError
from pfh.hooks.attacks import AttackResult, AttackSpec, Behaviour
from pfh.hooks.backends import Engine, EngineSpec, Score, ScoringRequest
from pfh.kit import refusal_margin
from pfh.progress import Silent
from pfh.registry.plugins import Plugins
from pfh.sources.models import resolve
from pfh.store.journal import JournaledEngine
from pfh.testing import FakeEngine
from pfh_attacks import autodan
from pfh_attacks.gcg import Options, Vocabulary
from pfh_attacks.searching import placed
from pfh_backends.hf.engine import HfEngine

from tests.test_attacks import Word
from tests.test_attacks import run as run_on
from tests.tiny import tiny_llama, tiny_refuser

PLUGINS = Plugins()
GCG = {"steps": 3, "width": 8, "suffix": 4, "top": 16}
BEHAVIOURS = tuple(Behaviour(id=f"b{number}", prompt=f"Do bad thing {number}.") for number in range(2))


class Killed(BaseException):
    """What a process that is killed does not catch."""


class Mortal(HfEngine):
    """Dies at its n-th call of the scorer."""

    calls = 0
    last = 10**9

    def loglikelihood(self, requests: Sequence[ScoringRequest]) -> list[Score]:
        self.calls += 1
        if self.calls == self.last:
            raise Killed
        return super().loglikelihood(requests)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_llama(tmp_path_factory.mktemp("model") / "m")


def opened(folder: Path) -> Mortal:
    return Mortal(EngineSpec(checkpoint=resolve(str(folder), cache_dir=folder.parent)))


def attacked(
    name: str, engine: Engine, behaviours: tuple[Behaviour, ...] = BEHAVIOURS, **options: object
) -> AttackResult:
    filled = PLUGINS.options("attacks", name, options)
    spec = AttackSpec(behaviours=behaviours, engine=engine, options=filled, max_new_tokens=4)
    return PLUGINS.attack(name, spec)


def test_the_gradient_is_that_of_the_one_hot_tokens(folder: Path) -> None:
    engine = opened(folder)
    spec = AttackSpec(behaviours=BEHAVIOURS, engine=engine)
    place, ids = placed(spec, BEHAVIOURS[0], 2), engine.encode(" ! x")
    with engine.white_box() as (model, tokenizer):
        table = model.get_input_embeddings().weight
        found = Vocabulary(spec, model, tokenizer)._gradient(place, ids) @ table.T
        parts = [engine.encode(text) for text in (place.before, place.after, place.wanted)]
        hot = torch.nn.functional.one_hot(torch.tensor(ids), len(table)).float().requires_grad_()
        inputs = torch.cat([table[parts[0]], hot @ table, table[parts[1]], table[parts[2]]])
        logprobs = model(inputs_embeds=inputs[None]).logits[0].log_softmax(-1)
        at = len(inputs) - len(parts[2]) - 1
        loss = -sum(logprobs[at + step, token] for step, token in enumerate(parts[2]))
        (expected,) = torch.autograd.grad(loss, hot)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-3)


def test_gcg_lowers_the_loss_and_leaves_the_weights_as_they_were(folder: Path) -> None:
    engine = opened(folder)
    before = {name: each.clone() for name, each in engine._model.state_dict().items()}
    found = attacked("gcg", engine, **GCG)
    assert (found.access, found.searched) == ("white-box", True)
    after = engine._model.state_dict()
    assert all(torch.equal(before[name], after[name]) and before[name].dtype == after[name].dtype for name in before)
    with engine.white_box():
        start = attacked("gcg", engine, **GCG | {"width": 1, "steps": 1, "top": 1})
    losses = [outcome.attempts[0].loss or 0.0 for outcome in found.outcomes]
    assert all(loss < (other.attempts[0].loss or 0.0) for loss, other in zip(losses, start.outcomes, strict=True))
    assert all(outcome.queries <= 1 + 3 * 9 + 1 and outcome.tokens > 0 for outcome in found.outcomes)
    sent = found.outcomes[0].attempts[0].messages[0]["content"]
    assert sent.startswith("Do bad thing 0.")
    assert sent.isascii()
    with pytest.raises(UserError, match="less than one step: give at least 1"):
        attacked("gcg", engine, **GCG | {"steps": 0})


def test_a_search_killed_at_any_moment_goes_on_and_ends_with_the_same_strings(folder: Path, tmp_path: Path) -> None:
    engine = opened(folder)

    def searched(journal: str) -> tuple[AttackResult, int]:
        engine.calls = 0
        return attacked("gcg", JournaledEngine(engine, tmp_path / journal, Silent(), "gcg"), **GCG), engine.calls

    whole, calls = searched("whole.jsonl")
    for moment in range(1, calls + 1):
        engine.last = moment
        with pytest.raises(Killed):
            searched(f"{moment}.jsonl")
        engine.last = 10**9
        again, asked = searched(f"{moment}.jsonl")
        assert again == whole
        assert asked == calls - moment + 1  # what was scored before is not scored again


def test_soft_prompts_are_trained_once_and_lower_the_loss(folder: Path, tmp_path: Path) -> None:
    engine = JournaledEngine(opened(folder), tmp_path / "j.jsonl", Silent(), "soft")
    one = attacked("soft-prompt", engine, steps=1)
    more = attacked("soft-prompt", engine, steps=8, rate=0.1)
    assert all(
        (b.attempts[0].loss or 0) < (a.attempts[0].loss or 0) for a, b in zip(one.outcomes, more.outcomes, strict=True)
    )
    assert not more.searched  # nothing that could be sent to another model
    size = (tmp_path / "j.jsonl").stat().st_size
    assert attacked("soft-prompt", engine, steps=8, rate=0.1) == more
    assert (tmp_path / "j.jsonl").stat().st_size == size


def test_without_its_direction_the_model_no_longer_refuses(tmp_path: Path) -> None:
    folder = tiny_refuser(tmp_path / "m")
    requests = {
        "harmful": {"any": [f"Zap Z {number} Z" for number in range(16)]},
        "benign": [f"Make a cake {number}" for number in range(16)],
        "refusals": {"any": ["I cannot."]},
    }
    (tmp_path / "own.json").write_text(json.dumps(requests))
    engine = opened(folder)
    behaviours = tuple(Behaviour(id=f"b{number}", prompt=f"Z do {number} Z") for number in range(4))
    direct = attacked("direct", engine, behaviours)
    assert all(outcome.attempts[0].completion.startswith("I") for outcome in direct.outcomes)
    found = attacked("ablate", engine, behaviours, file=str(tmp_path / "own.json"), requests=8, layer_step=1)
    assert not any(outcome.attempts[0].completion.startswith("I") for outcome in found.outcomes)
    prompts = [engine.render(({"role": "user", "content": each.prompt},)) for each in behaviours]
    assert len(refusal_margin.refusal_margins(engine, prompts, ("I",))) == 4  # and the model is as it was again
    assert attacked("direct", engine, behaviours) == direct


def test_a_genetic_search_finds_the_sentence_that_opens_and_carries_it_over() -> None:
    word = autodan.SENTENCES[7].split()[-2]  # in one sentence alone
    found = run_on("autodan", Word(word), population=12, generations=6)
    assert found.searched
    assert all(word in outcome.attempts[0].messages[0]["content"] for outcome in found.outcomes)
    assert found.outcomes[0].attempts[0].messages[0]["content"].endswith("\nDo bad thing 0.")
    assert found == run_on("autodan", Word(word), population=12, generations=6)
    with pytest.raises(UserError, match="give at least 2"):
        run_on("autodan", Word(word), population=1)


@pytest.mark.parametrize("name", ["gcg", "soft-prompt"])
def test_without_gradients_a_backend_that_has_them_is_named(name: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=f"{name} needs gradients; use --backend hf or auto"):
        run_on(name, FakeEngine())
    with pytest.raises(UserError, match="it needs gradients; use --backend hf or auto"):
        run_on(name, JournaledEngine(FakeEngine(), tmp_path / "j.jsonl", Silent(), "x"))  # type: ignore[arg-type]


def test_options_say_how_little_is_tried_on_a_processor() -> None:
    assert (Options.model_validate({}).steps, Options.model_validate({}).target_tokens) == (40, 1)
