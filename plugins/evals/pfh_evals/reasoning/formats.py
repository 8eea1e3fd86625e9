"""How the forms of a model's reasoning are distributed, and whether the distribution changed."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

import numpy as np

PERMUTATIONS = 2000


def entropy(forms: Sequence[str]) -> float:
    """Return the entropy in bits, with the correction of Miller and Madow: (K - 1) / (2 N ln 2)."""
    count, shares = len(forms), Counter(forms)
    plain = -sum(each / count * math.log2(each / count) for each in shares.values())
    return plain + (len(shares) - 1) / (2 * count * math.log(2))


def distance(before: Sequence[str], after: Sequence[str]) -> float:
    """Return the Jensen-Shannon distance of two distributions, the root of the divergence in bits: from 0 to 1."""
    first, second = Counter(before), Counter(after)
    total = 0.0
    for form in set(first) | set(second):
        p, q = first[form] / len(before), second[form] / len(after)
        middle = (p + q) / 2
        total += sum(0.5 * share * math.log2(share / middle) for share in (p, q) if share)
    return math.sqrt(max(total, 0.0))


def permutation_p(before: Sequence[str], after: Sequence[str], seed: int = 0) -> float:
    """Return the p-value of no change: before and after swapped within prompts, at random."""
    draw = np.random.default_rng(seed)
    seen = distance(before, after)
    larger = 0
    for swaps in draw.random((PERMUTATIONS, len(before))) < 0.5:
        x = [b if swap else a for a, b, swap in zip(before, after, swaps, strict=True)]
        y = [a if swap else b for a, b, swap in zip(before, after, swaps, strict=True)]
        larger += distance(x, y) >= seen - 1e-12
    return (larger + 1) / (PERMUTATIONS + 1)
