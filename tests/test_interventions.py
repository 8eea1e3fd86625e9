"""Interventions in the residual stream, and whole next-token distributions, of the HF engine on tiny models."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from pfh.errors import UserError
from pfh.hooks.backends import EngineSpec, GenerationRequest, Intervention, Sampling, ScoringRequest
from pfh.hooks.checkpoint import Checkpoint
from pfh.progress import Silent
from pfh.store.journal import JournaledEngine
from pfh.testing import FakeEngine
from pfh_backends.hf.engine import HfEngine
from transformers import AutoModelForCausalLM, AutoTokenizer

from tests.tiny import CHATML, tiny_model

TEXTS = ["the water is warm", "in the winter", "on"]
WIDTH = 32


def engine_of(folder, **settings):
    checkpoint = Checkpoint(name=folder.name, path=folder, fingerprint=folder.name)
    return HfEngine(EngineSpec(checkpoint=checkpoint, dtype="float32", **settings))


@pytest.fixture(scope="module")
def engine(tiny_llama_path):
    return engine_of(tiny_llama_path)


@pytest.fixture
def direction():
    return np.random.default_rng(0).standard_normal(WIDTH).astype(np.float32)


def test_the_next_token_is_distributed_as_the_model_says(engine, tiny_llama_path):
    found = engine.next_token_logprobs(TEXTS)
    model, tokenizer = (
        AutoModelForCausalLM.from_pretrained(tiny_llama_path),
        AutoTokenizer.from_pretrained(tiny_llama_path),
    )
    for row, text in zip(found, TEXTS, strict=True):
        with torch.inference_mode():
            logits = model(tokenizer(text, return_tensors="pt")["input_ids"]).logits[0, -1]
        np.testing.assert_allclose(row, logits.log_softmax(-1).numpy(), atol=1e-4)


def test_encoding_and_counting_agree(engine):
    assert [len(engine.encode(text)) for text in TEXTS] == [engine.count_tokens(text) for text in TEXTS]


@pytest.mark.parametrize("model_type", ["llama", "qwen2", "qwen3", "gemma2", "mistral", "gpt2"])
def test_an_ablated_direction_is_nowhere_in_the_stream(tmp_path, model_type, direction):
    changes = {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 512} if model_type == "gpt2" else {}
    engine = engine_of(tiny_model(tmp_path / model_type, model_type, **changes))
    unit = direction / np.linalg.norm(direction)
    before = engine.hidden_states(TEXTS, [0, 1, 2])
    with engine.intervened([Intervention(kind="ablate", direction=direction)]):
        ablated = engine.hidden_states(TEXTS, [0, 1, 2])
    again = engine.hidden_states(TEXTS, [0, 1, 2])
    assert max(np.abs(stream @ unit).max() for stream in before) > 0.05
    assert max(np.abs(stream @ unit).max() for stream in ablated) < 1e-5
    for x, y in zip(before, again, strict=True):
        np.testing.assert_array_equal(x, y)


def test_a_vector_is_added_to_the_input_of_one_block(engine, direction):
    before = engine.hidden_states(TEXTS, [0, 1, 2])
    with engine.intervened([Intervention(kind="add", direction=direction, layer=1)]):
        added = engine.hidden_states(TEXTS, [0, 1, 2])
    for x, y in zip(before, added, strict=True):
        np.testing.assert_array_equal(x[0], y[0])
        np.testing.assert_allclose(y[1] - x[1], np.broadcast_to(direction, x[1].shape), atol=1e-5)
        assert np.abs(y[2] - x[2] - direction).max() > 1e-2  # the block answers to it


def test_everything_answers_under_the_intervention(engine, direction):
    scoring = [ScoringRequest(id="0", context="the water", continuation=" is")]
    asking = [GenerationRequest(id="0", prompt="the water")]
    intervention = Intervention(kind="add", direction=50 * direction, layer=1)
    plain = engine.loglikelihood(scoring), engine.generate(asking, Sampling(max_new_tokens=8)), engine.identity
    with engine.intervened([intervention]):
        changed = engine.loglikelihood(scoring), engine.generate(asking, Sampling(max_new_tokens=8)), engine.identity
    assert [x != y for x, y in zip(plain, changed, strict=True)] == [True, True, True]
    assert engine.loglikelihood(scoring) == plain[0]
    assert engine.identity == plain[2]


def test_the_journal_keeps_answers_under_an_intervention_apart(engine, direction, tmp_path):
    journaled = JournaledEngine(engine, tmp_path / "journal.jsonl", Silent(), "test")
    scoring = [ScoringRequest(id="0", context="the water", continuation=" is")]
    plain = journaled.loglikelihood(scoring)
    with journaled.intervened([Intervention(kind="ablate", direction=direction)]):
        ablated = journaled.loglikelihood(scoring)
    assert ablated != plain
    assert journaled.loglikelihood(scoring) == plain


def test_what_no_model_could_take_is_refused(engine, direction):
    with (
        pytest.raises(UserError, match="32 wide"),
        engine.intervened([Intervention(kind="add", direction=direction[:4])]),
    ):
        pass
    with (
        pytest.raises(UserError, match="no layer 3"),
        engine.intervened([Intervention(kind="add", direction=direction, layer=3)]),
    ):
        pass
    with (
        pytest.raises(UserError, match="zero"),
        engine.intervened([Intervention(kind="ablate", direction=0 * direction)]),
    ):
        pass


def test_the_fake_answers_under_an_intervention_too(direction):
    engine = FakeEngine(["Yes."])
    with engine.intervened([Intervention(kind="ablate", direction=direction)]):
        assert np.exp(engine.next_token_logprobs(["a", "b"])).sum(axis=1) == pytest.approx([1.0, 1.0])


@pytest.mark.parametrize("chat_template", [CHATML, None])
def test_what_a_model_expects_along_a_completion(tmp_path, chat_template):
    folder = tiny_model(tmp_path / "m", chat_template=chat_template)
    engine = engine_of(folder, batch_tokens=64)
    requests = [GenerationRequest(id=text, messages=({"role": "user", "content": text},)) for text in TEXTS]
    completions = ["in the water", "", "on the way to the winter"]
    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    for row, request, text in zip(engine.distributions(requests, completions), requests, completions, strict=True):
        space = "" if chat_template or not text else " "
        prompt, written = (
            tokenizer.encode(part, add_special_tokens=False) for part in (engine.render(request.messages), space + text)
        )
        with torch.inference_mode():
            logits = model(torch.tensor([prompt + written])).logits[0, len(prompt) - 1 :]
        assert row.tokens == tuple(written)
        assert engine.decode(row.tokens) == space + text
        np.testing.assert_allclose(row.logprobs, logits.log_softmax(-1).numpy(), atol=1e-4)
