"""pi-Distill and OPSD: the objectives, what tells them apart, learning, and traces of the hint."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from pfh.errors import StepFailedError
from pfh_methods import opsd, pi_distill
from pfh_methods.online import online_arguments, set_up_online
from pfh_methods.privileged import (
    HINT,
    clipped,
    divergence,
    informed_chat,
    leaks,
    tokens_apart,
    two_chats,
)
from pfh_methods.tally import Tally
from scipy.special import log_softmax, softmax

from tests.letters import (
    Letters,
    arguments_of,
    assert_it_learns,
    logps_of,
    problems,
    rows_of,
    same,
    stir,
    training_spec,
    weights,
)

BUILD = {pi_distill: pi_distill.pi_distill_trainer, opsd: opsd.opsd_trainer}
GROUP = 4


def trainer_of(method, model_path, folder, **options):
    """Return a trainer, and a batch of its rollouts, of which there are 16."""
    options = {"batch_size": 16, "temperature": 0.7, "information": "answer"} | options
    spec = training_spec(method, model_path, folder, **options)
    setup = set_up_online(spec, "test", two_chats(spec), Tally.read(folder / "rollouts.json"))
    trainer = BUILD[method](setup, online_arguments(setup, arguments_of(spec)))
    trainer.model.train()
    trainer.current_gradient_accumulation_steps = 1
    return trainer, trainer._prepare_inputs(next(iter(trainer.get_train_dataloader())))


def logps_over_vocabulary(model, prompt, completion, temperature=0.7) -> np.ndarray:
    """Return NumPy's log-probabilities of the whole vocabulary at every token of `completion`."""
    with torch.no_grad():
        logits = model(torch.tensor([[*prompt, *completion]])).logits[0].double().numpy() / temperature
    logits = logits[len(prompt) - 1 : -1]
    logits -= logits.max(axis=-1, keepdims=True)
    return logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))


def moved(trainer, batch):
    """Move the policy; return the sampler's log-probabilities of its tokens before, and all of both sides after."""
    both = [rows_of(batch), rows_of(batch, "other_prompt")]
    before = [logps_of(trainer.model, *row, temperature=0.7) for row in both[0]]
    stir(trainer.model, seed=1)
    after = [[logps_over_vocabulary(trainer.model, *row) for row in rows] for rows in both]
    return before, after


def written(logps, ids) -> np.ndarray:
    return logps[np.arange(len(ids)), ids]


def surrogate(new, old, advantage, epsilon=0.2):
    ratio = np.exp(new - old)
    return np.minimum(ratio * advantage, np.clip(ratio, 1 - epsilon, 1 + epsilon) * advantage)


def kl(p, q) -> np.ndarray:
    return (np.exp(p) * (p - q)).sum(axis=-1)


def loss_of(trainer, batch) -> float:
    with torch.no_grad():
        return trainer.compute_loss(trainer.model, batch).item()


@pytest.mark.parametrize("alpha", [0.0, 0.5, 1.0])
def test_the_loss_of_pi_distill_is_that_of_the_paper(alpha, tiny_llama_path, tmp_path):
    """alpha J_Teacher + (1 - alpha) J_Student of arXiv 2602.04942, from the logits after both prompts."""
    trainer, batch = trainer_of(pi_distill, tiny_llama_path, tmp_path, alpha=alpha, beta=0.25)
    old, (teacher, student) = moved(trainer, batch)
    ids = [completion for _, completion in rows_of(batch)]
    tokens = np.concatenate(
        [
            alpha * surrogate(written(t, one), before, advantage)
            + (1 - alpha) * surrogate(written(s, one), before, advantage)
            - 0.25 * kl(t, s)
            for advantage, before, one, t, s in zip(
                batch["advantages"].tolist(), old, ids, teacher, student, strict=True
            )
        ]
    )
    assert loss_of(trainer, batch) == pytest.approx(-tokens.mean(), abs=1e-5)


