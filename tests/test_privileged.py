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
    group_advantages,
    informed_chat,
    leaks,
    tokens_apart,
    two_chats,
)
from pfh_methods.tally import Tally

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


def moved(trainer, batch):
    """Move the policy; return NumPy's log-probabilities (sampler and other before, sampler and other after)."""
    both = [rows_of(batch), rows_of(batch, "other_prompt")]
    before = [[logps_of(trainer.model, *row, temperature=0.7) for row in rows] for rows in both]
    stir(trainer.model, seed=1)
    after = [[logps_of(trainer.model, *row, temperature=0.7) for row in rows] for rows in both]
    return before, after


def surrogate(new, old, advantage, epsilon=0.2):
    ratio = np.exp(new - old)
    return np.minimum(ratio * advantage, np.clip(ratio, 1 - epsilon, 1 + epsilon) * advantage)


def loss_of(trainer, batch) -> float:
    with torch.no_grad():
        return trainer.compute_loss(trainer.model, batch).item()


@pytest.mark.parametrize("alpha", [0.0, 0.5, 1.0])
def test_the_loss_of_pi_distill_is_that_of_the_paper(alpha, tiny_llama_path, tmp_path):
    """alpha J_Teacher + (1 - alpha) J_Student of arXiv 2602.04942, from the logits after both prompts."""
    trainer, batch = trainer_of(pi_distill, tiny_llama_path, tmp_path, alpha=alpha, beta=0.25)
    (teacher_old, _), (teacher, student) = moved(trainer, batch)
    rows = zip(
        batch["advantages"].tolist(), batch["shaped_advantages"].tolist(), teacher_old, teacher, student, strict=True
    )
    tokens = np.concatenate(
        [
            alpha * surrogate(teacher_new, old, shaped)
            + (1 - alpha) * (surrogate(student_new, old, plain) - 0.25 * (old - student_new))
            for plain, shaped, old, teacher_new, student_new in rows
        ]
    )
    assert loss_of(trainer, batch) == pytest.approx(-tokens.mean(), abs=1e-5)


def test_the_loss_of_opsd_is_that_of_the_paper(tiny_llama_path, tmp_path):
    """E_S[R] - beta KL(pi_S || sg pi_T) of arXiv 2602.04942, the divergence in the reward."""
    trainer, batch = trainer_of(opsd, tiny_llama_path, tmp_path, beta=0.25)
    (old, _), (new, _) = moved(trainer, batch)
    rows = zip(batch["shaped_advantages"].tolist(), old, new, strict=True)
    tokens = np.concatenate([surrogate(after, before, shaped) for shaped, before, after in rows])
    assert loss_of(trainer, batch) == pytest.approx(-tokens.mean(), abs=1e-5)


@pytest.mark.parametrize("method", [pi_distill, opsd])
def test_the_advantages_hold_the_divergence_of_the_sampler(method, tiny_llama_path, tmp_path):
    trainer, batch = trainer_of(method, tiny_llama_path, tmp_path, beta=0.25)
    (sampler, other), _ = moved(trainer, batch)
    apart = np.array([(one - two).mean() for one, two in zip(sampler, other, strict=True)])
    earned = [
        Letters().verify(None, trainer.processing_class.decode(ids, skip_special_tokens=True)).reward
        for _, ids in rows_of(batch)
    ]
    shaped = np.array(earned) - 0.25 * apart
    by_prompt: dict[tuple[int, ...], list[int]] = {}
    for place, (prompt, _) in enumerate(rows_of(batch)):
        by_prompt.setdefault(tuple(prompt), []).append(place)
    for places in by_prompt.values():
        assert len(places) == GROUP
        expected = (shaped[places] - shaped[places].mean()) / (shaped[places].std(ddof=1) + 1e-4)
        assert batch["shaped_advantages"][places].tolist() == pytest.approx(expected, abs=1e-4)


