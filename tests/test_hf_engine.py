"""The HF engine against transformers, peft and lm-eval themselves, on tiny models."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from pfh.engine import GenerationRequest, Sampling, ScoringRequest
from pfh.errors import StepFailedError, UserError
from pfh.models import Checkpoint
from pfh.specs import EngineSpec
from pfh_backends import hf
from pfh_backends.hf import engine as engine_module
from pfh_backends.hf.engine import HfEngine
from pfh_backends.hf.sampling import choose
from tests.tiny import tiny_adapter, tiny_llama, tiny_model

QUESTIONS = (
    "What is the capital of France?",
    "Hi",
    "Name three animals that live in the sea, and say which of them is the largest one of all.",
    "the the the",
    "Why?",
)


def checkpoint(folder: Path, **changes) -> Checkpoint:
    return Checkpoint(name=folder.name, path=folder, fingerprint=str(folder), **changes)


def open_engine(folder: Path, batch_tokens: int = 0, **changes) -> HfEngine:
    return hf.open_engine(EngineSpec(checkpoint=checkpoint(folder, **changes), dtype="float32", batch_tokens=batch_tokens))


def ask(*questions: str) -> list[GenerationRequest]:
    return [
        GenerationRequest(id=f"q{index}", messages=({"role": "user", "content": question},))
        for index, question in enumerate(questions)
    ]


def greedy_by_transformers(folder: Path, questions, max_new_tokens: int) -> list[str]:
    """Complete one question at a time with `model.generate`."""
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    texts = []
    for question in questions:
        chat = [{"role": "user", "content": question}]
        text = tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
        inputs = tokenizer(text, return_tensors="pt", add_special_tokens=False, return_token_type_ids=False)
        with torch.inference_mode():
            output = model.generate(**inputs, max_new_tokens=max_new_tokens, do_sample=False)
        texts.append(tokenizer.decode(output[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True))
    return texts


@pytest.fixture(scope="module")
def engine(tiny_llama_path):
    return open_engine(tiny_llama_path)


@pytest.mark.parametrize(
    ("model_type", "changes"),
    [
        ("llama", {}),
        ("qwen2", {}),
        ("qwen3", {}),
        ("gemma", {}),
        ("gemma2", {"sliding_window": 8}),
        ("gemma3_text", {"sliding_window": 8}),
        ("mistral", {"sliding_window": 8}),
        ("smollm3", {}),
        ("gpt_neox", {"num_key_value_heads": None}),
        ("lfm2", {"layer_types": ["conv", "full_attention"]}),
    ],
)
def test_greedy_completions_equal_those_of_model_generate(tmp_path, model_type, changes):
    folder = tiny_model(tmp_path / model_type, model_type, **changes)
    expected = greedy_by_transformers(folder, QUESTIONS, 24)
    completions = open_engine(folder).generate(ask(*QUESTIONS), Sampling(max_new_tokens=24))
    assert [completion.text for completion in completions] == expected


def test_only_models_without_a_plain_cache_run_row_by_row(tmp_path, engine):
    hybrid = open_engine(tiny_model(tmp_path / "lfm2", "lfm2", layer_types=["conv", "full_attention"]))
    assert len(hybrid.batches(ask(*QUESTIONS))) == len(QUESTIONS)
    assert len(engine.batches(ask(*QUESTIONS))) == 1


def test_rows_end_at_any_of_several_end_tokens(tmp_path, tiny_llama_path):
    free = open_engine(tiny_llama_path).generate(ask(*QUESTIONS), Sampling(max_new_tokens=24))
    tokenizer = AutoTokenizer.from_pretrained(tiny_llama_path)
    second_ends = [tokenizer.encode(completion.text, add_special_tokens=False)[-6] for completion in free[:2]]

    folder = tiny_llama(tmp_path / "several")
    model = AutoModelForCausalLM.from_pretrained(folder)
    model.generation_config.eos_token_id = [2, *second_ends]
    model.save_pretrained(folder)
    completions = open_engine(folder).generate(ask(*QUESTIONS), Sampling(max_new_tokens=24))
    lengths = []
    for completion, unbounded in zip(completions, free, strict=True):
        tokens = tokenizer.encode(unbounded.text, add_special_tokens=False)
        expected = next((place for place, token in enumerate(tokens) if token in second_ends), len(tokens))
        assert completion.tokens == expected
        assert completion.truncated == (expected == len(tokens))
        lengths.append(expected)
    assert len(set(lengths)) > 1  # rows ended at different steps, so some were dropped while others went on


def test_a_stop_string_ends_and_is_cut_off(engine):
    free = engine.generate(ask(*QUESTIONS), Sampling(max_new_tokens=24))
    stop = free[2].text[5:8]
    stopped = engine.generate(ask(*QUESTIONS), Sampling(max_new_tokens=24, stop=(stop, "never written")))
    for completion, unbounded in zip(stopped, free, strict=True):
        if stop in unbounded.text:
            assert completion.text == unbounded.text.split(stop)[0]
            assert not completion.truncated
            assert completion.tokens < unbounded.tokens or unbounded.text.endswith(stop)
        else:
            assert completion == unbounded


def test_a_sample_depends_on_its_own_id_and_seed_alone(engine):
    sampling = Sampling(max_new_tokens=16, temperature=1.0, top_p=0.9, seed=3)
    together = engine.generate(ask(*QUESTIONS), sampling)
    for request, completion in zip(ask(*QUESTIONS), together, strict=True):
        assert engine.generate([request], sampling) == [completion]
    assert engine.generate(ask(*QUESTIONS)[::-1], sampling) == together[::-1]
    other_seed = engine.generate(ask(*QUESTIONS), Sampling(max_new_tokens=16, temperature=1.0, top_p=0.9, seed=4))
    assert all(one.text != other.text for one, other in zip(together, other_seed, strict=True))


def test_samples_of_one_prompt_differ_and_equal_those_drawn_alone(engine):
    sampling = Sampling(max_new_tokens=16, temperature=1.0)
    chats = [ask(QUESTIONS[0])[0].messages] * 4 + [ask(QUESTIONS[1])[0].messages] * 4
    requests = [GenerationRequest(id=str(index), messages=chat) for index, chat in enumerate(chats)]
    completions = engine.generate(requests, sampling)
    assert len({completion.text for completion in completions}) == 8
    assert completions == [engine.generate([request], sampling)[0] for request in requests]


def test_equal_prompts_are_prefilled_once(engine, monkeypatch):
    shapes = []
    forward = engine._model.forward
    monkeypatch.setattr(
        engine._model, "forward", lambda **inputs: shapes.append(tuple(inputs["input_ids"].shape)) or forward(**inputs)
    )
    requests = [GenerationRequest(id=str(i), messages=ask("Hello there")[0].messages) for i in range(5)]
    engine.generate(requests, Sampling(max_new_tokens=2, temperature=1.0))
    assert [rows for rows, _ in shapes] == [1, 5]


def test_drawn_tokens_follow_the_distribution_and_the_nucleus():
    probabilities = torch.tensor([0.5, 0.0, 0.3, 0.15, 0.05])
    draws = 20000
    logits = probabilities.log().expand(draws, -1)
    uniform = (torch.arange(draws) + 0.5) / draws
    counts = choose(logits, Sampling(temperature=1.0), uniform).bincount(minlength=5) / draws
    torch.testing.assert_close(counts, probabilities, atol=1e-3, rtol=0)
    kept = choose(logits, Sampling(temperature=1.0, top_p=0.7), uniform).bincount(minlength=5) / draws
    torch.testing.assert_close(kept, torch.tensor([0.625, 0.0, 0.375, 0.0, 0.0]), atol=1e-3, rtol=0)
    cooled = choose(logits, Sampling(temperature=0.5), uniform).bincount(minlength=5) / draws
    torch.testing.assert_close(cooled, probabilities**2 / (probabilities**2).sum(), atol=1e-3, rtol=0)
    edge = choose(probabilities.log()[None], Sampling(temperature=1.0), torch.ones(1))
    assert edge.tolist() == [4]


def test_groups_are_sorted_within_budget_and_stable(tiny_llama_path):
    engine = open_engine(tiny_llama_path, batch_tokens=400)
    requests = ask(*(QUESTIONS * 3))
    groups = engine.batches(requests)
    assert sorted(index for group in groups for index in group) == list(range(len(requests)))
    assert len(groups) > 1
    for group in groups:
        lengths = [engine.count_tokens(engine.render(requests[index].messages)) for index in group]
        assert lengths == sorted(lengths, reverse=True)
        assert len(group) * (lengths[0] + engine_module.GROWTH) <= 400
        assert engine.batches([requests[index] for index in group]) == [list(range(len(group)))]


def test_out_of_memory_falls_back_to_halves(engine, monkeypatch):
    expected = engine.generate(ask(*QUESTIONS), Sampling(max_new_tokens=8))
    seen = []
    decode = engine_module.decode

    def small_memory(model, prompts, *rest):
        seen.append(len(prompts))
        if len(prompts) > 2:
            raise torch.OutOfMemoryError("no more memory")
        return decode(model, prompts, *rest)

    monkeypatch.setattr(engine_module, "decode", small_memory)
    assert engine.generate(ask(*QUESTIONS), Sampling(max_new_tokens=8)) == expected
    assert seen == [5, 2, 3, 1, 2]

    def no_memory(model, prompts, *rest):
        raise torch.OutOfMemoryError("no more memory")

    monkeypatch.setattr(engine_module, "decode", no_memory)
    with pytest.raises(StepFailedError, match="does not fit into memory"):
        engine.generate(ask("Hi"), Sampling(max_new_tokens=8))


def test_a_prompt_beyond_the_window_loses_its_beginning(engine):
    completion = engine.generate(ask("very " * 400 + "long"), Sampling(max_new_tokens=16))[0]
    assert completion.prompt_tokens == 512 - 16
    assert completion.tokens == 16


def test_broken_weights_are_named(tmp_path):
    folder = tiny_llama(tmp_path / "nan")
    model = AutoModelForCausalLM.from_pretrained(folder)
    model.model.norm.weight.data.fill_(float("nan"))
    model.save_pretrained(folder)
    with pytest.raises(StepFailedError, match="NaN"):
        open_engine(folder).generate(ask("Hi"), Sampling(max_new_tokens=4))


def test_a_base_model_is_asked_in_the_plain_template_and_stops_at_the_next_turn(tmp_path):
    engine = open_engine(tiny_llama(tmp_path / "base", chat_template=None))
    assert engine.render(ask("Hi")[0].messages) == "User: Hi\n\nAssistant:"
    completions = engine.generate(ask(*QUESTIONS), Sampling(max_new_tokens=24))
    assert all("\n\nUser:" not in completion.text for completion in completions)
