"""`--stop-when`: a training that certainly lost more than it may is stopped, and leaves the look before."""

from __future__ import annotations

import dataclasses
import sys

import numpy as np
import pytest
from pfh.commands.requests import validate
from pfh.commands.run import execute
from pfh.commands.stopping import losses_of
from pfh.errors import UserError
from pfh.hooks.evaluation import Benchmark, Evaluation
from pfh.hooks.launchers import EvalChoice, RunSpec
from pfh.hooks.samples import Sample
from pfh.hooks.stopping import StopWhen
from pfh.kit.training.looking import told_of_stop
from pfh.registry.plugins import Plugins
from pfh.statistics.stopping import exceeds
from pfh.store.store import Store

from tests.letters import same, weights
from tests.plugin_dists import install
from tests.test_best import learn_by_heart
from tests.test_run import COIN, Lines

FRAGILE = '''
"""Documents that the start answers right: whatever else is written is wrong."""
from pfh import hookimpl
from pfh.hooks.backends import GenerationRequest, Sampling
from pfh.hooks.evaluation import Benchmark, Evaluation
from pfh.hooks.samples import Sample, sample_id

right = {}


@hookimpl
def evaluate(spec):
    chats = [({"role": "user", "content": f"fragile {i}"},) for i in range(60)][: spec.limit or 60]
    requests = [GenerationRequest(id=str(i), messages=chat) for i, chat in enumerate(chats)]
    completions = spec.engine.generate(requests, Sampling(max_new_tokens=4))
    samples = tuple(
        Sample(id=sample_id("fragile", "1", {"chat": chat}), benchmark="fragile", prompt="", completion=done.text,
               score=float(right.setdefault(chat[0]["content"], done.text) == done.text))
        for chat, done in zip(chats, completions))
    return Evaluation(family="fragile", benchmarks=(
        Benchmark(name="fragile", version="1", metric="same", higher_is_better=True, samples=samples),))
'''


def test_a_loss_within_the_bound_is_stopped_at_most_once_in_twenty_over_all_looks():
    drawn = np.random.default_rng(0)
    stops = 0
    for _ in range(300):
        losses = drawn.choice([1.0, 0.0, -1.0], size=200, p=[0.10, 0.82, 0.08])  # a loss of 2 points, the bound itself
        looks = [np.concatenate([losses[:150], drawn.permutation(losses)[:50]]) for _ in range(6)]
        stops += any(exceeds(look, 0.02, place)[0] for place, look in enumerate(looks, start=1))
    assert stops / 300 <= 0.05


def test_a_large_loss_is_found_at_once_and_none_never():
    assert exceeds([1.0] * 30 + [0.0] * 30, 0.02, 1)[0]
    assert not exceeds([0.0] * 500, 0.0, 1)[0]
    assert not exceeds([], 0.0, 1)[0]
    assert not exceeds([1.0] * 8, 0.02, 50)[0]


def test_losses_are_turned_to_what_is_worse():
    def evaluation(*scores: float | None) -> Evaluation:
        rows = tuple(
            Sample(id=str(place), benchmark="harm", prompt="", completion="", score=score)
            for place, score in enumerate(scores)
        )
        harm = Benchmark(name="harm", version="1", metric="harm", higher_is_better=False, samples=rows)
        return Evaluation(family="safety", benchmarks=(harm,))

    assert sorted(losses_of(evaluation(0, 0, 1, None), evaluation(1, 0, 0, 1))) == [-1, 0, 1]


@pytest.mark.parametrize("text", ["forgetting", "forgetting>", ">2pp", "forgetting>-1", "forgetting<2", "f>200"])
def test_what_is_no_bound_is_told(text):
    with pytest.raises(UserError, match="such as forgetting>2pp"):
        StopWhen.parse(text)


def test_a_bound_is_read():
    assert StopWhen.parse("forgetting>2pp") == StopWhen(family="forgetting", points=2)
    assert StopWhen.parse("safety > 1.5 points", 5, 32) == StopWhen(family="safety", points=1.5, every=5, documents=32)


