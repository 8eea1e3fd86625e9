"""Replay, a divergence from the start and L2-SP beside any method's loss, against computations of their own."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from pfh.errors import UserError
from pfh.hooks.budget import Account, Budget
from pfh.hooks.checkpoint import Checkpoint
from pfh.hooks.methods import TrainingSpec
from pfh.kit.supervised import Example, sft_trainer, supervised_row
from pfh.kit.tokens.taught import end_of_turn, end_tokens
from pfh.kit.training import trainer_arguments
from pfh.kit.training.general import GeneralAnswer, GeneralAnswers, encoded
from pfh.kit.training.held_near import Near, _divergence, _start_of, _surprise, attach, rows_of
from pfh.kit.training.pull import lora_matrices, pull_adapter
from pfh.registry.plugins import Plugins

from tests.letters import Letters, problems, weights
from tests.test_every_method import SMALL, half_right

ROW = ([5, 9, 30, 31, 32, 2], 3)
OTHER = ([7, 8, 40, 41, 2], 2)


def spec_of(path: Path, output_dir: Path, method: str = "gt-sft", **options: str) -> TrainingSpec:
    filled = {name: str(value) for name, value in (SMALL | options).items()}
    return TrainingSpec(
        checkpoint=Checkpoint(name="start", path=path, fingerprint="start"),
        domain=Letters(),
        problems=problems(16),
        rollouts=half_right,
        seed=0,
        output_dir=output_dir,
        options=Plugins().options("methods", method, filled),
    )


def near_of(spec: TrainingSpec, *answers: str) -> Near:
    rows = tuple(GeneralAnswer(messages=({"role": "user", "content": text},), answer=text) for text in answers)
    general = GeneralAnswers(answers=rows, told="rows")
    return Near(
        spec=spec,
        replay=general if spec.options.replay else None,
        compare=general if spec.options.kl_start else None,
        examples=8,
    )


def test_every_row_comes_in_its_turn_whatever_update_training_goes_on_from():
    rows = [([number], 0) for number in range(5)]
    one_round = [row for update in range(5) for row in rows_of(rows, 2, update, "seed")]
    assert sorted(ids[0] for ids, _ in one_round) == sorted([*range(5), *range(5)])
    assert rows_of(rows, 2, 3, "seed") == one_round[6:8]


def trainer_for(spec: TrainingSpec, count: int = 8):
    examples = [Example(problem=problem, completion="ab") for problem in spec.problems[:count]]
    arguments = trainer_arguments(
        spec.options, output_dir=spec.output_dir, seed=0, batch_size=4, gradient_accumulation=2
    )
    return sft_trainer(spec.checkpoint, examples, spec.options, arguments)


def test_the_gradient_of_an_update_is_that_of_both_losses(tiny_llama_path, tmp_path):
    from transformers import AutoModelForCausalLM, TrainerCallback

    options = {"adapter": "full", "replay": "builtin", "replay_share": "0.2", "max_steps": "1", "max_grad_norm": "1e9"}
    spec = spec_of(tiny_llama_path, tmp_path, **options)
    trainer, near = trainer_for(spec), near_of(spec, "One.", "Two and three.", "Four")
    attach(trainer, near)
    found: dict[str, torch.Tensor] = {}

    class Keep(TrainerCallback):
        def on_pre_optimizer_step(self, args, state, control, model, **_):
            found.update({name: each.grad.clone() for name, each in model.named_parameters() if each.grad is not None})

    trainer.add_callback(Keep())
    end = end_of_turn(trainer.processing_class, end_tokens(trainer.model, trainer.processing_class))
    taught = [Example(problem=problem, completion="ab") for problem in spec.problems[:8]]
    rows = [supervised_row(trainer.processing_class, example, end) for example in taught]
    own = [(row["input_ids"], row["completion_mask"].index(1)) for row in rows]
    rehearsed = rows_of(encoded(trainer.processing_class, near.replay.answers, end, 256), 2, 0, "0/replay_loss")
    model = AutoModelForCausalLM.from_pretrained(tiny_llama_path, dtype=torch.float32)

    def nll(rows):
        losses = []
        for ids, prompt in rows:
            logprobs = torch.log_softmax(model(torch.tensor([ids])).logits[0].float(), dim=-1)
            losses += [-logprobs[place - 1, ids[place]] for place in range(prompt, len(ids))]
        return torch.stack(losses).mean()

    (nll(own) + 0.2 / 0.8 * nll(rehearsed)).backward()
    trainer.train()
    assert near.notes[0].startswith("Every update rehearsed 2 general rows beside 8 of the method's own examples")
    for name, parameter in model.named_parameters():
        np.testing.assert_allclose(found[name], parameter.grad, atol=2e-5, err_msg=name)


def test_the_divergence_is_that_of_the_two_models_in_both_directions(tiny_llama_path, tmp_path):
    spec = spec_of(tiny_llama_path, tmp_path, kl_start="1")
    trainer = trainer_for(spec)
    with torch.no_grad():
        for name, parameter in trainer.model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.05)
    trainer.model.eval()
    teacher = torch.nn.Linear(1, 1)
    trainer.pfh_beside = (teacher,)
    beside, second = _start_of(trainer, spec), _start_of(trainer, dataclasses.replace(spec, origin=_other(spec)))
    assert trainer.pfh_beside[0] is teacher
    assert len(trainer.pfh_beside) == 2  # the passes of both count
    expected = {True: 0.0, False: 0.0}
    with torch.no_grad():
        for ids, prompt in (ROW, OTHER):
            tokens = torch.tensor([ids])
            after = torch.log_softmax(trainer.model(tokens).logits[0].double(), -1).numpy()
            with trainer.model.disable_adapter():
                before = torch.log_softmax(trainer.model(tokens).logits[0].double(), -1).numpy()
            for place in range(prompt - 1, len(ids) - 1):
                p, q = after[place], before[place]
                expected[False] += float((np.exp(p) * (p - q)).sum())
                expected[True] += float((np.exp(q) * (q - p)).sum())
    for forward in (True, False):
        for start in (beside, second):
            found = _divergence(trainer.model, start, [ROW, OTHER], forward=forward)
            assert float(found) == pytest.approx(expected[forward], rel=1e-3)
    assert expected[True] > 0
    assert float(_surprise(trainer.model, [ROW])) > 0


def _other(spec: TrainingSpec) -> Checkpoint:
    return dataclasses.replace(spec.checkpoint, fingerprint="the same weights under another name")


def test_the_pull_of_an_adapter_is_the_gradient_of_the_norm_of_its_product():
    drawn = torch.Generator().manual_seed(0)
    first, second = (torch.randn(shape, generator=drawn).requires_grad_() for shape in ((3, 7), (5, 3)))
    scale = 0.6
    penalty = (scale * second @ first).square().sum() / 2
    gram = scale**2 * torch.trace((second.T @ second) @ (first @ first.T)) / 2
    assert float(penalty) == pytest.approx(float(gram), rel=1e-5)
    penalty.backward()
    moved_first, moved_second = first.detach().clone(), second.detach().clone()
    pull_adapter(moved_first, moved_second, scale, 0.1)
    np.testing.assert_allclose(moved_first, first.detach() - 0.1 * first.grad, atol=1e-5)
    np.testing.assert_allclose(moved_second, second.detach() - 0.1 * second.grad, atol=1e-5)


def test_after_a_step_every_weight_goes_its_share_back_to_where_it_began(tiny_llama_path, tmp_path):
    plugins = Plugins()

    def trained(**options: str):
        spec = spec_of(tiny_llama_path, tmp_path / str(options.get("l2_sp")), adapter="full", max_steps="1", **options)
        return weights(plugins.train("gt-sft", spec).path)

    free, pulled, began = trained(), trained(l2_sp="5"), weights(tiny_llama_path)
    moved = 0.0
    for name, value in free.items():
        rate = SMALL["learning_rate"]
        np.testing.assert_allclose(pulled[name], value - rate * 5 * (value - began[name]), atol=1e-6)
        moved = max(moved, float(np.abs(value - began[name]).max()))
    assert moved > 1e-3


@pytest.mark.parametrize("method", ["gt-sft", "dpo", "grpo"])
def test_any_method_is_held_near_and_its_ledger_counts_the_rows(method, tiny_llama_path, tmp_path):
    more = {"generations": "4"} if method == "grpo" else {}
    held = {"replay": "refusals", "kl_start": "0.5", "l2_sp": "0.1", "general_rows": "6", "answer_length": "8"}
    spec = spec_of(tiny_llama_path, tmp_path, method, **held, **more)
    result = Plugins().train(method, spec)
    phase = result.phases[-1]
    assert phase.updates == 2
    assert phase.samples == 2 * (8 + 1 + 1)
    assert phase.notes["general_rows"] == 4
    assert [set(row) >= {"replay_loss", "kl_to_start"} for row in result.curves] == [True, True]
    first, second = result.curves
    assert first["kl_to_start"] == pytest.approx(0, abs=1e-6)
    assert second["kl_to_start"] > 0
    assert first["replay_loss"] > 0
    assert (tmp_path / "held_near.json").exists()


def test_a_budget_of_samples_counts_what_is_rehearsed(tiny_llama_path, tmp_path):
    spec = spec_of(tiny_llama_path, tmp_path, replay="refusals", replay_share="0.5", max_steps="100")
    spec = dataclasses.replace(spec, account=Account(Budget(amount=33, unit="samples")))
    phase = Plugins().train("gt-sft", spec).phases[-1]
    assert (phase.updates, phase.samples) == (2, 32)


def test_what_cannot_be_rehearsed_is_told_before_anything_is_trained(tiny_llama_path, tmp_path):
    with pytest.raises(UserError, match="no answers to rehearse"):
        Plugins().train("gt-sft", spec_of(tiny_llama_path, tmp_path, replay="builtin"))
    with pytest.raises(UserError, match="names no rows"):
        Plugins().train("gt-sft", spec_of(tiny_llama_path, tmp_path, replay="nothing"))
    with pytest.raises(UserError, match="replay_share"):
        Plugins().options("methods", "gt-sft", {"replay_share": "1"})
    with pytest.raises(UserError, match="DoRA"):
        Plugins().options("methods", "gt-sft", {"l2_sp": "0.1", "lora_variant": "dora"})
    with pytest.raises(UserError, match="begins anew"):
        Plugins().options("methods", "spin", {"kl_start": "0.1"})


def test_the_adapter_of_a_model_is_found_layer_by_layer(tiny_llama_path, tmp_path):
    trainer = trainer_for(spec_of(tiny_llama_path, tmp_path))
    found = list(lora_matrices(trainer.model))
    assert len(found) == 14
    assert {first.shape[0] for first, _, _ in found} == {4}
    assert {scale for _, _, scale in found} == {32 / 4}


def test_the_contamination_check_reads_what_is_rehearsed_and_compared():
    from pfh.commands.run import _general_problems
    from pfh.hooks.launchers import RunSpec
    from pfh.kit.rows import read_rows
    from pfh.progress import Silent
    from pfh.sources.datasets import HubData
    from pfh.steps.session import Session

    plugins = Plugins()
    options = plugins.options("methods", "gt-sft", {"replay": "refusals", "kl_start": "0.1", "general_rows": "9"})
    session = Session(plugins=plugins, store=None, progress=Silent())
    found = list(_general_problems(RunSpec(methods=("gt-sft",)), {"methods:gt-sft": options}, session))
    rows = [*read_rows("refusals", HubData(), 9, 0).rows, *read_rows("builtin", HubData(), 9, 0).rows]
    assert [problem.id for problem in found] == [row.problem.id for row in rows]
