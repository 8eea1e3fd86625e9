"""DPO: pairing, the loss, learning, repeatability, and going on after a kill."""

from __future__ import annotations

import dataclasses
import os
import signal
from pathlib import Path

import numpy as np
import pytest
from pfh.errors import StepFailedError, UserError
from pfh.hooks.backends import Sampling
from pfh.hooks.checkpoint import Checkpoint
from pfh.hooks.domains import Problem, Rollout, Verdict
from pfh.hooks.methods import TrainingSpec
from pfh.kit.preferences import check_pairs
from pfh.kit.training import COMPLETE, load_for_training, trainer_arguments
from pfh.registry.options import fill
from pfh_methods import dpo
from transformers import TrainerCallback

from tests.confined import forked

SMALL = {
    "lora_rank": 4,
    "lora_alpha": 8,
    "learning_rate": 1e-2,
    "batch_size": 4,
    "samples": 2,
    "max_length": 64,
    "gradient_accumulation": 1,
    "gradient_checkpointing": False,
    "schedule": "linear",
    "warmup": 0.1,
}


def problem(number: int) -> Problem:
    chat = ({"role": "user", "content": f"Name {number}."},)
    return Problem(id=f"p{number}", environment="toy", answer="b", messages=chat)


def rollout(number: int, index: int, completion: str, reward: float) -> Rollout:
    return Rollout(
        problem=problem(number),
        index=index,
        completion=completion,
        tokens=1,
        truncated=False,
        verdict=Verdict(reward=reward, extracted=completion),
    )


ROLLOUTS = tuple(
    rollout(number, index, completion, reward)
    for number in range(12)
    for index, (completion, reward) in enumerate([(f"bee {number}", 1.0), (f"sea {number}", 0.0)])
)


class Domain:
    name, version, sampling = "toy", "1", Sampling()

    def verify(self, problem: Problem, completion: str) -> Verdict:
        return Verdict(reward=float(completion == problem.answer), extracted=completion)


def training_spec(model: Path, output_dir: Path, rollouts=ROLLOUTS, seed: int = 0, **options) -> TrainingSpec:
    return TrainingSpec(
        checkpoint=Checkpoint(name="tiny", path=model, fingerprint="tiny"),
        domain=Domain(),
        problems=[problem(number) for number in range(12)],
        rollouts=lambda samples: rollouts,
        seed=seed,
        output_dir=output_dir,
        options=dpo.Options(**SMALL | options),
    )


def weights(folder: Path) -> dict[str, np.ndarray]:
    from safetensors.numpy import load_file

    (file,) = folder.glob("*.safetensors")
    return load_file(file)


def same(left: dict[str, np.ndarray], right: dict[str, np.ndarray]) -> bool:
    return left.keys() == right.keys() and all(np.array_equal(left[name], right[name]) for name in left)


def test_pairs_join_right_and_wrong_texts_of_one_prompt_without_repeats():
    drawn = [
        rollout(0, 0, "b", 1.0),
        rollout(0, 1, "b", 1.0),
        rollout(0, 2, "c", 0.0),
        rollout(0, 3, "d", 0.5),
        rollout(1, 0, "b", 1.0),
        rollout(2, 0, "c", 0.0),
        rollout(2, 1, "d", 0.0),
        rollout(3, 0, "b", 1.0),
        rollout(3, 1, "b", 0.0),
    ]
    pairing = dpo.pair(drawn, pairs_per_prompt=9, seed=0)
    assert {(pair.problem.id, pair.chosen, pair.rejected) for pair in pairing.pairs} == {
        ("p0", "b", "c"),
        ("p0", "b", "d"),
    }
    assert len(pairing.pairs) == 2
    assert (pairing.prompts, pairing.paired, pairing.all_right, pairing.all_wrong) == (4, 1, 2, 1)
    assert pairing.figures["share_without_a_pair"] == 0.75
    assert len(dpo.pair(drawn, pairs_per_prompt=1, seed=0).pairs) == 1