def test_a_training_is_stopped_and_leaves_the_look_before_measured_on_other_documents(
    tiny_llama_path, tmp_path, monkeypatch
):
    install(tmp_path, "coin-dist", {"coin_domain": COIN}, {"pfh.domains": {"coin": "coin_domain"}})
    install(tmp_path, "fragile-dist", {"fragile_eval": FRAGILE}, {"pfh.evals": {"fragile": "fragile_eval"}})
    monkeypatch.syspath_prepend(str(tmp_path))
    options = {"max_steps": "8", "learning_rate": "5e-2", "batch_size": "4", "warmup": "0.2", "schedule": "constant"}
    options["gradient_accumulation"] = "1"
    spec = RunSpec(
        methods=("gt-sft",),
        evals=(EvalChoice(family="fragile"),),
        domain="coin",
        model=str(tiny_llama_path),
        options={"methods:gt-sft": options},
        problems=8,
        rehearsal=False,
        divergence_prompts=0,
        stop_when=StopWhen(family="fragile", points=2.0, every=1, documents=24),
    )
    said, store = Lines(), tmp_path / "store"
    outcome = execute(spec, plugins=Plugins(), store=Store(store, said), progress=said, output=tmp_path / "out")
    (stage,) = outcome.results.stages
    notes = stage.ledger[-1].notes
    assert notes["stopped_at_update"] < 8
    assert notes["kept_update"] in (notes["stopped_at_update"] - 1, notes["stopped_at_update"])
    assert any("stopped at update" in note or "the first look" in note for note in stage.notes)
    assert stage.families[0].comparisons[0].n == 60 - 24
    trained = [path.name for path in (store / "artifacts" / "training").iterdir()]
    again = execute(spec, plugins=Plugins(), store=Store(store, said), progress=said, output=tmp_path / "again")
    assert [path.name for path in (store / "artifacts" / "training").iterdir()] == trained
    assert again.results.stages[0].families == stage.families
    sys.modules.pop("fragile_eval", None)


def test_what_cannot_be_looked_at_is_refused_before_anything_is_loaded():
    spec = RunSpec(
        methods=("gt-sft",),
        evals=(EvalChoice(family="target"),),
        stop_when=StopWhen(family="forgetting", points=2.0),
    )
    with pytest.raises(UserError, match="--eval forgetting"):
        validate(spec, Plugins())
    looked = dataclasses.replace(spec, evals=(EvalChoice(family="forgetting"),), limit=64)
    with pytest.raises(UserError, match="--stop-documents"):
        validate(looked, Plugins())


@pytest.mark.parametrize(
    ("before", "best", "told"),
    [
        (None, True, "its best checkpoint, of update {kept}, at which nobody looked"),
        (4, True, "of the look before, of update {kept}"),
        (None, False, "at update 8, found more lost"),
    ],
)
def test_the_update_that_is_told_is_the_one_whose_weights_are_left(before, best, told, tiny_llama_path, tmp_path):
    """The loss on held-back prompts is lowest early on, so that the best checkpoint is not the last one."""

    seen = {}

    def look(saved, update):
        seen[update] = weights(saved)
        return update == 8

    every = 8 if before is None else before
    stopped = learn_by_heart(tiny_llama_path, tmp_path / "a", keep_best=best, look=look, look_every=every)
    notes = stopped.phases[0].notes
    kept = notes["kept_update"]
    assert notes["stopped_at_update"] == 8
    assert told.format(kept=kept) in " ".join(told_of_stop(stopped.phases))
    if kept not in seen:
        assert notes["kept_validation_loss"]
        seen[kept] = weights(learn_by_heart(tiny_llama_path, tmp_path / "b", max_steps=kept).path)
    assert same(weights(stopped.path), seen[kept])


def test_a_training_that_was_killed_when_it_had_stopped_stops_again(tmp_path):
    from pfh.kit.training.looking import look_along
    from pfh.progress import Silent
    from transformers import TrainerControl, TrainerState

    def look(weights, update):
        raise AssertionError("it is not looked at again")

    (tmp_path / "looks.json").write_text('{"1": false, "2": true}')
    looking, control = look_along(None, look, 1, tmp_path, Silent()), TrainerControl()
    looking.on_step_end(None, TrainerState(global_step=3), control)
    assert control.should_training_stop
