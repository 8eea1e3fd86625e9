"""One loader for training and measuring: the same prompts, the same refusals, and nothing of a model's own defaults."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
import torch
from pfh.errors import UserError
from pfh.hooks.backends import EngineSpec, GenerationRequest, Sampling
from pfh.hooks.checkpoint import Checkpoint
from pfh.kit.tokens.chat_templates import render
from pfh.kit.tokens.loading import load_tokenizer
from pfh.kit.training import load_for_training
from pfh.kit.weights import learned_positions, load_weights, restore_defaults, without_weights
from pfh.sources.models import resolve
from pfh_backends.hf.engine import HfEngine
from pfh_methods import grpo
from pfh_methods.online import online_arguments, own_chat, set_up_online
from pfh_methods.tally import Tally

from tests.letters import arguments_of, training_spec
from tests.tiny import tiny_adapter, tiny_llama, tiny_model, tiny_tokenizer

CHAT = ({"role": "user", "content": "Say the same thing again"},)
OWN = {
    "do_sample": True, "temperature": 0.6, "top_k": 20, "top_p": 0.8, "min_p": 0.4, "typical_p": 0.3, "top_h": 0.3,
    "epsilon_cutoff": 0.1, "eta_cutoff": 0.1, "repetition_penalty": 1.9, "encoder_repetition_penalty": 1.9,
    "no_repeat_ngram_size": 1, "encoder_no_repeat_ngram_size": 1, "length_penalty": 2.0, "max_length": 3,
    "max_new_tokens": 2, "min_length": 400, "min_new_tokens": 300, "max_time": 1e-9, "early_stopping": True,
    "stop_strings": ["a"], "num_beams": 3, "num_beam_groups": 3, "diversity_penalty": 0.5, "penalty_alpha": 0.6,
    "dola_layers": "low", "bad_words_ids": [[5], [60]], "force_words_ids": [[7]], "forced_bos_token_id": 9,
    "forced_eos_token_id": 9, "suppress_tokens": list(range(20, 60)), "begin_suppress_tokens": list(range(60, 90)),
    "sequence_bias": [[[80], 9.0]], "exponential_decay_length_penalty": [1, 2.0], "renormalize_logits": True,
    "remove_invalid_values": True, "guidance_scale": 3.0, "watermarking_config": {"bias": 9.0}, "token_healing": True,
    "num_return_sequences": 2, "pad_token_id": 7, "bos_token_id": 8, "decoder_start_token_id": 8,
    "prompt_lookup_num_tokens": 2, "use_cache": False, "cache_implementation": "static", "low_memory": True,
}  # fmt: skip
"""A generation_config.json that changes whatever can be changed, but for the ends."""
NOT_TOLD = {"eos_token_id", "_from_model_config", "transformers_version"}


def checkpoint(path: Path, **fields) -> Checkpoint:
    return Checkpoint(name="tiny", path=path, fingerprint="x", **fields)


def by_engine(start: Checkpoint):
    return HfEngine(EngineSpec(checkpoint=start, dtype="float32"))


def test_an_adapter_with_its_own_template_is_trained_and_measured_with_the_same_prompts(tmp_path):
    base = tiny_llama(tmp_path / "base", chat_template=None)
    adapter = tiny_adapter(base, tmp_path / "adapter")
    tiny_tokenizer().save_pretrained(adapter)
    start = resolve(str(adapter), cache_dir=tmp_path / "cache")
    model, tokenizer = load_for_training(start)
    assert render(tokenizer, CHAT) == by_engine(start).render(CHAT)
    assert render(tokenizer, CHAT).startswith("<|im_start|>user")
    model.save_pretrained(tmp_path / "merged")
    tokenizer.save_pretrained(tmp_path / "merged")
    assert by_engine(checkpoint(tmp_path / "merged")).render(CHAT) == render(tokenizer, CHAT)


@pytest.mark.parametrize("load", [by_engine, load_for_training])
def test_what_cannot_be_measured_cannot_be_trained_either(load, tiny_llama_path, tmp_path):
    from safetensors.torch import load_file, save_file

    lacking = tiny_llama(tmp_path / "lacking")
    weights = load_file(lacking / "model.safetensors")
    weights.pop("model.layers.1.mlp.up_proj.weight")
    save_file(weights, lacking / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(UserError, match=r"lacks weights: model\.layers\.1\.mlp\.up_proj\.weight"):
        load(checkpoint(lacking))
    for changes, line in (
        ({"target_modules": ["q_proj"], "bias": "all"}, "uses bias=all"),
        ({"target_modules": ["q_proj"], "trainable_token_indices": [3]}, "uses trainable_token_indices"),
        ({"lora_bias": True, "target_modules": ["q_proj"]}, "uses lora_bias over a layer that has no bias"),
    ):
        adapter = tiny_adapter(tiny_llama_path, tmp_path / next(iter(changes)) / line[:9], **changes)
        with pytest.raises(UserError, match=line):
            load(checkpoint(tiny_llama_path, adapter=adapter))
    stray = tiny_adapter(tiny_llama_path, tmp_path / "stray")
    matrices = load_file(stray / "adapter_model.safetensors")
    save_file(
        {name: each for name, each in matrices.items() if "layers.0" in name}, stray / "adapter_model.safetensors"
    )
    with pytest.raises(UserError, match="does not fit its base"):
        load(checkpoint(tiny_llama_path, adapter=stray))
    (stray / "adapter_config.json").write_text("{")
    with pytest.raises(UserError, match="cannot be merged into"):
        load(checkpoint(tiny_llama_path, adapter=stray))


def test_of_a_models_own_generation_settings_its_ends_alone_are_left(tmp_path):
    from transformers import GenerationConfig

    fields = GenerationConfig().to_dict().keys() - NOT_TOLD
    path = tiny_llama(tmp_path)
    (path / "generation_config.json").write_text(json.dumps(dict.fromkeys(fields, 3) | OWN | {"eos_token_id": [2, 9]}))
    model = load_weights(checkpoint(path), torch.float32)
    left = model.generation_config.to_dict()
    assert {name for name in fields if left[name] is not None} == set()
    assert left["eos_token_id"] == [2, 9]
    trained, _ = load_for_training(checkpoint(path))
    assert {name: trained.generation_config.to_dict()[name] for name in left} == left


@pytest.mark.parametrize(("architecture", "changes"), [("llama", {}), ("mamba", {"state_size": 8})])
def test_greedy_completions_are_the_same_whatever_a_model_says_of_generation(architecture, changes, tmp_path):
    texts = []
    for own in ({}, OWN):
        path = tiny_model(tmp_path / str(len(own)), architecture, **changes)
        (path / "generation_config.json").write_text(json.dumps({"eos_token_id": 2} | own))
        (answer,) = by_engine(checkpoint(path)).generate(
            [GenerationRequest(id="a", messages=CHAT)], Sampling(max_new_tokens=24)
        )
        texts.append((answer.text, answer.tokens))
    assert texts[0] == texts[1]
    assert texts[0][1] > 2


def test_rollouts_are_drawn_from_the_softmax_whatever_a_model_says_of_generation(tmp_path):
    drawn = []
    for own in ({}, OWN):
        path = tiny_llama(tmp_path / str(len(own)))
        (path / "generation_config.json").write_text(json.dumps({"eos_token_id": 2} | own))
        spec = training_spec(grpo, path, tmp_path / f"out{len(own)}", batch_size=8, generations=8, max_new_tokens=8)
        setup = set_up_online(spec, "grpo", own_chat, Tally.read(tmp_path / "rollouts.json"))
        trainer = grpo.grpo_trainer(setup, online_arguments(setup, arguments_of(spec)))
        torch.manual_seed(0)
        ids, _ = trainer._generate_single_turn(trainer._tokenize_prompts([list(CHAT)] * 8)[0], None, {}, 1)
        drawn.append([list(one) for one in ids])
    assert drawn[0] == drawn[1]


def test_weights_that_were_trained_get_the_models_own_defaults_back(tmp_path):
    own = {"eos_token_id": 2, "temperature": 0.9, "top_p": 0.6}  # which does not validate, as it does not sample
    path = tiny_model(tmp_path / "moe", "mixtral", num_local_experts=4, output_router_logits=True)
    (path / "generation_config.json").write_text(json.dumps(own))
    model, tokenizer = load_for_training(checkpoint(path))
    assert not model.config.output_router_logits
    model.generation_config.eos_token_id = [2, 9]
    model.save_pretrained(tmp_path / "saved")
    tokenizer.save_pretrained(tmp_path / "saved")
    restore_defaults(checkpoint(path), tmp_path / "saved")
    kept = json.loads((tmp_path / "saved" / "generation_config.json").read_text())
    assert kept == own | {"eos_token_id": [2, 9]}
    assert json.loads((tmp_path / "saved" / "config.json").read_text())["output_router_logits"] is True


def test_weights_of_eight_bits_are_put_back_and_saved_as_they_were_trained(tmp_path):
    from safetensors.torch import load_file, save_file

    path = tiny_llama(tmp_path / "eight")
    whole = load_weights(checkpoint(path), torch.float32).state_dict()
    kept = {}
    for name, weight in load_file(path / "model.safetensors").items():
        if "_proj." not in name:
            kept[name] = weight
            continue
        scale = weight.abs().max() / torch.finfo(torch.float8_e4m3fn).max
        kept[name] = (weight / scale).to(torch.float8_e4m3fn)
        kept[f"{name}_scale_inv"] = scale.repeat(-(-weight.shape[0] // 32), -(-weight.shape[1] // 32))
    save_file(kept, path / "model.safetensors", metadata={"format": "pt"})
    config = json.loads((path / "config.json").read_text())
    config["quantization_config"] = {"quant_method": "fp8", "weight_block_size": [32, 32]}
    (path / "config.json").write_text(json.dumps(config))
    model, tokenizer = load_for_training(checkpoint(path))
    for name, weight in model.state_dict().items():
        assert torch.allclose(weight, whole[name], rtol=0.07, atol=0.01), name
    model.save_pretrained(tmp_path / "saved")
    tokenizer.save_pretrained(tmp_path / "saved")
    again = load_weights(checkpoint(tmp_path / "saved"), torch.float32).state_dict()
    assert all(torch.equal(weight, again[name]) for name, weight in model.state_dict().items())


def test_of_quantised_weights_that_cannot_be_loaded_the_full_ones_are_named(tmp_path):
    full = tiny_llama(tmp_path / "models--unsloth--Tiny-1B-unsloth-bnb-4bit" / "snapshots" / "abc")
    config = json.loads((full / "config.json").read_text())
    gptq = config | {"quantization_config": {"quant_method": "gptq", "bits": 4, "group_size": 32}}
    (full / "config.json").write_text(json.dumps(gptq))
    with pytest.raises(UserError, match=r"optimum.*Or take the weights, unsloth/Tiny-1B, that were quantised\.$"):
        load_weights(checkpoint(full), torch.float32)
    adapted = checkpoint(full).with_adapter(tmp_path / "adapter", name="adapter", fingerprint="a")
    with pytest.raises(UserError, match=r"that were quantised \(base_model_name_or_path in its adapter_config.json\)"):
        load_weights(adapted, torch.float32)
    other = tiny_llama(tmp_path / "other")
    (other / "config.json").write_text(json.dumps(gptq))
    with pytest.raises(UserError, match=r"Or take the weights that were quantised\.$"):
        load_weights(checkpoint(other), torch.float32)


def test_padding_is_a_token_that_the_model_has_a_row_for(tmp_path):
    path = tiny_llama(tmp_path)
    tokenizer = tiny_tokenizer()
    tokenizer.add_special_tokens({"pad_token": "[PAD]"})
    tokenizer.save_pretrained(path)
    model, loaded = load_for_training(checkpoint(path))
    assert loaded.pad_token_id < model.get_input_embeddings().weight.shape[0] <= tokenizer.pad_token_id


def test_learned_positions_are_found_and_computed_ones_are_none(tiny_llama_path, tmp_path):
    assert learned_positions(without_weights(checkpoint(tiny_llama_path))) is None
    for architecture, changes in (
        ("gpt2", {"n_embd": 32, "n_layer": 1, "n_head": 4, "max_position_embeddings": 64}),
        ("opt", {"ffn_dim": 64, "word_embed_proj_dim": 32, "max_position_embeddings": 64}),
    ):
        path = tiny_model(tmp_path / architecture, architecture, **changes)
        assert learned_positions(without_weights(checkpoint(path))) == 64


def test_a_tokenizer_that_is_a_sentencepiece_model_alone_is_read_as_that_model_or_refused(tmp_path):
    sentencepiece = pytest.importorskip("sentencepiece")
    written = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(["the sky is blue", "say the number one two three"] * 20),
        model_writer=written,
        vocab_size=60,
        model_type="bpe",
        hard_vocab_limit=False,
        minloglevel=2,
    )
    path = tiny_llama(tmp_path)
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        (path / name).unlink(missing_ok=True)
    (path / "tokenizer.model").write_bytes(written.getvalue())
    with pytest.raises(UserError, match=r"name its tokenizer_class in tokenizer_config\.json"):
        load_tokenizer(checkpoint(path))
    (path / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "LlamaTokenizer"}))
    ids = sentencepiece.SentencePieceProcessor(model_proto=written.getvalue()).encode("say the sky")
    assert load_tokenizer(checkpoint(path)).encode("say the sky", add_special_tokens=False) == ids
