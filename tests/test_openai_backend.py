"""Models behind an OpenAI-compatible endpoint, against a server on this machine that serves a tiny model."""

import dataclasses

import pytest
from pfh.errors import StepFailedError, UserError
from pfh.hooks.backends import EngineSpec, GenerationRequest, Sampling, ScoringRequest
from pfh.hooks.checkpoint import Endpoint
from pfh.hooks.domains import DomainSpec
from pfh.kit.teachers import TeacherOptions, check_families
from pfh.progress import Silent
from pfh.registry.plugins import Plugins
from pfh.sources.models import family, resolve
from pfh.steps.domains import OpenDomain
from pfh.steps.rollouts import draw_rollouts
from pfh.steps.session import Session
from pfh.steps.training import named_teacher
from pfh.store.store import Store
from pfh_backends import openai as backend
from pfh_backends.hf.engine import HfEngine

from tests.openai_server import serving

SAMPLING = Sampling(max_new_tokens=6)


def chats(count):
    return [
        GenerationRequest(id=str(number), messages=({"role": "user", "content": f"Say {number}."},))
        for number in range(count)
    ]


@pytest.fixture(scope="module")
def local(tiny_llama_path, tmp_path_factory):
    checkpoint = resolve(str(tiny_llama_path), cache_dir=tmp_path_factory.mktemp("hashes"))
    return HfEngine(EngineSpec(checkpoint=checkpoint, dtype="float32"))


@pytest.fixture
def endpoint(local, monkeypatch):
    monkeypatch.setattr("openai._base_client.INITIAL_RETRY_DELAY", 0.01)
    monkeypatch.setattr("openai._base_client.MAX_RETRY_DELAY", 0.02)
    with serving(local, "org/tiny") as served:
        yield served


@pytest.fixture
def remote(endpoint, tmp_path):
    return resolve(f"openai:org/tiny@{endpoint.url}", cache_dir=tmp_path)


@pytest.fixture
def engine(remote):
    opened = backend.open_engine(EngineSpec(checkpoint=remote))
    yield opened
    opened.close()


def test_a_remote_model_is_named_with_its_endpoint(tmp_path, monkeypatch):
    named = resolve("openai:org/tiny:8b@http://host:1/v1/", cache_dir=tmp_path)
    assert named.endpoint == Endpoint(backend="openai", url="http://host:1/v1", model="org/tiny:8b")
    assert family(named) == "unknown"
    monkeypatch.setenv("OPENAI_BASE_URL", "https://elsewhere/v1")
    other = resolve("openai:org/tiny:8b", cache_dir=tmp_path)
    assert other.endpoint == Endpoint(backend="openai", url="https://elsewhere/v1", model="org/tiny:8b")
    assert named.fingerprint != other.fingerprint
    with pytest.raises(UserError, match="names no model"):
        resolve("openai:@http://host/v1", cache_dir=tmp_path)


def test_completions_are_those_of_the_model_that_is_served(engine, local):
    requests = chats(5)
    assert engine.generate(requests, SAMPLING) == local.generate(requests, SAMPLING)


def test_prompts_are_fed_as_they_are(engine, local):
    requests = [GenerationRequest(id="a", prompt="One two"), GenerationRequest(id="b", prompt="Three")]
    assert engine.generate(requests, SAMPLING) == local.generate(requests, SAMPLING)


def test_what_is_asked_for_is_passed_on(engine, endpoint):
    sampling = Sampling(max_new_tokens=3, temperature=0.7, top_p=0.9, stop=("\n",), seed=5)
    engine.generate(chats(2), sampling)
    first, second = sorted(endpoint.asked, key=lambda body: body["messages"][0]["content"])
    assert {key: first[key] for key in ("model", "max_tokens", "temperature", "top_p", "stop")} == {
        "model": "org/tiny",
        "max_tokens": 3,
        "temperature": 0.7,
        "top_p": 0.9,
        "stop": ["\n"],
    }
    assert first["seed"] != second["seed"]
    engine.generate(chats(1), sampling)
    assert endpoint.asked[-1]["seed"] == first["seed"]
    engine.generate(chats(1), dataclasses.replace(sampling, seed=6))
    assert endpoint.asked[-1]["seed"] != first["seed"]


def test_several_requests_are_under_way_at_once(remote, endpoint, monkeypatch):
    monkeypatch.setenv("PFH_OPENAI_CONCURRENCY", "3")
    backend.open_engine(EngineSpec(checkpoint=remote)).generate(chats(24), SAMPLING)
    assert 2 <= endpoint.most_under_way <= 3


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_refused_rate_and_a_server_error_are_tried_again(engine, endpoint, status):
    endpoint.failures = [status] * 3
    assert len(engine.generate(chats(4), SAMPLING)) == 4
    assert endpoint.statuses[status] == 3


