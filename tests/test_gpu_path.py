"""The GPU path as far as a CPU shows it: precision of rollouts, what TRL is handed, what is undone after a stage."""

from __future__ import annotations

import os
from types import SimpleNamespace

import pytest
import torch
from pfh.errors import UserError
from pfh.hooks.backends import Sampling
from pfh.kit.training import TrainingOptions, load_for_training
from pfh.kit.training.colocated import end_vllm, undistributed
from pfh.kit.training.precision import is_exact, loading_settings
from pfh.registry.options import fill
from pfh_methods import grpo
from pfh_methods.online import online_arguments, own_chat, set_up_online
from pfh_methods.resampling import exchanged
from pfh_methods.tally import Tally

from tests.letters import Letters, rows_of, training_spec
from tests.test_grpo import trainer_of
from tests.test_sdft import spec_for as sdft_spec
from tests.test_sdft import trainer_for as sdft_trainer_for


def dtypes_of(model) -> set[torch.dtype]:
    """Collect the types that the first layer of `model` computes in, from now on."""
    seen: set[torch.dtype] = set()
    layer = next(module for name, module in model.named_modules() if name.endswith("q_proj.base_layer"))
    layer.register_forward_hook(lambda module, given, made: seen.add(made.dtype))
    return seen


@pytest.mark.parametrize("method", ["grpo", "sdft"])
def test_rollouts_and_loss_are_computed_in_the_same_precision(method, tiny_llama_path, tmp_path):
    options = {"precision": "bfloat16", "max_steps": 1}
    if method == "grpo":
        trainer, _ = trainer_of(grpo, tiny_llama_path, tmp_path, **options)
    else:
        trainer = sdft_trainer_for(sdft_spec(tiny_llama_path, tmp_path, **options))
    seen = dtypes_of(trainer.model)
    trainer.train()
    assert seen == {torch.bfloat16}


def test_what_trl_is_handed_for_vllm(tiny_llama_path, tmp_path):
    domain = Letters()
    domain.sampling = Sampling(max_new_tokens=4, temperature=1.0, top_p=0.9)
    spec = training_spec(
        grpo, tiny_llama_path, tmp_path, domain=domain, max_length=96, vllm_tensor_parallel=2, vllm_sleep=True
    )
    setup = set_up_online(spec, "grpo", own_chat, Tally.read(tmp_path / "rollouts.json"))
    handed = online_arguments(setup, {})
    assert handed["top_p"] == 1.0  # whatever the domain draws with when it is measured
    assert handed["vllm_max_model_length"] == 96
    assert (handed["vllm_mode"], handed["vllm_server_base_url"]) == ("colocate", None)
    assert (handed["vllm_tensor_parallel_size"], handed["vllm_enable_sleep_mode"]) == (2, True)
    spec = training_spec(grpo, tiny_llama_path, tmp_path, vllm_server="http://10.0.0.1:8000")
    setup = set_up_online(spec, "grpo", own_chat, Tally.read(tmp_path / "rollouts.json"))
    handed = online_arguments(setup, {})
    assert (handed["vllm_mode"], handed["vllm_server_base_url"]) == ("server", "http://10.0.0.1:8000")


def test_frozen_weights_may_be_bfloat16_and_the_adapter_stays_float32(tiny_llama_path, tmp_path):
    trainer, batch = trainer_of(grpo, tiny_llama_path, tmp_path, base_precision="bfloat16", precision="bfloat16")
    kept = {"frozen": set(), "trained": set()}
    for part in trainer.model.parameters():
        kept["trained" if part.requires_grad else "frozen"].add(part.dtype)
    assert kept == {"frozen": {torch.bfloat16}, "trained": {torch.float32}}
    assert not is_exact(trainer.model)
    loss = trainer.compute_loss(trainer.model, batch)
    loss.backward()
    assert torch.isfinite(loss)


def test_what_the_frozen_weights_cannot_be_is_refused(monkeypatch):
    with pytest.raises(UserError, match="base_precision=bfloat16 is for weights that stay as they are"):
        fill(TrainingOptions, {"base_precision": "bfloat16", "adapter": "full"}, "methods:x")
    for given, package in (
        ({"base_precision": "4bit"}, "bitsandbytes"),
        ({"liger_kernel": "true"}, "liger-kernel"),
        ({"attention": "flash_attention_2"}, "flash-attn"),
    ):
        with monkeypatch.context() as patch:
            patch.setattr("pfh.kit.training.options.find_spec", lambda name: None)
            with pytest.raises(UserError, match=f"package {package} is needed"):
                fill(TrainingOptions, given, "methods:x")
            patch.setattr("pfh.kit.training.options.find_spec", lambda name: name)
            fill(TrainingOptions, given, "methods:x")