def test_what_the_length_limit_cut_is_never_chosen_and_gets_no_end(tiny_llama_path, tmp_path):
    cut = [
        dataclasses.replace(rollout(0, index, text, reward), truncated=True)
        for index, text, reward in ((0, "b and so on", 1.0), (1, "so first we", 0.0))
    ]
    assert dpo.pair(cut, 2, seed=0).pairs == ()
    (pair,) = dpo.pair([*cut, rollout(0, 2, "b", 1.0), rollout(0, 3, " ", 0.0)], 2, seed=0).pairs
    assert (pair.chosen, pair.rejected, pair.rejected_cut) == ("b", "so first we", True)
    options = dpo.Options(**SMALL)
    arguments = trainer_arguments(options, output_dir=tmp_path, seed=0, batch_size=1, gradient_accumulation=1)
    trainer = dpo.dpo_trainer(Checkpoint(name="m", path=tiny_llama_path, fingerprint="m"), [pair], options, arguments)
    read = trainer.processing_class.decode
    (row,) = trainer.train_dataset
    assert read(row["prompt_ids"]) == "<|im_start|>user\nName 0.<|im_end|>\n<|im_start|>assistant\n"
    assert (read(row["chosen_ids"]), read(row["rejected_ids"])) == ("b<|im_end|>", "so first we")


@pytest.mark.parametrize(
    ("chosen", "rejected", "said"), [(" ", "c", "an empty chosen completion"), ("c", "c", "the same chosen and")]
)
def test_pairs_that_teach_nothing_are_refused(chosen, rejected, said):
    pairs = [
        dpo.Pair(problem=problem(1), chosen="b", rejected="c"),
        dpo.Pair(problem=problem(2), chosen=chosen, rejected=rejected),
    ]
    with pytest.raises(UserError, match=rf"1 of 2 preference pairs have {said}.*\(p2\)"):
        check_pairs(pairs)


def test_ground_truth_stands_in_only_where_no_rollout_is_right():
    drawn = [rollout(0, 0, "b", 1.0), rollout(0, 1, "c", 0.0), rollout(1, 0, "c", 0.0), rollout(1, 1, "d", 0.0)]
    pairing = dpo.pair(drawn, 9, seed=0, truths={"p0": "gold", "p1": "gold"})
    assert {(pair.problem.id, pair.chosen, pair.rejected) for pair in pairing.pairs} == {
        ("p0", "b", "c"),
        ("p1", "gold", "c"),
        ("p1", "gold", "d"),
    }
    assert (pairing.paired, pairing.all_wrong, pairing.with_truth) == (2, 0, 1)
    assert "In 1 prompts the chosen completion is the ground truth." in pairing.summary


def test_a_domain_that_is_too_hard_is_trained_on_with_its_ground_truth(tiny_llama_path, tmp_path):
    wrong = tuple(rollout(number, index, f"c{index}", 0.0) for number in range(3) for index in range(2))
    result = dpo.train(training_spec(tiny_llama_path, tmp_path, wrong, ground_truth=True))
    assert "In 3 prompts the chosen completion is the ground truth." in result.notes[0]
    assert result.phases[-1].notes["share_with_ground_truth"] == 1


def test_the_choice_of_pairs_depends_on_the_seed_and_not_on_the_order_of_rollouts():
    drawn = [rollout(number, index, f"{index}", float(index < 4)) for number in range(6) for index in range(8)]
    chosen = dpo.pair(drawn, 2, seed=1).pairs
    assert dpo.pair(drawn, 2, seed=1).pairs == chosen
    assert dpo.pair(drawn[::-1], 2, seed=1).pairs[::-1] != dpo.pair(drawn, 2, seed=2).pairs
    by_prompt = {pair.problem.id: set() for pair in chosen}
    for pair in dpo.pair(drawn[::-1], 2, seed=1).pairs:
        by_prompt[pair.problem.id].add((pair.chosen, pair.rejected))
    assert all((pair.chosen, pair.rejected) in by_prompt[pair.problem.id] for pair in chosen)
    assert dpo.pair(drawn, 2, seed=2).pairs != chosen