def test_the_loss_of_opsd_is_that_of_the_paper(tiny_llama_path, tmp_path):
    """E_S[R] - beta KL(pi_S || sg pi_T) of arXiv 2602.04942, over the whole vocabulary."""
    trainer, batch = trainer_of(opsd, tiny_llama_path, tmp_path, beta=0.25)
    old, (student, teacher) = moved(trainer, batch)
    ids = [completion for _, completion in rows_of(batch)]
    tokens = np.concatenate(
        [
            surrogate(written(s, one), before, advantage) - 0.25 * kl(s, t)
            for advantage, before, one, s, t in zip(
                batch["advantages"].tolist(), old, ids, student, teacher, strict=True
            )
        ]
    )
    assert loss_of(trainer, batch) == pytest.approx(-tokens.mean(), abs=1e-5)


@pytest.mark.parametrize("method", [pi_distill, opsd])
def test_the_advantages_are_those_of_the_reward_alone(method, tiny_llama_path, tmp_path):
    """GRPO's (arXiv 2402.03300, section 4.1.2): a divergence in them would be divided by its own deviation."""
    trainer, batch = trainer_of(method, tiny_llama_path, tmp_path, beta=0.25)
    earned = np.array(
        [
            Letters().verify(None, trainer.processing_class.decode(ids, skip_special_tokens=True)).reward
            for _, ids in rows_of(batch)
        ]
    )
    by_prompt: dict[tuple[int, ...], list[int]] = {}
    for place, (prompt, _) in enumerate(rows_of(batch)):
        by_prompt.setdefault(tuple(prompt), []).append(place)
    for places in by_prompt.values():
        assert len(places) == GROUP
        expected = (earned[places] - earned[places].mean()) / (earned[places].std(ddof=1) + 1e-4)
        assert batch["advantages"][places].tolist() == pytest.approx(expected, abs=1e-4)


def gradient_of(trainer, batch, beta) -> torch.Tensor:
    """Return the gradient of the loss with the option `beta`, all weights in one vector."""
    trainer.set_beta(beta)
    trainer.model.zero_grad()
    trainer.compute_loss(trainer.model, batch).backward()
    return torch.cat([one.grad.flatten() for one in trainer.model.parameters() if one.requires_grad]).clone()


def pull_of(trainer, batch, method, alpha=0.5) -> torch.Tensor:
    """Return the gradient of what beta stands before in the paper, by autograd from the logits after both prompts."""

    def kl_of(p, q):
        p, q = p.log_softmax(-1), q.log_softmax(-1)
        return (p.exp() * (p - q)).sum()

    trainer.model.zero_grad()
    total, count = 0.0, 0
    for (one, completion), (two, _) in zip(rows_of(batch), rows_of(batch, "other_prompt"), strict=True):
        sampler, other = (
            trainer.model(torch.tensor([[*prompt, *completion]])).logits[0, len(prompt) - 1 : -1] / 0.7
            for prompt in (one, two)
        )
        if method is opsd:
            total = total + kl_of(sampler, other.detach())
        else:
            total = total + alpha * kl_of(sampler, other.detach()) + (1 - alpha) * kl_of(sampler.detach(), other)
        count += len(completion)
    (total / count).backward()
    return torch.cat([one.grad.flatten() for one in trainer.model.parameters() if one.requires_grad]).clone()


@pytest.mark.parametrize("method", [pi_distill, opsd])
def test_beta_weighs_the_divergence_and_does_not_cancel(method, tiny_llama_path, tmp_path):
    """The gradients at beta .5 and .02 differ by .48 of the divergence's own; where rewards tie, they are 25 to 1."""
    trainer, batch = trainer_of(method, tiny_llama_path, tmp_path)
    options = trainer.trained_on.spec.options
    trainer.set_beta = lambda beta: object.__setattr__(options, "beta", beta)
    trainer.model.double()
    batch = {name: value.double() if value.is_floating_point() else value for name, value in batch.items()}
    strong, weak = gradient_of(trainer, batch, 0.5), gradient_of(trainer, batch, 0.02)
    assert (strong - weak).norm() > 1e-3
    assert torch.allclose(strong - weak, 0.48 * pull_of(trainer, batch, method), atol=1e-5)
    tied = batch | {"advantages": torch.zeros_like(batch["advantages"])}
    assert torch.allclose(gradient_of(trainer, tied, 0.5), 25 * gradient_of(trainer, tied, 0.02), atol=1e-6)


