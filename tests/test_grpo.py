"""GRPO and REINFORCE: the losses, learning, repeatability, resumption, stop strings, and what is said when it fails."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from pfh.errors import StepFailedError, UserError
from pfh.registry.options import fill
from pfh_methods import grpo, reinforce
from pfh_methods.collapse import repeated_share, signs_of_collapse
from pfh_methods.on_domain import end_of_completion
from pfh_methods.online import online_arguments, own_chat, reference_arguments, set_up_online
from pfh_methods.tally import Tally

from tests.letters import (
    Letters,
    arguments_of,
    assert_it_learns,
    logps_of,
    rows_of,
    same,
    stir,
    training_spec,
    untimed,
    weights,
)

METHODS = {"grpo": grpo, "reinforce": reinforce}
BUILD = {grpo: grpo.grpo_trainer, reinforce: reinforce.reinforce_trainer}


def trainer_of(method, model_path, folder, **options):
    """Return a trainer, and a batch of its rollouts."""
    spec = training_spec(method, model_path, folder, **options)
    setup = set_up_online(spec, "test", own_chat, Tally.read(folder / "rollouts.json"))
    arguments = online_arguments(setup, arguments_of(spec))
    trainer = BUILD[method](setup, arguments)
    trainer.model.train()
    trainer.current_gradient_accumulation_steps = spec.options.gradient_accumulation
    return trainer, trainer._prepare_inputs(next(iter(trainer.get_train_dataloader())))


@pytest.mark.parametrize("name", METHODS)
def test_the_reward_rises_whatever_the_seed(name, tiny_llama_path, tmp_path):
    assert_it_learns(METHODS[name], tiny_llama_path, tmp_path, updates=10)


def test_the_reward_rises_with_the_batch_as_baseline(tiny_llama_path, tmp_path):
    assert_it_learns(reinforce, tiny_llama_path, tmp_path, updates=10, seeds=1, baseline="batch")


def loss_and_policies(method, model_path, folder, **options):
    """Return a trainer, a batch, its loss under a policy that has moved on, and NumPy's log-probabilities.

    Those are of every completion before the move, after it, and under the start model.
    """
    options |= {"inner_epochs": 2, "temperature": 0.8, "max_new_tokens": 8}
    trainer, batch = trainer_of(method, model_path, folder, domain=Letters(stop=tuple("abcdefgh")), **options)
    rows = rows_of(batch)
    assert len({len(ids) for _, ids in rows}) > 2, "completions of several lengths"
    with trainer.model.disable_adapter():
        start = [logps_of(trainer.model, *row, temperature=0.8) for row in rows]
    before = [logps_of(trainer.model, *row, temperature=0.8) for row in rows]
    stir(trainer.model, seed=1, size=0.03)
    after = [logps_of(trainer.model, *row, temperature=0.8) for row in rows]
    with torch.no_grad():
        loss = trainer.compute_loss(trainer.model, batch).item()
    return trainer, batch, loss, (before, after, start)


def clipped(ratio, advantage, epsilon=0.2):
    return np.minimum(ratio * advantage, np.clip(ratio, 1 - epsilon, 1 + epsilon) * advantage)


@pytest.mark.parametrize("loss_type", ["dapo", "grpo"])
def test_the_loss_of_grpo_is_that_of_the_paper(loss_type, tiny_llama_path, tmp_path):
    """Equation 3 of arXiv 2402.03300 with its unbiased estimator of the divergence, from the logits alone."""
    _, batch, loss, (before, after, start) = loss_and_policies(
        grpo, tiny_llama_path, tmp_path, loss=loss_type, beta=0.01
    )
    terms = []
    for advantage, old, new, reference in zip(batch["advantages"].tolist(), before, after, start, strict=True):
        divergence = np.exp(reference - new) - (reference - new) - 1
        terms.append(clipped(np.exp(new - old), advantage) - 0.01 * divergence)
    mean = np.concatenate(terms).mean() if loss_type == "dapo" else np.mean([term.mean() for term in terms])
    assert loss == pytest.approx(-mean, abs=1e-5)
    assert max(np.abs(new - old).max() for old, new in zip(before, after, strict=True)) > 0.3, "some are clipped"


def test_the_loss_of_reinforce_is_that_of_the_paper(tiny_llama_path, tmp_path):
    """Equation 7 of arXiv 2402.14740, with the ratio of whole completions that a second inner epoch needs."""
    trainer, batch, loss, (before, after, _) = loss_and_policies(reinforce, tiny_llama_path, tmp_path)
    earned = trainer.rewards.view(-1, 8).numpy()
    advantages = (earned - (earned.sum(axis=1, keepdims=True) - earned) / 7).reshape(-1)
    assert sorted(batch["advantages"].tolist()) == pytest.approx(sorted(advantages), abs=1e-5)
    terms = [
        clipped(np.exp(new.sum() - old.sum()), advantage)
        for advantage, old, new in zip(batch["advantages"].tolist(), before, after, strict=True)
    ]
    assert loss == pytest.approx(-np.mean(terms), abs=1e-5)


def test_one_group_of_grpo_has_the_closed_form(tiny_llama_path, tmp_path):
    """k of G right: advantages +-, and the gradient of their weighted log-likelihood, by hand."""
    trainer, batch = trainer_of(grpo, tiny_llama_path, tmp_path, batch_size=8, generations=8, count=1, seed=4)
    right, group = int(trainer.rewards.sum()), 8
    assert 0 < right < group
    deviation = np.sqrt(right * (group - right) / (group * (group - 1))) + 1e-4
    expected = {1.0: (1 - right / group) / deviation, 0.0: -right / group / deviation}
    for (_, ids), advantage in zip(rows_of(batch), batch["advantages"].tolist(), strict=True):
        said = trainer.processing_class.decode(ids, skip_special_tokens=True)
        assert advantage == pytest.approx(expected[Letters().verify(None, said).reward], abs=1e-5)

    stir(trainer.model, seed=0)
    trainer.compute_loss(trainer.model, batch).backward()
    trained = {name: one for name, one in trainer.model.named_parameters() if one.requires_grad}
    found = {name: one.grad.clone() for name, one in trained.items()}
    trainer.model.zero_grad()
    rows, by_hand = rows_of(batch), 0.0
    for (prompt, ids), advantage in zip(rows, batch["advantages"].tolist(), strict=True):
        logits = trainer.model(torch.tensor([prompt + ids])).logits[0, len(prompt) - 1 : -1]
        logps = logits.log_softmax(dim=-1).gather(1, torch.tensor(ids)[:, None])
        by_hand = by_hand - advantage * logps.sum()
    (by_hand / sum(len(ids) for _, ids in rows)).backward()
    for name, one in trained.items():
        assert torch.allclose(found[name], one.grad, atol=1e-5), name
    assert any(gradient.abs().max() > 1e-3 for gradient in found.values())


def test_advantages_of_a_batch_are_standardised():
    earned = torch.tensor([1.0, 0, 0, 1, 1, 0, 0, 0])
    advantages = reinforce.batch_advantages(earned).numpy()
    assert advantages == pytest.approx((earned.numpy() - 0.375) / earned.numpy().std(ddof=1), abs=1e-6)
    assert reinforce.batch_advantages(torch.ones(4)).tolist() == [0, 0, 0, 0]


def test_one_seed_gives_one_result_and_the_ledger_counts(tiny_llama_path, tmp_path):
    runs = [
        grpo.train(training_spec(grpo, tiny_llama_path, tmp_path / name, seed=seed, epochs=2))
        for name, seed in (("first", 0), ("second", 0), ("other", 1))
    ]
    assert same(weights(runs[0].path), weights(runs[1].path))
    assert untimed(runs[0].curves) == untimed(runs[1].curves)
    assert not same(weights(runs[0].path), weights(runs[2].path))

    rollouts, training = runs[0].phases
    assert (rollouts.name, rollouts.samples) == ("rollouts", 4 * 32)
    assert 128 <= rollouts.tokens <= 128 * 2
    assert (training.name, training.updates, training.samples) == ("training", 4, 128)
    assert training.tokens > rollouts.tokens
    assert rollouts.seconds == pytest.approx(
        sum(rollouts.notes[f"{part}_seconds"] for part in ("generation", "scoring")), abs=2e-3
    )
    shares = [row["frac_reward_zero_std"] for row in runs[0].curves]
    assert (training.notes["prompts"], training.notes["effective_prompts"] > 0) == (8, min(shares) < 1)
    assert f"Of 8 prompts that were put to it, {training.notes['effective_prompts']} had" in runs[0].notes[0]
    row = runs[0].curves[-1]
    wanted = {"reward", "frac_reward_zero_std", "entropy", "completions/mean_length", "truncated", "repeated_text"}
    assert row.keys() >= wanted | {"loss", "learning_rate", "step"}
    assert all(row[f"seconds/{part}"] > 0 for part in ("generation", "scoring", "update"))
    assert runs[0].notes[0].startswith("Mean reward of the rollouts:")


@pytest.mark.parametrize(("name", "inner_epochs"), [("grpo", 2), ("reinforce", 1)])
def test_an_interrupted_training_ends_with_the_same_weights(name, inner_epochs, tiny_llama_path, tmp_path, monkeypatch):
    from transformers import TrainerCallback

    class Interrupt(TrainerCallback):
        def on_step_begin(self, args, state, control, **_):
            if state.global_step == 5:
                raise KeyboardInterrupt

    method, build = METHODS[name], BUILD[METHODS[name]]

    def build_and_interrupt(*arguments):
        trainer = build(*arguments)
        trainer.add_callback(Interrupt())
        return trainer

    options = {"epochs": 4, "save_steps": 3, "inner_epochs": inner_epochs, "learning_rate": 1e-2}
    whole = method.train(training_spec(method, tiny_llama_path, tmp_path / "whole", **options))
    with monkeypatch.context() as patch:
        patch.setattr(method, build.__name__, build_and_interrupt)
        with pytest.raises(KeyboardInterrupt):
            method.train(training_spec(method, tiny_llama_path, tmp_path / "cut", **options))
    assert sorted(folder.name for folder in (tmp_path / "cut" / "trainer").glob("checkpoint-*"))
    resumed = method.train(training_spec(method, tiny_llama_path, tmp_path / "cut", **options))
    assert same(weights(resumed.path), weights(whole.path))
    assert untimed(resumed.curves) == untimed(whole.curves)
    assert resumed.phases[0].samples > whole.phases[0].samples
    assert whole.phases[1].samples == inner_epochs * whole.phases[0].samples


def test_the_divergence_from_the_start_is_measured_now_and_then(tiny_llama_path, tmp_path, monkeypatch):
    monkeypatch.setattr("pfh_methods.on_domain.KL_EVERY", 3)
    curves = grpo.train(training_spec(grpo, tiny_llama_path, tmp_path, epochs=3)).curves
    assert {row["step"]: row["kl"] for row in curves if "kl" in row}.keys() == {1, 4}
    assert curves[0]["kl"] == pytest.approx(0, abs=1e-6)
    assert curves[3]["kl"] > 1e-3

    trainer, batch = trainer_of(grpo, tiny_llama_path, tmp_path / "by hand")
    stir(trainer.model, seed=1)
    rows = rows_of(batch)
    now = np.concatenate([logps_of(trainer.model, *row) for row in rows])
    with trainer.model.disable_adapter():
        start = np.concatenate([logps_of(trainer.model, *row) for row in rows])
    trainer._log_kl_from_start(batch)
    assert trainer._metrics["train"]["kl"][-1] == pytest.approx((now - start).mean(), abs=1e-4)


@pytest.mark.parametrize("name", METHODS)
def test_rollouts_that_do_not_fit_into_memory_at_once_are_drawn_in_halves(name, tiny_llama_path, tmp_path):
    trainer, batch = trainer_of(METHODS[name], tiny_llama_path, tmp_path)
    generate, asked = trainer.model.generate, []

    def scarce(**inputs):
        asked.append(len(inputs["input_ids"]))
        if asked[-1] > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return generate(**inputs)

    trainer.model.generate = scarce
    asked_for = ([prompt for prompt, _ in rows_of(batch)][:4], None, {}, *([1] if name == "grpo" else []))
    drawn = trainer._generate_single_turn(*asked_for)
    ids = drawn[0] if isinstance(drawn, tuple) else drawn
    assert asked == [4, 2, 2]
    assert [0 < len(one) <= trainer.max_completion_length for one in ids] == [True] * 4
    trainer.model.generate = lambda **inputs: (_ for _ in ()).throw(torch.OutOfMemoryError("CUDA out of memory"))
    with pytest.raises(StepFailedError, match="One request alone does not fit"):
        trainer._generate_single_turn(*asked_for)


def test_a_reference_that_cannot_be_loaded_is_refused(tmp_path):
    spec = training_spec(grpo, tmp_path, tmp_path, adapter="full", beta=0.1)
    gguf = dataclasses.replace(spec, checkpoint=dataclasses.replace(spec.checkpoint, gguf_file="a.gguf"))
    with pytest.raises(UserError, match=r"does not load from GGUF: choose adapter=lora"):
        reference_arguments(gguf, 0.1)
    assert reference_arguments(gguf, 0.0)["beta"] == reference_arguments(spec, 0.1)["beta"] - 0.1 == 0


def test_a_completion_ends_with_the_token_that_completes_a_stop(tiny_llama_path, tmp_path):
    trainer, batch = trainer_of(
        grpo, tiny_llama_path, tmp_path, domain=Letters(stop=("e", "qq")), max_new_tokens=24, count=8
    )
    read = trainer.processing_class.decode
    texts = [read(ids, skip_special_tokens=True) for _, ids in rows_of(batch)]
    stopped = [text for text in texts if "e" in text]
    assert stopped
    assert all(text.index("e") == len(text) - 1 or text.endswith(("the", "er")) for text in stopped)
    assert all(
        len(ids) == 24 or ids[-1] == 2 or "e" in text for (_, ids), text in zip(rows_of(batch), texts, strict=True)
    )


def test_the_end_of_a_completion_is_found_whatever_follows(tiny_llama_path):
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(tiny_llama_path)
    ids = tokenizer.encode("12\n\nUser: 13\n\nUser:", add_special_tokens=False)
    assert tokenizer.decode(ids[: end_of_completion(tokenizer, ids, ("\n\nUser:",))]) == "12\n\nUser:"
    assert tokenizer.decode(ids[: end_of_completion(tokenizer, ids, ("3", "\n"))]) == "12\n"
    assert end_of_completion(tokenizer, ids, ("never",)) == end_of_completion(tokenizer, ids, ()) == len(ids)


def test_a_base_model_without_template_is_trained_on_the_plain_one(tmp_path):
    from tests.tiny import tiny_llama

    path = tiny_llama(tmp_path / "base", chat_template=None)
    trainer, batch = trainer_of(grpo, path, tmp_path)
    assert {trainer.processing_class.decode(prompt)[:9] for prompt, _ in rows_of(batch)} == {"User: Say"}
    assert trainer.trained_on.stops == ("\n\nUser:",)


def test_a_reward_without_variance_says_what_to_change(tiny_llama_path, tmp_path):
    for reward, advice in ((0.0, "easier"), (1.0, "harder")):
        spec = training_spec(grpo, tiny_llama_path, tmp_path / advice, domain=Letters(reward=reward))
        with pytest.raises(
            StepFailedError, match=rf"grpo has learned nothing.*\({reward:.2f} on average.*{advice}.*kept"
        ):
            grpo.train(spec)


def test_too_few_problems_and_too_long_prompts_are_named(tiny_llama_path, tmp_path):
    with pytest.raises(UserError, match=r"grpo takes 4 prompts an update and has 3 \(of 3,.*more --problems"):
        grpo.train(training_spec(grpo, tiny_llama_path, tmp_path, count=3))
    with pytest.raises(UserError, match=r"has 0 \(of 8, whose prompt may take 10 tokens.*raise max_length"):
        grpo.train(training_spec(grpo, tiny_llama_path, tmp_path, max_length=12))
    lengths = training_spec(grpo, tiny_llama_path, tmp_path, count=12, max_length=26)
    result = grpo.train(lengths)
    assert result.notes[1] == "2 of 12 prompts were left out: longer than max_length."


def test_options_are_checked():
    assert fill(grpo.Options, {"generations": "4"}, "methods:grpo").prompts_per_update == 32
    with pytest.raises(UserError, match=r"= 128 completions, which must be a multiple of generations \(5\)"):
        fill(grpo.Options, {"generations": "5"}, "methods:grpo")
    with pytest.raises(UserError, match="beta above 0 needs baseline=leave-one-out"):
        fill(reinforce.Options, {"baseline": "batch", "beta": "0.1"}, "methods:reinforce")
    for bad in ({"generations": "1"}, {"temperature": "0"}, {"loss": "ppo"}):
        with pytest.raises(UserError, match=next(iter(bad))):
            fill(grpo.Options, bad, "methods:grpo")


def test_vllm_where_it_cannot_run_is_refused(tiny_llama_path, tmp_path, monkeypatch):
    with pytest.raises(UserError, match=r"vLLM.*(not installed|only on a GPU)"):
        grpo.train(training_spec(grpo, tiny_llama_path, tmp_path, use_vllm=True))


def test_signs_of_collapse_are_told():
    def course(**figures):
        steady = {"reward": (0.5, 0.5), "completions/mean_length": (20, 20), "repeated_text": (0, 0), "entropy": (2, 2)}
        ends = steady | figures
        return [{name: values[row >= 4] for name, values in ends.items()} for row in range(8)]

    assert signs_of_collapse(course()) == ()
    for figures, said in (
        (
            {"completions/mean_length": (20, 90), "reward": (0.2, 0.9)},
            "grew from 20 to 90 tokens while the reward rose",
        ),
        ({"completions/mean_length": (80, 6)}, "shrank from 80 to 6"),
        ({"repeated_text": (0.0, 0.6)}, "60% of the four-word phrases"),
        ({"entropy": (2.0, 0.05)}, "entropy of the policy fell from 2.00 to 0.05"),
        ({"kl": (0.01, 2.5)}, "divergence grew from 0.01 to 2.50"),
    ):
        (sign,) = signs_of_collapse(course(**figures))
        assert sign.startswith("Warning:")
        assert said in sign
    assert signs_of_collapse(course(entropy=(2.0, 0.0))[:7]) == ()
    assert repeated_share("a b c d e") == 0
    assert repeated_share("and so on it goes " * 9) > 0.8
    assert repeated_share("short") == 0
