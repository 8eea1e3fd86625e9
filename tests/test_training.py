"""What methods trained with TRL share: loading, checkpoints, memory that runs out, losses that are not finite."""

from __future__ import annotations

import dataclasses
import errno
import math
from pathlib import Path

import pytest
import torch
from pfh.errors import StepFailedError, UserError
from pfh.hooks.checkpoint import Checkpoint
from pfh.kit.training import (
    COMPLETE,
    TrainingOptions,
    last_complete_checkpoint,
    load_for_training,
    lora_config,
    save_trained,
    train_resumably,
)
from pfh.progress import Silent
from pfh.testing import training_spec

from tests.tiny import tiny_adapter, tiny_llama

EXAMPLES = 8


class Log(Silent):
    def __init__(self):
        self.lines = []

    def say(self, line):
        self.lines.append(line)


def trainer_for(model_path: Path, options: TrainingOptions):
    """Return a builder of SFT trainers, and the list of (batch size, accumulation) that it was called with."""
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    calls = []
    rows = [
        {
            "prompt": [{"role": "user", "content": f"Say {number}."}],
            "completion": [{"role": "assistant", "content": f"{number} it is"}],
        }
        for number in range(EXAMPLES)
    ]

    def build(arguments):
        calls.append((arguments["per_device_train_batch_size"], arguments["gradient_accumulation_steps"]))
        model, tokenizer = load_for_training(Checkpoint(name="tiny", path=model_path, fingerprint="x"))
        return SFTTrainer(
            model=model,
            args=SFTConfig(**arguments, max_length=options.max_length),
            train_dataset=Dataset.from_list(rows),
            processing_class=tokenizer,
            peft_config=lora_config(options),
        )

    return build, calls


def stage(output_dir: Path, options: TrainingOptions, **fields):
    return dataclasses.replace(training_spec(output_dir, options=options), **fields)


def run(model_path: Path, output_dir: Path, spoil=None, progress=None, **changes):
    options = TrainingOptions(**{"batch_size": 4, "lora_rank": 4, "lora_alpha": 8, "learning_rate": 1e-2} | changes)
    build, calls = trainer_for(model_path, options)

    def build_spoiled(arguments):
        trainer = build(arguments)
        if spoil:
            spoil(trainer)
        return trainer

    return train_resumably(stage(output_dir, options, progress=progress or Silent()), build_spoiled, folder=""), calls


def raise_at(step: int, error: Exception, when=lambda trainer: True):
    """Spoil a trainer: its training step raises `error` at update `step`."""

    def spoil(trainer):
        inner = trainer.training_step

        def training_step(*arguments, **named):
            if trainer.state.global_step == step and when(trainer):
                raise error
            return inner(*arguments, **named)

        trainer.training_step = training_step

    return spoil


def adapter_of(trained) -> dict[str, torch.Tensor]:
    return {name: value for name, value in trained.trainer.model.state_dict().items() if "lora_" in name}


def same(left, right) -> bool:
    return left.keys() == right.keys() and all(torch.equal(left[name], right[name]) for name in left)


def test_an_adapter_is_merged_on_loading(tiny_llama_path, tmp_path):
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    adapter = tiny_adapter(tiny_llama_path, tmp_path / "adapter")
    start = Checkpoint(name="tiny+x", path=tiny_llama_path, fingerprint="x", adapter=adapter)
    merged, _ = load_for_training(start)
    with_adapter = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(tiny_llama_path), adapter)
    ids = torch.tensor([[1, 50, 60, 70]])
    with torch.no_grad():
        assert torch.allclose(merged(ids).logits, with_adapter(ids).logits, atol=1e-5)
        with with_adapter.disable_adapter():
            assert not torch.allclose(merged(ids).logits, with_adapter(ids).logits, atol=1e-2)
    assert not isinstance(merged, PeftModel)
    assert {parameter.dtype for parameter in merged.parameters()} == {torch.float32}


def test_a_tokenizer_without_template_or_padding_gets_both(tmp_path):
    from pfh.kit.tokens.chat_templates import PLAIN_TEMPLATE

    path = tiny_llama(tmp_path / "base", chat_template=None)
    _, tokenizer = load_for_training(Checkpoint(name="base", path=path, fingerprint="x"))
    assert tokenizer.chat_template == PLAIN_TEMPLATE
    assert tokenizer.pad_token is not None


def test_only_checkpoints_written_to_their_end_count(tmp_path):
    assert last_complete_checkpoint(tmp_path / "nowhere") is None
    for step in (5, 10, 100):
        (tmp_path / f"checkpoint-{step}").mkdir()
    assert last_complete_checkpoint(tmp_path) is None
    for step in (5, 10):
        (tmp_path / f"checkpoint-{step}" / COMPLETE).touch()
    assert last_complete_checkpoint(tmp_path) == tmp_path / "checkpoint-10"


