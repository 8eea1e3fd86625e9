"""PPO: advantages a token against a double loop, the critic, and what padding must not do."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from pfh.errors import UserError
from pfh.registry.plugins import Plugins
from pfh_methods import ppo
from pfh_methods.gae import advantages_and_returns, token_rewards, value_losses, whitened
from pfh_methods.online import online_arguments, own_chat, set_up_online
from pfh_methods.tally import Tally

from tests.letters import arguments_of, rows_of, training_spec, untimed

MASK = torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0], [1, 0, 0, 0]])


def test_advantages_are_those_of_a_double_loop():
    drawn = np.random.default_rng(0)
    rewards, values = drawn.normal(size=(3, 4)), drawn.normal(size=(3, 4))
    gamma, lam = 0.9, 0.7
    expected = np.zeros((3, 4))
    for row in range(3):
        length = int(MASK[row].sum())
        for start in range(length):
            for place in range(start, length):
                ahead = values[row, place + 1] if place + 1 < length else 0.0
                delta = rewards[row, place] + gamma * ahead - values[row, place]
                expected[row, start] += (gamma * lam) ** (place - start) * delta
    found, returns = advantages_and_returns(torch.tensor(rewards), torch.tensor(values), MASK, gamma, lam)
    np.testing.assert_allclose(found, expected, atol=1e-12)
    np.testing.assert_allclose(returns, (expected + values) * MASK.numpy(), atol=1e-12)


def test_without_a_critic_every_token_has_the_completions_reward_as_reinforce_gives_it():
    rewards = token_rewards(torch.tensor([1.0, 0.5, -2.0]), MASK)
    assert rewards.tolist() == [[0, 0, 0, 1], [0, 0.5, 0, 0], [-2, 0, 0, 0]]
    found, _ = advantages_and_returns(rewards, torch.zeros(3, 4), MASK, 1.0, 1.0)
    assert found.tolist() == [[1, 1, 1, 1], [0.5, 0.5, 0, 0], [-2, 0, 0, 0]]
    penalised = token_rewards(torch.tensor([1.0, 1.0, 1.0]), MASK, torch.full((3, 4), 0.1))
    assert penalised[1].tolist() == pytest.approx([-0.1, 0.9, 0, 0])


def test_padding_takes_no_part_in_whitening():
    values = torch.tensor([[1.0, 2.0, 3.0, 4.0], [5.0, 6.0, 99.0, -99.0], [7.0, 50.0, 50.0, 50.0]])
    found = whitened(values, MASK)
    kept = np.array([1, 2, 3, 4, 5, 6, 7.0])
    np.testing.assert_allclose(found[MASK.bool()], (kept - kept.mean()) / kept.std(), atol=1e-5)
    assert not found[~MASK.bool()].any()


def test_the_values_loss_is_the_larger_of_the_plain_and_the_clipped_one():
    losses = value_losses(torch.tensor([2.0, 0.2]), torch.tensor([0.0, 0.0]), torch.tensor([3.0, 1.0]), 0.5)
    assert losses.tolist() == pytest.approx([0.5 * 2.5**2, 0.5 * 0.8**2])


def trainer_of(model_path, folder, **options):
    """Return a trainer, and a batch of its rollouts."""
    spec = training_spec(ppo, model_path, folder, **({"batch_size": 16, "generations": 2} | options))
    setup = set_up_online(spec, "ppo", own_chat, Tally.read(folder / "rollouts.json"))
    trainer = ppo.ppo_trainer(setup, online_arguments(setup, arguments_of(spec)))
    trainer.model.train()
    trainer.current_gradient_accumulation_steps = 1
    return trainer, trainer._prepare_inputs(next(iter(trainer.get_train_dataloader())))


def test_the_critic_learns_a_constant_reward_and_the_policy_sees_its_advantages(tiny_llama_path, tmp_path):
    trainer, batch = trainer_of(tiny_llama_path, tmp_path)
    mask = batch["completion_mask"]
    lengths = [len(completion) for _, completion in rows_of(batch)]
    assert mask.sum(dim=1).tolist() == lengths
    assert batch["advantages"].shape == mask.shape
    assert float(trainer.critic.bias) == pytest.approx(float(trainer.rewards.mean()))
    assert batch["old_values"][mask.bool()].unique().numel() == 1
    batch = {**batch, "returns": torch.ones_like(batch["returns"]), "advantages": torch.zeros_like(batch["returns"])}
    optimizer = torch.optim.Adam(trainer.critic.parameters(), lr=1e-2)
    losses = []
    for _ in range(20):
        optimizer.zero_grad()
        loss = trainer._compute_loss(trainer.model, batch)
        loss.backward()
        optimizer.step()
        losses.append(float(loss))
    assert losses[-1] < losses[0] / 2


def test_a_training_updates_policy_and_critic_and_its_curves_hold_the_values_loss(tiny_llama_path, tmp_path):
    spec = training_spec(ppo, tiny_llama_path, tmp_path, count=16, generations=2, beta=0.1, epochs=2.0)
    result = ppo.train(spec)
    assert all("value_loss" in row for row in untimed(result.curves))
    assert result.phases[-1].updates == len(result.curves)
    assert {file.name for file in result.path.iterdir()} >= {"adapter_config.json", "adapter_model.safetensors"}
    (saved, *_) = sorted(tmp_path.glob("trainer/checkpoint-*/critic.safetensors"))
    assert saved.stat().st_size


def test_a_divergence_in_the_reward_needs_the_start_beside_the_policy():
    with pytest.raises(UserError, match="adapter=lora"):
        Plugins().options("methods", "ppo", {"beta": "0.1", "adapter": "full"})
