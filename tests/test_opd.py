"""On-policy distillation: the loss against NumPy, and teachers that cannot be compared with."""

from __future__ import annotations

import dataclasses
import importlib
import json

import numpy as np
import pytest
import torch
from pfh.errors import UserError
from pfh.hooks.checkpoint import Checkpoint, Endpoint
from pfh.registry.plugins import Plugins
from pfh_methods import opd
from pfh_methods.online import online_arguments, own_chat, set_up_online
from pfh_methods.tally import Tally
from transformers import AutoModelForCausalLM

from tests.letters import arguments_of, rows_of, training_spec
from tests.test_privileged import logps_over_vocabulary
from tests.tiny import tiny_llama


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    folder = tiny_llama(tmp_path_factory.mktemp("teacher"), seed=1, num_hidden_layers=3)
    return Checkpoint(name="teacher", path=folder, fingerprint="teacher")


def spec_of(model_path, folder, teacher, **options):
    named = {"teacher": str(teacher.path), "batch_size": 8, "generations": 2}
    return dataclasses.replace(training_spec(opd, model_path, folder, **(named | options)), teacher=teacher)


@pytest.mark.parametrize("direction", ["reverse", "forward"])
def test_the_loss_is_the_mean_divergence_from_the_teacher_over_the_students_tokens(
    direction, tiny_llama_path, tmp_path, teacher
):
    spec = spec_of(tiny_llama_path, tmp_path, teacher, divergence=direction, temperature=0.7)
    setup = set_up_online(spec, "opd", own_chat, Tally.read(tmp_path / "rollouts.json"))
    trainer = opd.opd_trainer(setup, online_arguments(setup, arguments_of(spec)))
    trainer.model.train()
    trainer.current_gradient_accumulation_steps = trainer.args.steps_per_generation
    batch = trainer._prepare_inputs(next(iter(trainer.get_train_dataloader())))
    other = AutoModelForCausalLM.from_pretrained(teacher.path, dtype=torch.float32)
    total = 0.0
    for prompt, completion in rows_of(batch):
        student = logps_over_vocabulary(trainer.model, prompt, completion)
        reading = logps_over_vocabulary(other, prompt, completion)
        p, q = (student, reading) if direction == "reverse" else (reading, student)
        total += float((np.exp(p) * (p - q)).sum())
    loss = trainer._compute_loss(trainer.model, batch)
    assert float(loss) == pytest.approx(total / float(batch["num_items_in_batch"]), rel=1e-3)
    loss.backward()
    assert any(part.grad is not None and part.grad.any() for part in trainer.model.parameters())


def test_the_student_comes_nearer_to_the_teacher(tiny_llama_path, tmp_path, teacher):
    result = opd.train(spec_of(tiny_llama_path, tmp_path, teacher, epochs=8.0, learning_rate=5e-2))
    apart = [row["kl_to_teacher"] for row in result.curves]
    assert np.mean(apart[-2:]) < np.mean(apart[:2])


@pytest.mark.parametrize("method", ["opd", "ppo", "pi_distill"])
def test_where_every_completion_is_cut_and_masked_no_figure_is_made_of_nothing(
    method, tiny_llama_path, tmp_path, teacher
):
    """Such as a mean of 0 / 0, which is no number and would be the figure of every later mean."""
    named = {"max_steps": 2, "overlong": "mask", "max_new_tokens": 1}
    if method == "opd":
        result = opd.train(spec_of(tiny_llama_path, tmp_path, teacher, **named))
    else:
        module = importlib.import_module(f"pfh_methods.{method}")
        result = module.train(training_spec(module, tiny_llama_path, tmp_path, generations=2, batch_size=8, **named))
    assert len(result.curves) == 2
    for row in result.curves:
        assert all(np.isfinite(value) for value in row.values())
        assert not row.keys() & {"kl", "kl_to_teacher", "value_loss"}


def test_a_teacher_of_other_tokens_is_refused(tiny_llama_path, tmp_path, teacher):
    other = tiny_llama(tmp_path / "other")
    described = json.loads((other / "tokenizer.json").read_text())
    tokens = described["model"]["vocab"]
    tokens["!"], tokens["#"] = tokens["#"], tokens["!"]
    (other / "tokenizer.json").write_text(json.dumps(described))
    stranger = Checkpoint(name="stranger", path=other, fingerprint="stranger")
    with pytest.raises(UserError, match="other tokens"):
        opd._teacher(spec_of(tiny_llama_path, tmp_path, stranger))
    endpoint = Endpoint(backend="openai", url="http://localhost", model="m")
    remote = dataclasses.replace(teacher, endpoint=endpoint)
    with pytest.raises(UserError, match="endpoint"):
        opd._teacher(spec_of(tiny_llama_path, tmp_path, remote))
    with pytest.raises(UserError, match="name the teacher"):
        Plugins().options("methods", "opd", {})