def test_opsd_is_not_pi_distill_with_alpha_0(tiny_llama_path, tmp_path):
    """The sampler differs: OPSD's completions are the student's, and the divergence runs the other way."""
    ours, batch = trainer_of(opsd, tiny_llama_path, tmp_path / "opsd", beta=0.25)
    theirs, other = trainer_of(pi_distill, tiny_llama_path, tmp_path / "pi", alpha=0.0, beta=0.25)
    hint = HINT.split("{")[0].strip()
    read = ours.processing_class.decode
    assert not any(hint in read(prompt) for prompt, _ in rows_of(batch))
    assert all(hint in read(prompt) for prompt, _ in rows_of(batch, "other_prompt"))
    assert all(hint in read(prompt) for prompt, _ in rows_of(other))
    assert not any(hint in read(prompt) for prompt, _ in rows_of(other, "other_prompt"))
    # On one and the same batch of the teacher's, the two losses differ as well.
    stir(theirs.model, seed=1)
    stir(ours.model, seed=1)
    assert abs(loss_of(theirs, other) - loss_of(ours, other)) > 1e-2


@pytest.mark.parametrize("method", [pi_distill, opsd])
def test_the_gradient_of_the_reward_is_that_of_finite_differences(method, tiny_llama_path, tmp_path):
    """Without the divergence, one side of which stands still for the gradient but moves with the weights."""
    trainer, batch = trainer_of(method, tiny_llama_path, tmp_path, beta=0.0)
    model = trainer.model.double()
    batch = {name: value.double() if value.is_floating_point() else value for name, value in batch.items()}
    stir(model, seed=1, size=0.02)
    trainer.compute_loss(model, batch).backward()
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    generator = torch.Generator().manual_seed(0)
    slopes = []
    for _ in range(3):
        direction = [torch.randn(one.shape, generator=generator, dtype=torch.float64) for one in trained]
        length = sum(along.square().sum() for along in direction).sqrt()
        direction = [along / length for along in direction]
        slope = sum((one.grad * along).sum().item() for one, along in zip(trained, direction, strict=True))
        values = []
        for step in (3e-3, -6e-3):
            with torch.no_grad():
                for one, along in zip(trained, direction, strict=True):
                    one += step * along
            values.append(loss_of(trainer, batch))
        with torch.no_grad():
            for one, along in zip(trained, direction, strict=True):
                one += 3e-3 * along
        assert slope == pytest.approx((values[0] - values[1]) / 6e-3, rel=1e-2, abs=1e-3)
        slopes.append(abs(slope))
    assert max(slopes) > 0.02


def test_small_parts_against_numpy():
    rng = np.random.default_rng(0)
    new, old = (np.log(rng.uniform(0.1, 1, (8, 5))) for _ in range(2))
    earned = rng.integers(0, 2, 8).astype(float)
    tensors = [torch.tensor(array) for array in (new, old, earned)]
    assert clipped(*tensors, 0.2, 0.2).numpy() == pytest.approx(surrogate(new, old, earned[:, None]), abs=1e-6)
    p, q = rng.normal(size=(2, 3, 4, 7))
    expected = (softmax(p, -1) * (log_softmax(p, -1) - log_softmax(q, -1))).sum(-1)
    assert divergence(torch.tensor(p), torch.tensor(q)).numpy() == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("method", [pi_distill, opsd])
def test_the_reward_rises_whatever_the_seed(method, tiny_llama_path, tmp_path):
    result = assert_it_learns(method, tiny_llama_path, tmp_path, updates=7, inner_epochs=1, learning_rate=2e-2)
    assert {"kl", "leaks", "entropy", "seconds/generation"} <= result.curves[0].keys()
    assert result.notes[-2] == "0 of 32 completions of the trained student speak of the hint that it was not shown."
    assert result.notes[-1].startswith("Teacher and student differ most in the tokens '")


