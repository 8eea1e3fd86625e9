"""Generalised advantage estimation over the tokens of completions (Schulman et al. 2016, arXiv 1506.02438)."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def token_rewards(rewards: torch.Tensor, mask: torch.Tensor, penalty: torch.Tensor | None = None) -> torch.Tensor:
    """Return a reward a token: that of the completion at its last token, less `penalty` at each.

    Args:
        rewards: shape (completions,).
        mask: 1 at the completions' tokens, shape (completions, tokens).
        penalty: such as the divergence from the start, shape (completions, tokens).
    """
    import torch

    spread = torch.zeros_like(mask, dtype=torch.float32) if penalty is None else -penalty * mask
    lengths = mask.sum(dim=1).long()
    rows = torch.nonzero(lengths).flatten()
    spread[rows, lengths[rows] - 1] += rewards[rows].float()
    return spread


def advantages_and_returns(
    rewards: torch.Tensor, values: torch.Tensor, mask: torch.Tensor, gamma: float, lam: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the advantages A_t = sum over l of (gamma lam)^l delta_(t+l), and the returns A_t + V_t.

    delta_t = r_t + gamma V_(t+1) - V_t, and V is 0 behind the last token. All have shape (completions, tokens); padding
    stands at the end and is 0 in the results.
    """
    import torch

    values = values * mask
    advantages = torch.zeros_like(values)
    following = torch.zeros_like(values[:, 0])
    ahead = torch.zeros_like(values[:, 0])
    for place in reversed(range(values.size(1))):
        here = mask[:, place].to(values.dtype)
        delta = rewards[:, place] + gamma * ahead - values[:, place]
        following = (delta + gamma * lam * following) * here
        advantages[:, place] = following
        ahead = values[:, place]
    return advantages, (advantages + values) * mask


def whitened(advantages: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Return the advantages with mean 0 and variance 1 over the tokens that are no padding, which stays 0."""
    import torch

    kept = advantages[mask.bool()]
    if not len(kept):
        return torch.zeros_like(advantages)
    return torch.where(mask.bool(), (advantages - kept.mean()) / (kept.std(unbiased=False) + 1e-8), 0.0)


def value_losses(values: torch.Tensor, old: torch.Tensor, returns: torch.Tensor, clip: float) -> torch.Tensor:
    """Return half the squared error of each token's value, the larger of the plain and the clipped one."""
    import torch

    near = old + (values - old).clamp(-clip, clip)
    return 0.5 * torch.maximum((values - returns).square(), (near - returns).square())
