"""Win rates that answers' lengths do not decide (Dubois et al. 2024, arXiv 2404.04475).

The probability that answer i is preferred is modelled as sigma(theta + psi * gamma_i + phi * tanh(d_i / sd(d))), with d
how much longer the baseline's answer is, in characters, and gamma the instruction's difficulty; the length-controlled
rate is the mean of sigma(theta + psi * gamma_i). The published fits lean on annotations of another model whose lengths
were made to vary. Here phi and psi have Gaussian priors instead, by default with the medians of the published fits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

LEAST_PAIRS = 100
"""Pairs below which lengths and merits cannot be told apart."""


@dataclass(frozen=True, kw_only=True)
class Prior:
    """What is known of a judge beforehand: normal, mean and standard deviation."""

    length: tuple[float, float]
    """Of phi."""
    difficulty: tuple[float, float]
    """Of psi."""


PUBLISHED = Prior(length=(-1.50, 0.2), difficulty=(0.94, 0.2))
"""Medians of AlpacaEval's 194 published fits: GPT-4's preferences against GPT-4 1106 preview."""
OTHER_JUDGE = Prior(length=(-1.50, 1.0), difficulty=(0.94, 1.0))


def length_controlled(
    preferences: Sequence[float],
    lengths: Sequence[int],
    baseline_lengths: Sequence[int],
    difficulty: Sequence[float],
    prior: Prior = PUBLISHED,
) -> float:
    """Return the win rate of answers as long as the baseline's, a share.

    Args:
        preferences: probability that the model's answer is preferred, an instruction each; a tie is 0.5.
        lengths: of the model's answers, in characters.
        baseline_lengths: of the baseline's.
        difficulty: gamma of each instruction.
        prior: of the judge.

    Raises:
        ValueError: there are fewer than LEAST_PAIRS.
    """
    if len(preferences) < LEAST_PAIRS:
        raise ValueError(f"{len(preferences)} pairs, and it takes {LEAST_PAIRS}")
    from scipy.optimize import minimize
    from scipy.special import expit

    y, gamma = np.asarray(preferences, dtype=float), np.asarray(difficulty, dtype=float)
    longer = np.asarray(baseline_lengths, dtype=float) - np.asarray(lengths, dtype=float)
    spread = longer.std(ddof=1)
    x = np.column_stack([np.tanh(longer / spread) if spread else np.zeros_like(longer), gamma, np.ones_like(gamma)])
    means = np.array([prior.length[0], prior.difficulty[0], 0.0])
    weights = np.array([prior.length[1] ** -2, prior.difficulty[1] ** -2, 0.0])

    def loss(b: np.ndarray) -> tuple[float, np.ndarray]:
        u = x @ b
        value = float((np.logaddexp(0, u) - y * u).sum() + (weights * (b - means) ** 2).sum() / 2)
        return value, x.T @ (expit(u) - y) + weights * (b - means)

    fitted = minimize(loss, means, jac=True, method="BFGS").x
    return float(expit(fitted[2] + fitted[1] * gamma).mean())
