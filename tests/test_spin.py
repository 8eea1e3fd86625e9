"""SPIN: its pairs, its loss, what its first iteration is, learning, repeatability, and going on after a kill."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from pfh.errors import StepFailedError, UserError
from pfh.hooks.backends import Sampling
from pfh.hooks.budget import Account, Budget
from pfh.hooks.checkpoint import Checkpoint
from pfh.hooks.domains import Problem, Rollout, Verdict
from pfh.hooks.methods import TrainingSpec
from pfh.kit.supervised import Example
from pfh.kit.training import load_for_training, save_trained, train_resumably, trainer_arguments
from pfh_methods import dpo, spin

START = Checkpoint(name="start", path=Path("start"), fingerprint="start")
SMALL = {
    "lora_rank": 4,
    "lora_alpha": 8,
    "learning_rate": 1e-3,
    "batch_size": 4,
    "max_length": 64,
    "epochs": 1,
    "gradient_accumulation": 1,
    "gradient_checkpointing": False,
    "schedule": "linear",
    "warmup": 0.1,
    "progression": "constant",
}


class Bees:
    """Every prompt is to be answered with "bee"."""

    name, version, sampling = "bees", "1", Sampling()

    def verify(self, problem: Problem, completion: str) -> Verdict:
        return Verdict(reward=float(completion == "bee"), extracted=completion)


PROBLEMS = tuple(
    Problem(id=f"p{n}", environment="bees", answer="bee", messages=({"role": "user", "content": f"Name {n}."},))
    for n in range(8)
)


def players(*answers: str):
    """Return a rollout source whose players, each a model it has not seen, give one answer after the other."""

    def draw(*, samples, sampling=None, checkpoint=None, problems=None, judged=True):
        if checkpoint.fingerprint not in draw.seen:
            draw.seen.append(checkpoint.fingerprint)
        text = answers[draw.seen.index(checkpoint.fingerprint)]
        return tuple(
            Rollout(
                problem=problem,
                index=0,
                completion=text.format(problem.id),
                tokens=1,
                truncated=False,
                verdict=Bees().verify(problem, text),
            )
            for problem in problems
        )

    draw.seen = []
    return draw


def spec_for(model: Path, output_dir: Path, rollouts, seed=0, **changes) -> TrainingSpec:
    return TrainingSpec(
        checkpoint=Checkpoint(name="start", path=model, fingerprint="start"),
        domain=Bees(),
        problems=PROBLEMS,
        rollouts=rollouts,
        seed=seed,
        output_dir=output_dir,
        options=spin.Options(**SMALL | changes),
    )


def weights(folder: Path) -> dict[str, np.ndarray]:
    from safetensors.numpy import load_file

    return load_file(folder / "model.safetensors")


def same(left: dict[str, np.ndarray], right: dict[str, np.ndarray]) -> bool:
    return left.keys() == right.keys() and all(np.array_equal(left[name], right[name]) for name in left)


def logprob(model, tokenizer, problem: Problem, completion: str) -> float:
    """Return the log-probability of the whole completion, by numpy from the model's logits."""
    import torch

    prompt = f"<|im_start|>user\n{problem.messages[0]['content']}<|im_end|>\n<|im_start|>assistant\n"
    whole = tokenizer(f"{prompt}{completion}<|im_end|>", add_special_tokens=False)["input_ids"]
    start = len(tokenizer(prompt, add_special_tokens=False)["input_ids"])
    with torch.no_grad():
        logits = model(torch.tensor([whole])).logits[0].double().numpy()
    logits -= logits.max(axis=-1, keepdims=True)
    logps = logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))
    return sum(logps[place - 1, whole[place]] for place in range(start, len(whole)))


def test_an_answer_that_is_the_ground_truth_gives_no_pair():
    examples = [Example(problem=problem, completion="bee") for problem in PROBLEMS[:3]]
    own = list(players("bee\n")(samples=1, checkpoint=START, problems=PROBLEMS))
    own[1] = dataclasses.replace(own[1], completion="wasp")
    assert spin.self_play(examples, own[:3]) == (spin.Pair(problem=PROBLEMS[1], chosen="bee", rejected="wasp"),)


def test_an_answer_that_the_length_limit_cut_is_rejected_as_cut():
    examples = [Example(problem=PROBLEMS[0], completion="bee")]
    (own,) = players("so let us see")(samples=1, checkpoint=START, problems=PROBLEMS[:1])
    (pair,) = spin.self_play(examples, [dataclasses.replace(own, truncated=True)])
    assert pair.rejected_cut


