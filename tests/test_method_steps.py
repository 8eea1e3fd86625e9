"""Methods that draw more than the start's rollouts, run as a step: a teacher's, those of iterations, other prompts."""

from __future__ import annotations

import pytest
from pfh.errors import UserError
from pfh.hooks.domains import DomainSpec
from pfh.progress import Silent
from pfh.registry.plugins import Plugins
from pfh.steps.domains import OpenDomain
from pfh.steps.session import Session
from pfh.steps.training import train_stage
from pfh.store.rollouts import read_rollouts
from pfh.store.store import Store

from tests.plugin_dists import install
from tests.test_run import COIN
from tests.tiny import tiny_llama

ENDING = COIN.replace("max_new_tokens=12", "max_new_tokens=24")
ENDING = ENDING.replace("float(zlib.crc32(completion.encode()) % 2)", "1.0")
SMALL = {"batch_size": "4", "gradient_accumulation": "1", "max_steps": "2", "lora_rank": "4"}


@pytest.fixture
def session(tmp_path, monkeypatch):
    """Return a session that knows the domain "coin", whose verifier accepts every completion with a small letter."""
    install(tmp_path, "ending-dist", {"ending_domain": ENDING}, {"pfh.domains": {"coin": "ending_domain"}})
    monkeypatch.syspath_prepend(str(tmp_path))
    opened = Session(plugins=Plugins(), store=Store(tmp_path / "store"), progress=Silent())
    yield opened
    opened.release()


def train(session, tiny_llama_path, method, **options):
    from pfh.sources.models import resolve

    domain = session.plugins.open_domain("coin", DomainSpec(options=None, data=session.data))
    ground = OpenDomain(name="coin", domain=domain, problems=domain.problems("train", 8, 0))
    start = resolve(str(tiny_llama_path), cache_dir=session.store.cache)
    return train_stage(
        session, start, ground, method, options=session.plugins.options("methods", method, SMALL | options), seed=0
    )


def drawn(session):
    folders = sorted((session.store.root / "artifacts" / "rollouts").iterdir())
    return [read_rollouts(folder / "rollouts.parquet") for folder in folders]


def test_a_teachers_rollouts_are_booked_as_such_and_its_weights_tell_trainings_apart(
    session, tiny_llama_path, tmp_path
):
    teacher = tiny_llama(tmp_path / "teacher", seed=1)
    first = train(session, tiny_llama_path, "sf-sft", teacher=str(teacher))
    assert [phase.name for phase in first.phases] == ["teacher generation", "training"]
    generation, training_phase = first.phases
    assert generation.samples == 32
    assert training_phase.notes["acceptance_rate"] == pytest.approx(generation.notes["mean_reward"], abs=0.2)
    again = train(session, tiny_llama_path, "sf-sft", teacher=str(teacher))
    assert again.checkpoint.fingerprint == first.checkpoint.fingerprint
    tiny_llama(teacher, seed=2)
    other = train(session, tiny_llama_path, "sf-sft", teacher=str(teacher))
    assert other.checkpoint.fingerprint != first.checkpoint.fingerprint
    with pytest.raises(UserError, match="no model at"):
        train(session, tiny_llama_path, "sf-sft", teacher=str(tmp_path / "nowhere"))


def test_spin_plays_against_its_own_iterations(session, tiny_llama_path):
    trained = train(session, tiny_llama_path, "spin", iterations="2", learning_rate="1e-2")
    assert [phase.name for phase in trained.phases] == ["rollouts", "rollouts", "training", "training"]
    first, second = drawn(session)
    assert [rollout.problem.id for rollout in first] == [rollout.problem.id for rollout in second]
    assert [rollout.completion for rollout in first] != [rollout.completion for rollout in second]
    assert trained.checkpoint.adapter is None
    assert trained.checkpoint.name.endswith("+spin")


def test_sdft_rewrite_asks_with_prompts_of_its_own(session, tiny_llama_path):
    trained = train(session, tiny_llama_path, "sdft-rewrite", leaks="")
    assert [phase.name for phase in trained.phases] == ["rollouts", "training"]
    (asked,) = drawn(session)
    assert "reference answer:\nheads" in asked[0].problem.messages[-1]["content"]
    assert all("/rewrite-" in rollout.problem.id for rollout in asked)


def test_sdft_draws_while_it_trains(session, tiny_llama_path):
    trained = train(session, tiny_llama_path, "sdft")
    assert [phase.name for phase in trained.phases] == ["rollouts", "training"]
    assert all(phase.tokens > 0 for phase in trained.phases)
    assert not (session.store.root / "artifacts" / "rollouts").exists()
