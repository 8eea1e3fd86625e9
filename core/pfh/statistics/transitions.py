"""Forgetting and backward transfer by sample-level transitions, corrected for guessing.

Source: Harmon et al. 2025, arXiv 2510.17776. With scores in {0, 1} before and after on the same samples, forgetting F
is the share of 1 -> 0 and backward transfer BT the share of 0 -> 1. A model that guesses among k options forgets and
gains by chance alone, at the rate (1 - acc_before)(1 - acc_after) / (k - 1) each, if its guesses are drawn anew.

Deterministic decoding does not draw its guesses anew, so that rate is the most that guessing explains. What is taken
off is the same on both sides and at most the smaller of them: a correction must not touch the net change, F - BT.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True)
class Transitions:
    """Shares of all samples, in [0, 1]."""

    forgetting: float
    backward_transfer: float
    forgetting_corrected: float | None
    """F - c with c = min(chance, F, BT): the least that was forgotten; None where a sample is no multiple choice."""
    backward_transfer_corrected: float | None
    """BT - c: the least that was gained."""
    forgetting_ceiling: float | None
    """The most that can be forgotten beyond chance: (k acc_before - 1) / (k - 1), at least 0."""
    backward_transfer_ceiling: float | None
    """Likewise with acc_after."""


def transitions(before: NDArray[np.float64], after: NDArray[np.float64], choices: Sequence[int | None]) -> Transitions:
    """Count the transitions of binary scores and correct them for guessing.

    Args:
        before: scores in {0, 1}, shape (n,).
        after: likewise, on the same samples.
        choices: number of options of each sample. Samples with one k form a group with accuracies of its own,
            whose chance rates and ceilings are averaged by size.
    """
    forgetting, transfer = float(np.mean(before > after)), float(np.mean(after > before))
    options = np.array([k or 0 for k in choices])
    if np.any(options < 2):  # free text cannot be guessed
        return Transitions(
            forgetting=forgetting,
            backward_transfer=transfer,
            forgetting_corrected=None,
            backward_transfer_corrected=None,
            forgetting_ceiling=None,
            backward_transfer_ceiling=None,
        )
    chance = ceiling_before = ceiling_after = 0.0
    for k in sorted(set(options.tolist())):
        group = options == k
        share, pre, post = float(group.mean()), float(before[group].mean()), float(after[group].mean())
        lost, gained = float(np.mean(before[group] > after[group])), float(np.mean(after[group] > before[group]))
        chance += share * min((1 - pre) * (1 - post) / (k - 1), lost, gained)
        ceiling_before += share * max((k * pre - 1) / (k - 1), 0.0)
        ceiling_after += share * max((k * post - 1) / (k - 1), 0.0)
    return Transitions(
        forgetting=forgetting,
        backward_transfer=transfer,
        forgetting_corrected=max(forgetting - chance, 0.0),  # below 0 by rounding only
        backward_transfer_corrected=max(transfer - chance, 0.0),
        forgetting_ceiling=ceiling_before,
        backward_transfer_ceiling=ceiling_after,
    )