def test_what_fails_every_time_is_told_and_may_be_repeated(engine, endpoint):
    endpoint.failures = [503] * 100
    with pytest.raises(StepFailedError, match=r"failed 9 times.*mood 503.*run the same command again"):
        engine.generate(chats(1), SAMPLING)


def test_a_refused_request_is_not_tried_again(engine, endpoint):
    endpoint.failures = [400]
    with pytest.raises(UserError, match=r"refuses a request: .*mood 400"):
        engine.generate(chats(1), SAMPLING)
    assert endpoint.statuses == {200: 1, 400: 1}  # the list of models, and the request


def test_an_endpoint_is_looked_at_before_anything_is_asked(endpoint, tmp_path):
    wrong = resolve(f"openai:org/tyni@{endpoint.url}", cache_dir=tmp_path)
    with pytest.raises(UserError, match=r"has no model 'org/tyni'. Did you mean 'org/tiny'"):
        backend.open_engine(EngineSpec(checkpoint=wrong))
    nowhere = resolve("openai:org/tiny@http://127.0.0.1:9/v1", cache_dir=tmp_path)
    with pytest.raises(UserError, match=r"Nothing answers at http://127\.0\.0\.1:9/v1"):
        backend.open_engine(EngineSpec(checkpoint=nowhere))
    endpoint.failures = [401, 401]
    with pytest.raises(UserError, match="set OPENAI_API_KEY"):
        backend.open_engine(EngineSpec(checkpoint=resolve(f"openai:org/tiny@{endpoint.url}", cache_dir=tmp_path)))


def test_what_an_endpoint_does_not_tell_is_refused(engine):
    with pytest.raises(UserError, match="does not tell log-likelihoods: choose benchmarks that only generate"):
        engine.loglikelihood([ScoringRequest(id="0", context="a", continuation="b")])


def test_a_session_asks_the_endpoint_whatever_runs_its_own_models(remote, local, tmp_path):
    session = Session(plugins=Plugins(), store=Store(tmp_path / "store"), progress=Silent())
    own = session.engine(local.checkpoint)
    assert own.identity.startswith("hf")
    asked = session.engine(remote)
    assert asked.identity.startswith("openai")
    assert asked.generate(chats(1), SAMPLING) == local.generate(chats(1), SAMPLING)
    assert session.environment(remote)["backend"] != session.environment()["backend"]
    assert session.engine(local.checkpoint).identity == own.identity
    session.release()


def test_a_teacher_behind_an_endpoint_is_taken_at_its_users_word(remote, local):
    with pytest.raises(UserError, match="does not tell its family: set allow_family_mismatch=true"):
        check_families("a", remote.name, ("llama", family(remote)), TeacherOptions(teacher="t"))
    allowed = TeacherOptions(teacher="t", allow_family_mismatch=True)
    assert "of unknown" in check_families("a", remote.name, ("llama", family(remote)), allowed)


def test_a_teacher_behind_an_endpoint_is_sent_the_arguments_of_the_chat_template(local, endpoint, tmp_path):
    session = Session(plugins=Plugins(), store=Store(tmp_path / "store"), progress=Silent())
    student = local.checkpoint.with_template_arguments({"enable_thinking": False})

    def teacher(name):
        return named_teacher(session, session.plugins.options("methods", "sf-sft", {"teacher": name}), student)

    asked = teacher(f"openai:org/tiny@{endpoint.url}")
    engine = session.engine(asked)
    engine.generate(chats(1), SAMPLING)
    session.release()
    assert [body["chat_template_kwargs"] for body in endpoint.asked] == [{"enable_thinking": False}]
    assert asked.fingerprint != resolve(f"openai:org/tiny@{endpoint.url}", cache_dir=tmp_path).fingerprint
    assert not teacher("openai:gpt-4.1").chat_template_kwargs


def test_a_teachers_rollouts_are_drawn_by_the_endpoint_and_counted(remote, endpoint, tmp_path):
    session = Session(plugins=Plugins(), store=Store(tmp_path / "store"), progress=Silent())
    domain = session.plugins.open_domain(
        "reasoning", DomainSpec(options=session.plugins.options("domains", "reasoning", {}), data=session.data)
    )
    ground = OpenDomain(name="reasoning", domain=domain, problems=domain.problems("train", 2, seed=0))
    drawn, phase = draw_rollouts(session, remote, ground, samples=3, sampling=Sampling(max_new_tokens=4), seed=0)
    again, _ = draw_rollouts(session, remote, ground, samples=3, sampling=Sampling(max_new_tokens=4), seed=0)
    session.release()
    assert len(endpoint.asked) == len(drawn) == 6
    assert again == drawn
    assert phase.tokens == sum(rollout.tokens for rollout in drawn) > 0
    assert phase.notes["prompt_tokens"] > phase.tokens