def test_no_pair_at_all_says_why_and_what_to_change(tiny_llama_path, tmp_path):
    wrong = tuple(rollout(number, 0, "c", 0.0) for number in range(3))
    with pytest.raises(StepFailedError, match=r"3 \(100%\) gave none: 0 were answered right every time, 3 never.*kept"):
        dpo.train(training_spec(tiny_llama_path, tmp_path, wrong))


def test_it_learns_and_the_ledger_counts(tiny_llama_path, tmp_path):
    result = dpo.train(training_spec(tiny_llama_path, tmp_path, epochs=3))
    first, last = result.curves[0], result.curves[-1]
    assert first["loss"] == pytest.approx(np.log(2), abs=1e-4)
    assert last["loss"] < first["loss"] - 0.1
    assert last["rewards/margins"] > first["rewards/margins"] + 0.1
    (phase,) = result.phases
    assert (phase.updates, phase.samples) == (9, 36)
    assert phase.tokens > 36 * 2
    assert phase.seconds > 0
    assert phase.notes["effective_prompts"] == 12
    assert [row["step"] for row in result.curves] == list(range(1, 10))
    assert (result.path / "adapter_config.json").exists()
    assert result.notes[0].startswith("12 of 12 prompts gave 12 preference pairs")


@pytest.mark.parametrize("adapter", ["lora", "full"])
def test_one_seed_gives_one_result(adapter, tiny_llama_path, tmp_path):
    runs = [
        dpo.train(training_spec(tiny_llama_path, tmp_path / name, adapter=adapter, learning_rate=1e-3))
        for name in ("first", "second")
    ]
    assert same(weights(runs[0].path), weights(runs[1].path))
    assert runs[0].curves == runs[1].curves
    other = dpo.train(training_spec(tiny_llama_path, tmp_path / "other", adapter=adapter, learning_rate=1e-3, seed=1))
    assert not same(weights(runs[0].path), weights(other.path))


def test_full_fine_tuning_leaves_a_checkpoint_that_loads(tiny_llama_path, tmp_path):
    result = dpo.train(training_spec(tiny_llama_path, tmp_path, adapter="full", learning_rate=1e-3))
    model, tokenizer = load_for_training(Checkpoint(name="tuned", path=result.path, fingerprint="x"))
    assert tokenizer.chat_template
    assert not same(weights(result.path), weights(tiny_llama_path))
    assert not (result.path / "adapter_config.json").exists()
    assert model.num_parameters() > 0


def test_the_loss_is_that_of_the_paper(tiny_llama_path, tmp_path):
    """Equation 7 of arXiv 2305.18290, computed with numpy from the logits of the policy and the reference."""
    import torch

    spec = training_spec(tiny_llama_path, tmp_path, beta=0.3)
    pairs = dpo.pair(ROLLOUTS, 1, 0).pairs[:3]
    arguments = trainer_arguments(spec.options, output_dir=tmp_path, seed=0, batch_size=3, gradient_accumulation=1)
    trainer = dpo.dpo_trainer(spec.checkpoint, pairs, spec.options, arguments)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(7)
        for name, parameter in trainer.model.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(parameter, std=0.2)
    batch = next(iter(trainer.get_train_dataloader()))
    with torch.no_grad():
        loss = trainer.compute_loss(trainer.model, batch).item()

    def logprob(model, prompt: str, completion: str) -> float:
        whole = trainer.processing_class(prompt + completion, add_special_tokens=False)["input_ids"]
        start = len(trainer.processing_class(prompt, add_special_tokens=False)["input_ids"])
        with torch.no_grad():
            logits = model(torch.tensor([whole])).logits[0].double().numpy()
        logits -= logits.max(axis=-1, keepdims=True)
        logps = logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))
        return sum(logps[place - 1, whole[place]] for place in range(start, len(whole)))

    reference, _ = load_for_training(spec.checkpoint)
    losses = []
    for pair in pairs:
        prompt = f"<|im_start|>user\n{pair.problem.messages[0]['content']}<|im_end|>\n<|im_start|>assistant\n"
        ratio = {}
        for side in ("chosen", "rejected"):
            completion = f"{getattr(pair, side)}<|im_end|>"
            ratio[side] = logprob(trainer.model, prompt, completion) - logprob(reference, prompt, completion)
        losses.append(np.log1p(np.exp(-0.3 * (ratio["chosen"] - ratio["rejected"]))))
    assert loss == pytest.approx(np.mean(losses), abs=1e-5)
    assert loss != pytest.approx(np.log(2), abs=1e-3)