def test_a_half_written_checkpoint_is_ignored_and_replaced(tiny_llama_path, tmp_path):
    whole, _ = run(tiny_llama_path, tmp_path / "whole", epochs=2, save_steps=2)
    with pytest.raises(KeyboardInterrupt):
        run(tiny_llama_path, tmp_path / "cut", raise_at(3, KeyboardInterrupt()), epochs=2, save_steps=1)
    (tmp_path / "cut" / "checkpoint-3" / COMPLETE).unlink()
    (tmp_path / "cut" / "checkpoint-3" / "adapter_model.safetensors").write_bytes(b"half")
    log = Log()
    resumed, _ = run(tiny_llama_path, tmp_path / "cut", progress=log, epochs=2, save_steps=1)
    assert log.lines == ["training goes on from update 2"]
    assert same(adapter_of(resumed), adapter_of(whole))
    assert resumed.curves == whole.curves
    assert (resumed.phase.updates, whole.phase.updates) == (5, 4)
    assert (resumed.phase.samples, whole.phase.samples) == (20, 16)


def test_a_finished_training_is_not_repeated(tiny_llama_path, tmp_path):
    first, _ = run(tiny_llama_path, tmp_path, max_steps=3, save_steps=2)
    again, _ = run(tiny_llama_path, tmp_path, raise_at(3, AssertionError("trained on")), max_steps=3, save_steps=2)
    assert same(adapter_of(again), adapter_of(first))
    assert again.curves == first.curves
    assert again.phase.updates == first.phase.updates == 3


def test_when_memory_runs_out_the_batch_is_halved_and_the_update_stays_the_same(tiny_llama_path, tmp_path):
    log = Log()
    spoil = raise_at(1, torch.OutOfMemoryError("out of memory"), lambda trainer: trainer.args.train_batch_size > 2)
    trained, calls = run(tiny_llama_path, tmp_path, spoil, log, epochs=2, save_steps=1)
    assert calls == [(4, 1), (2, 2)]
    assert trained.trainer.state.global_step == 4
    assert log.lines[0].startswith("out of memory: training goes on with batch_size=2 and gradient_accumulation=2")
    assert log.lines[1] == "training goes on from update 1"
    assert trained.phase.notes["batch_size"] == 2
    _, later = run(tiny_llama_path, tmp_path, epochs=2, save_steps=1)
    assert later == [(2, 2)]


def test_one_example_that_is_too_large_says_what_to_change(tiny_llama_path, tmp_path):
    spoil = raise_at(0, RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried 1e12 bytes"))
    with pytest.raises(StepFailedError, match="single example: lower max_length"):
        run(tiny_llama_path, tmp_path, spoil, batch_size=1)


def test_a_loss_that_is_not_finite_is_a_clear_error_and_saves_nothing(tiny_llama_path, tmp_path):
    def spoil(trainer):
        inner = trainer.training_step
        trainer.training_step = lambda *a, **k: inner(*a, **k) * (math.nan if trainer.state.global_step == 2 else 1)

    with pytest.raises(StepFailedError, match=r"broke off at update 3 of 4: the loss is nan. Lower learning_rate"):
        run(tiny_llama_path, tmp_path, spoil, epochs=2, save_steps=1)
    assert last_complete_checkpoint(tmp_path) == tmp_path / "checkpoint-2"


def test_a_full_disk_is_a_clear_error_and_leaves_it_resumable(tiny_llama_path, tmp_path):
    with pytest.raises(StepFailedError, match=r"disk filled up.*run the same command again"):
        run(tiny_llama_path, tmp_path, raise_at(2, OSError(errno.ENOSPC, "No space left")), epochs=2, save_steps=1)
    trained, _ = run(tiny_llama_path, tmp_path, epochs=2, save_steps=1)
    assert trained.trainer.state.global_step == 4


def test_other_errors_are_not_hidden(tiny_llama_path, tmp_path):
    with pytest.raises(RuntimeError, match="shapes do not match"):
        run(tiny_llama_path, tmp_path, raise_at(0, RuntimeError("shapes do not match")))


def test_what_is_saved_is_safetensors_and_complete(tiny_llama_path, tmp_path):
    adapter = save_trained(run(tiny_llama_path, tmp_path / "a")[0].trainer, tmp_path / "adapter")
    assert {file.name for file in adapter.iterdir()} >= {"adapter_config.json", "adapter_model.safetensors"}
    full = save_trained(run(tiny_llama_path, tmp_path / "f", adapter="full")[0].trainer, tmp_path / "full")
    names = {file.name for file in full.iterdir()}
    assert names >= {"config.json", "model.safetensors", "tokenizer.json", "chat_template.jinja"}
    assert not [name for folder in (adapter, full) for name in folder.rglob("*.bin")]


def test_lora_targets_choose_the_layers_and_unknown_ones_are_refused(tiny_llama_path):
    model, _ = load_for_training(Checkpoint(name="tiny", path=tiny_llama_path, fingerprint="x"))
    options = TrainingOptions(lora_targets=("q_proj", "v_proj"))
    assert lora_config(options, model).target_modules == {"q_proj", "v_proj"}
    assert lora_config(TrainingOptions(), model).target_modules == "all-linear"
    with pytest.raises(UserError, match=r"'k_prj', which is no linear .*\(llama\).*mean 'k_proj'.*has down_proj, gate"):
        lora_config(TrainingOptions(lora_targets=("q_proj", "k_prj")), model)
    with pytest.raises(UserError, match="'lm_head', which is no linear layer"):
        lora_config(TrainingOptions(lora_targets=("lm_head",)), model)
    with pytest.raises(UserError, match="all-linear alone or names"):
        lora_config(TrainingOptions(lora_targets=("all-linear", "q_proj")), model)
    assert lora_config(TrainingOptions(lora_targets=("k_prj",), adapter="full"), model) is None