def test_weights_of_4_bits_are_asked_for_as_qlora_does(monkeypatch):
    monkeypatch.setattr("pfh.kit.training.options.find_spec", lambda name: name)
    quantized = loading_settings(TrainingOptions(base_precision="4bit"))["quantization_config"]
    assert (quantized.load_in_4bit, quantized.bnb_4bit_quant_type) == (True, "nf4")
    assert quantized.bnb_4bit_use_double_quant
    assert quantized.bnb_4bit_compute_dtype == torch.bfloat16


def test_attention_is_computed_as_asked(tiny_llama_path):
    from pfh.hooks.checkpoint import Checkpoint

    checkpoint = Checkpoint(name="tiny", path=tiny_llama_path, fingerprint="x")
    model, _ = load_for_training(checkpoint, TrainingOptions(attention="eager"))
    assert model.config._attn_implementation == "eager"
    assert load_for_training(checkpoint)[0].config._attn_implementation == "sdpa"


def test_a_stage_leaves_no_word_of_processes_in_the_environment(monkeypatch):
    monkeypatch.setenv("MASTER_PORT", "1234")
    monkeypatch.delenv("RANK", raising=False)
    monkeypatch.delenv("WORLD_SIZE", raising=False)

    def train():
        with undistributed():
            os.environ.update(RANK="0", WORLD_SIZE="1", MASTER_PORT="5678")
            raise ValueError("broke off")

    with pytest.raises(ValueError, match="broke off"):
        train()
    assert os.environ["MASTER_PORT"] == "1234"
    assert not {"RANK", "WORLD_SIZE"} & os.environ.keys()


def test_the_engine_of_an_attempt_that_ran_out_of_memory_is_ended_before_the_next(tiny_llama_path, tmp_path):
    from tests.test_training import run

    ended, begun = [], []

    def spoil(trainer):
        core = SimpleNamespace(shutdown=lambda: ended.append(len(begun)))
        trainer.vllm_generation = SimpleNamespace(llm=SimpleNamespace(llm_engine=SimpleNamespace(engine_core=core)))
        begun.append(trainer)
        if len(begun) == 1:
            trainer.train = fail

    def fail(**_):
        raise torch.OutOfMemoryError("CUDA out of memory")

    trained, _ = run(tiny_llama_path, tmp_path / "out", spoil=spoil)
    assert ended == [1]  # the first one's, before the second was built; the last may still be generated with
    assert trained.trainer.vllm_generation.llm is not None
    end_vllm(trained.trainer)
    assert ended == [1, 2]
    assert trained.trainer.vllm_generation.llm is None


def test_prompts_that_tell_nothing_apart_make_room_for_others(tiny_llama_path, tmp_path):
    """Dynamic sampling of DAPO: every group of an update has different rewards, where the prompts have."""

    class Hopeless(Letters):
        """Of half of the problems no completion is right."""

        def verify(self, problem, completion):
            found = super().verify(problem, completion)
            hopeless = int(problem.id.removeprefix("p")) % 2
            return type(found)(reward=0.0, extracted=completion) if hopeless else found

    options = {"domain": Hopeless(), "count": 32, "seed": 3}
    plain, _ = trainer_of(grpo, tiny_llama_path, tmp_path / "plain", **options)
    assert plain._metrics["train"]["frac_reward_zero_std"][0] > 0
    trainer, batch = trainer_of(grpo, tiny_llama_path, tmp_path / "dynamic", dynamic_sampling=20, **options)
    useless = trainer._metrics["train"]["groups_without_variance"]
    assert useless == [0.0]
    advantages = trainer._buffered_inputs
    assert all((part["advantages"] != 0).any() for part in advantages)
    trained = sum(len(prompt) + len(ids) for part in advantages for prompt, ids in rows_of(part))
    assert trainer.state.num_input_tokens_seen == trained
    written = sum(int(part["completion_mask"].sum()) for part in advantages)
    assert int(batch["num_items_in_batch"]) == written


def test_a_group_takes_the_place_of_another_whatever_the_padding():
    def batch(prompts, completions, value):
        return {
            "prompt_ids": torch.tensor(prompts),
            "completion_ids": torch.tensor(completions),
            "completion_mask": torch.ones(len(completions), len(completions[0]), dtype=torch.long),
            "advantages": torch.full((len(prompts),), value),
            "num_items_in_batch": torch.tensor(4),
        }

    old = batch([[1], [1], [2], [2]], [[5, 6], [5, 6], [7, 8], [7, 8]], 0.0)
    new = batch([[8, 9], [8, 9]], [[3], [4]], 1.0)
    found = exchanged(old, new, {1: 0}, size=2, pad_token=0)
    assert found["prompt_ids"].tolist() == [[0, 1], [0, 1], [8, 9], [8, 9]]
    assert found["completion_ids"].tolist() == [[5, 6], [5, 6], [3, 0], [4, 0]]
    assert found["completion_mask"].tolist() == [[1, 1], [1, 1], [1, 0], [1, 0]]
    assert found["advantages"].tolist() == [0.0, 0.0, 1.0, 1.0]
    assert old["prompt_ids"].tolist() == [[1], [1], [2], [2]]