def test_full_fine_tuning_that_is_interrupted_ends_with_the_same_weights(tiny_llama_path, tmp_path, monkeypatch):
    from transformers import TrainerCallback

    class Interrupt(TrainerCallback):
        def on_step_begin(self, args, state, control, **_):
            if state.global_step == 3:
                raise KeyboardInterrupt

    build = dpo.dpo_trainer

    def build_and_interrupt(*arguments):
        trainer = build(*arguments)
        trainer.add_callback(Interrupt())
        return trainer

    options = {"epochs": 2, "save_steps": 2, "adapter": "full", "learning_rate": 1e-3}
    whole = dpo.train(training_spec(tiny_llama_path, tmp_path / "whole", **options))
    with monkeypatch.context() as patch:
        patch.setattr(dpo, "dpo_trainer", build_and_interrupt)
        with pytest.raises(KeyboardInterrupt):
            dpo.train(training_spec(tiny_llama_path, tmp_path / "cut", **options))
    resumed = dpo.train(training_spec(tiny_llama_path, tmp_path / "cut", **options))
    assert same(weights(resumed.path), weights(whole.path))
    assert resumed.curves == whole.curves


def test_a_training_killed_after_a_checkpoint_ends_with_the_same_weights(tiny_llama_path, tmp_path):
    options = {"epochs": 2, "save_steps": 2, "learning_rate": 1e-3}
    whole = dpo.train(training_spec(tiny_llama_path, tmp_path / "whole", **options))

    class Kill(TrainerCallback):
        def on_step_begin(self, args, state, control, **_):
            if state.global_step == 3:
                os.kill(os.getpid(), signal.SIGKILL)

    build = dpo.dpo_trainer

    def build_and_kill(*arguments):
        trainer = build(*arguments)
        trainer.add_callback(Kill())
        return trainer

    def train_and_die():
        dpo.dpo_trainer = build_and_kill  # in a fork of this process
        dpo.train(training_spec(tiny_llama_path, tmp_path / "killed", **options))
        return 0

    killed = forked(train_and_die, seconds=300, memory=64 << 30)
    assert killed.code == -signal.SIGKILL, killed.stderr
    assert (tmp_path / "killed" / "trainer" / "checkpoint-2" / COMPLETE).exists()
    resumed = dpo.train(training_spec(tiny_llama_path, tmp_path / "killed", **options))
    assert same(weights(resumed.path), weights(whole.path))
    assert resumed.curves == whole.curves
    assert resumed.phases[0].updates == whole.phases[0].updates + 1
    assert resumed.phases[0].notes["attempts"] == 2


def test_options_are_checked():
    assert fill(dpo.Options, {"beta": "0.2"}, "methods:dpo").beta == 0.2
    with pytest.raises(UserError, match=r"bata.*Did you mean 'beta'"):
        fill(dpo.Options, {"bata": "0.1"}, "methods:dpo")
    for bad in ({"beta": "high"}, {"beta": "0"}, {"adapter": "lor"}, {"samples": "1"}):
        with pytest.raises(UserError, match=next(iter(bad))):
            fill(dpo.Options, bad, "methods:dpo")
    assert all(field.description for field in dpo.Options.model_fields.values())
