"""The next token of every row, greedy or drawn; a row's draw depends on its own request alone."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch
    from pfh.hooks.backends import Sampling


def uniforms(request_ids: Sequence[str], sampling: Sampling, device: torch.device) -> torch.Tensor:
    """Return a uniform number in [0, 1) for every token that may be drawn, shape (requests, max_new_tokens)."""
    import numpy as np
    import torch

    seeds = (hashlib.sha256(f"{sampling.seed}\0{request_id}".encode()).digest()[:8] for request_id in request_ids)
    rows = [np.random.default_rng(int.from_bytes(seed)).random(sampling.max_new_tokens) for seed in seeds]
    return torch.tensor(np.array(rows), dtype=torch.float32, device=device)


def choose(logits: torch.Tensor, sampling: Sampling, uniform: torch.Tensor) -> torch.Tensor:
    """Return the next tokens, shape (rows,), for float32 `logits` (rows, vocabulary) and `uniform` (rows,).

    Greedy at temperature 0. Otherwise the inverse of the cumulative distribution at `uniform`, over the smallest set of
    most likely tokens whose mass reaches `top_p` (Holtzman et al. 2020, arXiv 1904.09751, section 3.1).
    """
    import torch

    if sampling.temperature == 0:
        return logits.argmax(-1)
    probabilities = torch.softmax(logits / sampling.temperature, dim=-1)
    if sampling.top_p >= 1:
        return _invert(probabilities, uniform)
    probabilities, order = probabilities.sort(dim=-1, descending=True, stable=True)
    mass_before = probabilities.cumsum(-1) - probabilities
    nucleus = probabilities.masked_fill(mass_before >= sampling.top_p, 0.0)
    return order.gather(-1, _invert(nucleus, uniform)[:, None])[:, 0]


def _invert(probabilities: torch.Tensor, uniform: torch.Tensor) -> torch.Tensor:
    import torch

    cumulative = probabilities.cumsum(-1)
    total = cumulative[:, -1:]
    # Strictly below the total, or rounding could choose a token of probability 0 behind the last possible one.
    target = torch.minimum(uniform[:, None] * total, torch.nextafter(total, torch.zeros_like(total)))
    return torch.searchsorted(cumulative, target, right=True)[:, 0]