def test_the_authors_schedule_over_the_iterations():
    """finetune.sh, finetune_iter1.sh, finetune_iter2.sh and finetune_iter3.sh of github.com/uclaml/SPIN."""
    options = spin.Options(learning_rate=5e-7, beta=0.1, progression="authors")
    played = [spin.for_iteration(options, iteration) for iteration in (1, 2, 3, 4, 5)]
    assert [one.learning_rate for one in played] == pytest.approx([5e-7, 5e-7, 1e-7, 1e-7, 1e-7])
    assert [one.beta for one in played] == pytest.approx([0.1, 0.1, 0.1, 5.0, 5.0])
    same_in_all = options.model_copy(update={"progression": "constant"})
    assert spin.for_iteration(same_in_all, 4) == same_in_all


def test_the_loss_is_that_of_the_paper_in_a_later_iteration(tiny_llama_path, tmp_path):
    """The objective of arXiv 2401.01335, computed with numpy from the logits of the player and its successor."""
    import torch

    spec = spec_for(tiny_llama_path, tmp_path, players("sea", "tea"), iterations=1, learning_rate=1e-2)
    player = dataclasses.replace(spec.checkpoint, path=spin.train(spec).path)
    pairs = [spin.Pair(problem=problem, chosen="bee", rejected="sea cow") for problem in PROBLEMS[:3]]
    options = spin.Options(**SMALL | {"beta": 0.3})
    arguments = trainer_arguments(options, output_dir=tmp_path / "x", seed=0, batch_size=3, gradient_accumulation=1)
    trainer = spin.spin_trainer(player, pairs, options, arguments)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(7)
        for name, parameter in trainer.model.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(parameter, std=0.2)
    batch = next(iter(trainer.get_train_dataloader()))
    with torch.no_grad():
        loss = trainer.compute_loss(trainer.model, batch).item()
    reference, tokenizer = load_for_training(player)

    def ratio(problem: Problem, completion: str) -> float:
        now = logprob(trainer.model, tokenizer, problem, completion)
        return now - logprob(reference, tokenizer, problem, completion)

    margins = [0.3 * (ratio(pair.problem, pair.chosen) - ratio(pair.problem, pair.rejected)) for pair in pairs]
    assert max(abs(margin) for margin in margins) > 0.05
    assert loss == pytest.approx(np.mean(np.log1p(np.exp(-np.array(margins)))), abs=1e-5)


def test_the_first_iteration_is_dpo_with_the_models_own_answers_rejected(tiny_llama_path, tmp_path):
    spec = spec_for(tiny_llama_path, tmp_path / "spin", players("sea {}"), iterations=1)
    result = spin.train(spec)
    options = dpo.Options(
        **{name: value for name, value in SMALL.items() if name != "progression"}, optimizer="rmsprop"
    )
    pairs = [dpo.Pair(problem=problem, chosen="bee", rejected=f"sea {problem.id}") for problem in PROBLEMS]

    def build(arguments):
        return dpo.dpo_trainer(spec.checkpoint, pairs, options, arguments)

    trained = train_resumably(dataclasses.replace(spec, output_dir=tmp_path / "dpo", options=options), build)
    expected = save_trained(trained.trainer, tmp_path / "expected", merge_into=spec.checkpoint)
    assert same(weights(result.path), weights(expected))
    assert not same(weights(result.path), weights(tiny_llama_path))
    assert [row["loss"] for row in result.curves] == [row["loss"] for row in trained.curves]


def test_each_iteration_plays_against_the_last_and_mixes_in_its_pairs(tiny_llama_path, tmp_path):
    source = players("sea", "tea", "pea")
    result = spin.train(spec_for(tiny_llama_path, tmp_path, source, iterations=3))
    assert [phase.notes["pairs"] for phase in result.phases] == [8, 16, 16]
    assert [phase.notes["effective_prompts"] for phase in result.phases] == [8, 8, 8]
    assert [phase.notes["iteration"] for phase in result.phases] == [1, 2, 3]
    assert [phase.updates for phase in result.phases] == [2, 4, 4]
    assert [row["step"] for row in result.curves] == list(range(1, 11))
    assert [row["iteration"] for row in result.curves] == [1] * 2 + [2] * 4 + [3] * 4
    firsts = [result.curves[row]["loss"] for row in (0, 2, 6)]
    assert firsts == pytest.approx([np.log(2)] * 3, abs=1e-4), "each iteration starts at its own reference"
    assert len(set(source.seen)) == 3
    assert (result.path / "config.json").exists()
    assert (result.path / "chat_template.jinja").exists()