def test_equal_rewards_fail_only_where_nothing_else_teaches(tiny_llama_path, tmp_path):
    always = {"domain": Letters(reward=1.0), "count": 4, "batch_size": 16, "epochs": 1}
    result = pi_distill.train(training_spec(pi_distill, tiny_llama_path, tmp_path / "pulled", **always))
    assert "in 100% of the groups all completions earned the same." in result.notes[0]
    with pytest.raises(StepFailedError, match="pi-distill has learned nothing"):
        pi_distill.train(training_spec(pi_distill, tiny_llama_path, tmp_path / "alone", beta=0.0, **always))


def test_a_finished_training_is_told_again_without_training(tiny_llama_path, tmp_path):
    spec = training_spec(opsd, tiny_llama_path, tmp_path, count=4, epochs=2, batch_size=16, save_steps=2)
    first, again = opsd.train(spec), opsd.train(spec)
    assert same(weights(first.path), weights(again.path))
    assert (again.curves, again.notes) == (first.curves, first.notes)
    assert (again.phases[0], again.phases[1].updates) == (first.phases[0], 4)


def test_problems_with_nothing_to_show_are_left_out(tiny_llama_path, tmp_path):
    spec = training_spec(opsd, tiny_llama_path, tmp_path, count=12, epochs=1, batch_size=16)
    asked = tuple(
        dataclasses.replace(problem, answer="a" if place % 3 else "") for place, problem in enumerate(spec.problems)
    )
    result = opsd.train(dataclasses.replace(spec, problems=asked))
    assert result.notes[0] == "4 problems have no solution to show to the teacher and were left out."
    assert result.phases[-1].notes["effective_prompts"] == 8


def test_the_teacher_sees_the_solution_at_the_end_of_the_same_chat():
    class WithGold(Letters):
        def gold(self, problem):
            return "print('a')"

    (problem,) = problems(1)
    solved = dataclasses.replace(problem, solution="First a, then {b}.")
    said = informed_chat(solved, Letters(), "solution")[-1]["content"]
    assert said.startswith("Say 0.\n\nHint")
    assert "\nFirst a, then {b}.\n" in said
    assert "\na\n" in informed_chat(solved, Letters(), "answer")[-1]["content"]
    assert "\na\n" in informed_chat(problem, Letters(), "solution")[-1]["content"]
    assert "print('a')" in informed_chat(problem, WithGold(), "answer")[-1]["content"]
    assert problem.messages[-1]["content"] == "Say 0."


def test_phrases_of_the_hint_are_found_but_not_those_of_the_problem():
    (problem,) = problems(1)
    assert leaks(problem, "As the hint says, it is 3.") == leaks(problem, "The verified\nanswer: 3") == 1
    assert leaks(problem, "The answer is 3; hinted at.") == 0
    asked = dataclasses.replace(problem, messages=({"role": "user", "content": "Give a hint."},))
    assert leaks(asked, "A hint: count them.") == 0
    assert tokens_apart({"a": 3.0, "\x1b[31m": 1.0, "b": -2.0}) == (
        "Teacher and student differ most in the tokens 'a' (75%), '\\x1b[31m' (25%).",
    )
    assert tokens_apart({}) == ()


@pytest.mark.parametrize(("method", "read_by"), [(pi_distill, ("", "other_")), (opsd, ("",))])
def test_every_update_counts_the_tokens_of_the_sides_that_it_trains(method, read_by, tiny_llama_path, tmp_path):
    trainer, batch = trainer_of(method, tiny_llama_path, tmp_path, inner_epochs=2)
    trained = sum(
        len(prompt) + len(completion)
        for side in read_by
        for prompt, completion in rows_of(batch, *([f"{side}prompt"] if side else []))
    )
    assert trainer.state.num_input_tokens_seen == trained
    trainer._step += 1
    assert trainer._prepare_inputs({}) is batch  # the second inner epoch
    assert trainer.state.num_input_tokens_seen == 2 * trained
