"""The divergence from the start: in every comparison, along the start's own completions, against torch's own figure."""

import dataclasses

import numpy as np
import pytest
import torch
from pfh.errors import DataUnavailableError
from pfh.hooks.checkpoint import Checkpoint
from pfh.progress import Silent
from pfh.registry.plugins import Plugins
from pfh.statistics.divergence import Divergence, divergence_of, sentence
from pfh.steps.divergence import TOKENS, divergence_from, held_out_prompts, start_completions
from pfh.steps.session import Session
from pfh.store.store import Store
from pfh.testing import EchoDomain

from tests.tiny import tiny_adapter, tiny_llama


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    base = tiny_llama(folder / "base")
    start = Checkpoint(name="start", path=base, fingerprint="start")
    adapter = start.with_adapter(tiny_adapter(base, folder / "adapter"), name="after", fingerprint="after")
    other = tiny_llama(folder / "other", vocab_size=300)
    return {"start": start, "after": adapter, "other": Checkpoint(name="other", path=other, fingerprint="other")}


@pytest.fixture
def session(tmp_path):
    session = Session(plugins=Plugins(), store=Store(tmp_path / "store"), progress=Silent(), dtype="float32")
    yield session
    session.release()


def test_it_is_the_kl_of_the_next_token_along_the_starts_completions(session, models):
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    domain = EchoDomain()
    found = divergence_from(session, models["start"], models["after"], domain, 3)
    written = start_completions(session, models["start"], domain, 3)
    tokenizer = AutoTokenizer.from_pretrained(models["start"].path)
    start = AutoModelForCausalLM.from_pretrained(models["start"].path, dtype=torch.float32)
    after = PeftModel.from_pretrained(
        AutoModelForCausalLM.from_pretrained(models["start"].path, dtype=torch.float32), models["after"].adapter
    )
    forward, backward, places = [], [], 0
    for rollout in written:
        prompt = tokenizer.apply_chat_template(
            list(rollout.problem.messages), tokenize=False, add_generation_prompt=True
        )
        context = tokenizer(prompt, add_special_tokens=False).input_ids
        completion = tokenizer(rollout.completion, add_special_tokens=False).input_ids
        count = min(TOKENS, len(completion) + (not rollout.truncated))
        rows = slice(len(context) - 1, len(context) - 1 + count)
        with torch.no_grad():
            p, q = (
                model(torch.tensor([context + completion])).logits[0, rows].log_softmax(-1) for model in (start, after)
            )
        forward.append((p.exp() * (p - q)).sum(-1).mean().item())
        backward.append((q.exp() * (q - p)).sum(-1).mean().item())
        places += count
    assert (found.status, found.prompts, found.tokens) == ("MEASURED", 3, places)
    assert found.start_to_after == pytest.approx(np.mean(forward), rel=1e-3)
    assert found.after_to_start == pytest.approx(np.mean(backward), rel=1e-3)
    assert found.start_to_after_low is None  # of so few prompts
    assert "3 prompts (held-out set echo of echo" in sentence(found)


def test_a_model_is_not_apart_from_itself_and_is_not_measured_twice(session, models):
    same = dataclasses.replace(models["start"], fingerprint="copy")
    found = divergence_from(session, models["start"], same, EchoDomain(), 2)
    assert found.start_to_after == pytest.approx(0, abs=1e-9)
    session.release()
    session.engine = None  # type: ignore[assignment] # nothing may be run again
    assert divergence_from(session, models["start"], same, EchoDomain(), 2) == found


@pytest.mark.parametrize(
    ("after", "domain", "count", "reason"),
    [
        ("after", EchoDomain(), 0, "turned off"),
        (None, EchoDomain(), 2, "weights are not at hand"),
        ("after", None, 2, "domain cannot be opened"),
        ("other", EchoDomain(), 2, "vocabularies differ: 267 tokens before, 300 after"),
    ],
)
def test_where_it_cannot_be_had_the_reason_is_told(session, models, after, domain, count, reason):
    found = divergence_from(session, models["start"], models.get(after), domain, count)
    assert found.status == "NOT_RUN"
    assert reason in found.reason
    assert sentence(found).startswith("Divergence from the start: NOT_RUN, ")


def test_prompts_come_from_the_held_out_set_or_else_from_the_test_split():
    class Far(EchoDomain):
        def holdout(self, name):
            raise DataUnavailableError("not here")

    assert held_out_prompts(EchoDomain(), 2)[1] == "held-out set echo of echo"
    prompts, source = held_out_prompts(Far(), 3)
    assert ([prompt.answer for prompt in prompts], source) == (["1", "3", "5"], "test split of echo")


def test_the_mean_runs_over_places_first_and_then_over_prompts():
    found = divergence_of([[1.0, 3.0], [8.0], []], [[0.0, 1.0], [0.5], []], "here")
    assert (found.prompts, found.tokens, found.start_to_after, found.after_to_start) == (2, 3, 5.0, 0.5)
    several = divergence_of([[0.1 * place**2] for place in range(9)], [[1.0]] * 9, "here")
    assert 0 <= several.start_to_after_low < several.start_to_after < several.start_to_after_high
    assert several.after_to_start_low is None  # no value differs from another
    assert divergence_of([[]], [[]], "here") == Divergence(
        status="NOT_RUN", reason="the start completed no prompt", source="here"
    )