@pytest.mark.parametrize(
    ("budget", "updates"),
    [("2 updates", [1, 1]), ("6 updates", [1, 1, 2, 2]), ("10 samples", [1, 1]), ("600 tokens", [1, 1, 1])],
)
def test_rounds_share_a_budget_and_end_with_it(budget, updates, tiny_llama_path, tmp_path):
    source = players("sea", "tea", "pea", "key")
    spec = spec_for(tiny_llama_path, tmp_path, source, iterations=4)
    result = spin.train(dataclasses.replace(spec, account=Account(Budget.parse(budget))))
    assert [phase.updates for phase in result.phases] == updates
    ended = [note for note in result.notes if "its budget was spent" in note]
    assert len(ended) == (len(updates) < 4)


def test_a_round_that_overdraws_its_part_keeps_what_the_rounds_before_learned(tiny_llama_path, tmp_path):
    whole = spin.train(spec_for(tiny_llama_path, tmp_path / "whole", players("sea"), iterations=1))
    update = whole.phases[0].tokens / whole.phases[0].updates
    spec = spec_for(tiny_llama_path, tmp_path / "part", players("sea", "tea"), iterations=2)
    budget = Budget(amount=round(2.5 * update), unit="tokens")
    result = spin.train(dataclasses.replace(spec, account=Account(budget)))
    assert [phase.updates for phase in result.phases] == [2, 1]


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_it_learns_to_prefer_the_ground_truth(seed, tiny_llama_path, tmp_path):
    spec = spec_for(tiny_llama_path, tmp_path, players("sea"), seed, iterations=1, epochs=3, learning_rate=3e-3)
    result = spin.train(spec)

    def margin(path: Path) -> float:
        model, tokenizer = load_for_training(dataclasses.replace(spec.checkpoint, path=path))
        return np.mean(
            [
                logprob(model, tokenizer, problem, "bee") - logprob(model, tokenizer, problem, "sea")
                for problem in PROBLEMS
            ]
        )

    assert margin(result.path) > margin(tiny_llama_path) + 3


def test_one_seed_gives_one_result_with_all_weights_too(tiny_llama_path, tmp_path):
    results = [
        spin.train(spec_for(tiny_llama_path, tmp_path / name, players("sea"), seed, iterations=1, adapter="full"))
        for name, seed in (("a", 0), ("b", 0), ("c", 1))
    ]
    assert same(weights(results[0].path), weights(results[1].path))
    assert results[0].curves == results[1].curves
    assert not same(weights(results[0].path), weights(results[2].path))


def test_a_run_that_was_killed_in_its_second_iteration_ends_the_same(tiny_llama_path, tmp_path, monkeypatch):
    changes = {"iterations": 2, "save_steps": 2}
    whole = spin.train(spec_for(tiny_llama_path, tmp_path / "whole", players("sea", "tea"), **changes))

    def killed(*arguments, **named):
        trainer = build(*arguments, **named)
        inner = trainer.training_step

        def training_step(*arguments, **named):
            if "iteration-2" in trainer.args.output_dir and trainer.state.global_step == 3:
                raise KeyboardInterrupt
            return inner(*arguments, **named)

        trainer.training_step = training_step
        return trainer

    build = spin.spin_trainer
    cut = spec_for(tiny_llama_path, tmp_path / "cut", players("sea", "tea"), **changes)
    monkeypatch.setattr(spin, "spin_trainer", killed)
    with pytest.raises(KeyboardInterrupt):
        spin.train(cut)
    monkeypatch.setattr(spin, "spin_trainer", build)
    resumed = spin.train(cut)
    assert same(weights(resumed.path), weights(whole.path))
    assert resumed.curves == whole.curves
    assert [phase.updates for phase in resumed.phases] == [2, 5], "one update was done twice"


def test_a_prompt_that_leaves_no_room_is_refused(tiny_llama_path, tmp_path):
    with pytest.raises(UserError, match="prompts of 8 examples fill all of max_length=8"):
        spin.train(spec_for(tiny_llama_path, tmp_path, players("sea"), max_length=8))


def test_it_ends_where_the_model_writes_the_ground_truth(tiny_llama_path, tmp_path):
    with pytest.raises(StepFailedError, match="nothing to train on: the model's own answers to all 8 problems"):
        spin.train(spec_for(tiny_llama_path, tmp_path / "a", players("bee")))
    result = spin.train(spec_for(tiny_llama_path, tmp_path / "b", players("sea", "bee")))
    assert len(result.phases) == 1
    assert result.notes == ("SPIN ended before iteration 2: the model's own answers were the ground truth.",)