def test_with_alpha_1_only_the_teacher_is_trained_as_grpo_would(tiny_llama_path, tmp_path):
    """TRL's own GRPO loss on the teacher's prompts, with the shaped advantages, is the teacher's objective."""
    from trl import GRPOTrainer

    trainer, batch = trainer_of(pi_distill, tiny_llama_path, tmp_path, alpha=1.0, beta=0.25)
    stir(trainer.model, seed=2)
    teachers_own = {**batch, "advantages": batch["shaped_advantages"]}
    with torch.no_grad():
        expected = GRPOTrainer._compute_loss(trainer, trainer.model, teachers_own).item()
    assert loss_of(trainer, batch) == pytest.approx(expected, abs=1e-6)
    assert HINT.split("{")[0].strip() in trainer.processing_class.decode(rows_of(batch)[0][0])


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
    swapped = {**other, "advantages": other["shaped_advantages"]}
    stir(theirs.model, seed=1)
    stir(ours.model, seed=1)
    assert abs(loss_of(theirs, other) - loss_of(ours, swapped)) > 1e-2


@pytest.mark.parametrize("method", [pi_distill, opsd])
def test_the_gradient_is_that_of_finite_differences(method, tiny_llama_path, tmp_path):
    trainer, batch = trainer_of(method, tiny_llama_path, tmp_path, beta=0.25)
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
    assert max(slopes) > 0.05


def test_the_pull_of_each_side_lowers_its_own_divergence():
    """Exact divergences of two small policies: the gradients that beta adds are those of the paper's two KL terms."""
    teacher = torch.tensor([0.3, -0.2, 1.0, 0.1], dtype=torch.float64, requires_grad=True)
    student = torch.tensor([-0.5, 0.4, 0.2, 0.6], dtype=torch.float64, requires_grad=True)
    p, q = teacher.log_softmax(0), student.log_softmax(0)
    weight = p.detach().exp()

    expected = torch.autograd.grad((p.exp() * (p - q.detach())).sum(), teacher)[0]
    p = teacher.log_softmax(0)
    in_the_reward = torch.autograd.grad((weight * (p - p.detach()).exp() * (p - q).detach()).sum(), teacher)[0]
    assert torch.allclose(in_the_reward, expected)

    expected = torch.autograd.grad((weight * (p.detach() - q)).sum(), student)[0]
    q = student.log_softmax(0)
    tokens = pi_distill.student_objective(q[None], p.detach()[None], torch.zeros(1), beta=1.0, epsilon=0.2)[0]
    added = torch.autograd.grad(-(weight * tokens).sum(), student)[0]
    assert torch.allclose(added, expected)


def test_small_parts_against_numpy():
    rng = np.random.default_rng(0)
    new, old, other = (np.log(rng.uniform(0.1, 1, (8, 5))) for _ in range(3))
    mask = (np.arange(5) < rng.integers(1, 6, (8, 1))).astype(float)
    earned = rng.integers(0, 2, 8).astype(float)
    tensors = [torch.tensor(array) for array in (new, old, earned)]
    assert clipped(*tensors, 0.2).numpy() == pytest.approx(surrogate(new, old, earned[:, None]), abs=1e-6)
    apart = divergence(torch.tensor(old), torch.tensor(other), torch.tensor(mask)).numpy()
    assert apart == pytest.approx(((old - other) * mask).sum(1) / mask.sum(1), abs=1e-6)
    groups = earned.reshape(2, 4)
    expected = (groups - groups.mean(1, keepdims=True)) / (groups.std(1, ddof=1, keepdims=True) + 1e-4)
    assert group_advantages(torch.tensor(earned), 4).numpy() == pytest.approx(expected.reshape(-1), abs=1e-6)


@pytest.mark.parametrize("method", [pi_distill, opsd])
def test_the_reward_rises_whatever_the_seed(method, tiny_llama_path, tmp_path):
    result = assert_it_learns(method, tiny_llama_path, tmp_path, updates=7, inner_epochs=1)
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
