"""Models merged at no training cost, tensor by tensor: interpolation, task vectors and spherical interpolation.

With the start θ0, models θ1 to θm and task vectors τi = θi - θ0, computed in float32 and rounded once at the end:

- interpolation (WiSE-FT, Wortsman et al. 2022, arXiv 2109.01903): (1 - α) θ0 + α θ1
- soup (Wortsman et al. 2022, arXiv 2203.05482): the mean of θ1 to θm
- task arithmetic (Ilharco et al. 2023, arXiv 2212.04089): θ0 + λ Σ τi
- TIES (Yadav et al. 2023, arXiv 2306.01708): of each τi the share k of the largest entries, at each place the mean of
  those that agree with the sign of their sum, times λ
- DARE (Yu et al. 2024, arXiv 2311.03099): of each τi a share p of the entries dropped at random and the rest divided by
  1 - p, then summed as in task arithmetic or merged as in TIES, times λ
- SLERP: along the great circle of θ0 and θ1, or where they are nearly parallel along the line

Trimmed task vectors are merged by peft's functions. As there, each tensor is trimmed by itself; the TIES paper trims
over all of them.
"""

from __future__ import annotations

import hashlib
import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import torch

How = Literal["task-arithmetic", "ties", "dare", "dare-ties", "slerp"]
PARALLEL = 0.9995
"""A larger cosine: the great circle is a line within rounding."""
BLOCK = 1 << 22
"""Entries that are merged at once."""
ABOVE_ALL = 0x7FFFFFFF
"""As the bits of a magnitude: no float has them."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How task vectors are merged."""

    how: How
    scale: float = 1.0
    """λ; of SLERP the share of the way from θ0 to θ1."""
    density: float = 0.2
    """Share of a task vector's entries that TIES keeps."""
    drop: float = 0.9
    """Share of a task vector's entries that DARE drops."""
    seed: int = 0


def interpolated(start: torch.Tensor, trained: torch.Tensor, alpha: float) -> torch.Tensor:
    """Return (1 - α) start + α trained, exact at 0 and 1 and wherever the two are equal."""
    import torch

    if alpha == 0:
        return start
    if alpha == 1 or not trained.is_floating_point():
        return trained
    return _in_blocks([start, trained], lambda parts: torch.lerp(parts[0], parts[1], alpha))


def mean(tensors: Sequence[torch.Tensor]) -> torch.Tensor:
    """Return the mean of several tensors, of what is no number the first."""
    if len(tensors) == 1 or not tensors[0].is_floating_point():
        return tensors[0]
    return _in_blocks(tensors, lambda parts: sum(parts[1:], parts[0]) / len(parts))


def _in_blocks(
    tensors: Sequence[torch.Tensor],
    make: Callable[[list[torch.Tensor]], torch.Tensor],
    dtype: torch.dtype | None = None,
) -> torch.Tensor:
    """Return what `make` makes of the tensors, `BLOCK` entries at a time in float32, in the widest of their types.

    Or in `dtype`, where it is given.
    """
    import torch

    dtype = dtype or reduce(torch.promote_types, (each.dtype for each in tensors))
    flat = [each.reshape(-1) for each in tensors]
    result = torch.empty(flat[0].shape, dtype=dtype)
    for place in range(0, len(result), BLOCK):
        block = slice(place, place + BLOCK)
        result[block] = make([each[block].float() for each in flat])
    return result.reshape(tensors[0].shape)


def merged(start: torch.Tensor, models: Sequence[torch.Tensor], name: str, recipe: Recipe) -> torch.Tensor:
    """Return one tensor of the start merged with those of the models, by task vectors; `name` seeds what is drawn.

    All is computed in blocks: no task vector is ever held whole.
    """
    import torch

    if not start.is_floating_point():
        return models[0]
    if recipe.how == "slerp":
        return slerp(start, models[0], recipe.scale)[0]
    kept = int(recipe.density * start.numel())
    leasts = [_least_kept(start, model, kept) for model in models] if recipe.how == "ties" else [0] * len(models)

    def combined(parts: list[torch.Tensor]) -> torch.Tensor:
        vectors = [_trimmed(model - parts[0], least) for model, least in zip(parts[1:], leasts, strict=True)]
        return parts[0] + recipe.scale * _combined(vectors, recipe)

    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that a density of 1 prunes nothing
        torch.manual_seed(_seed_of(name, recipe.seed))
        return _in_blocks([start, *models], combined)


def _trimmed(vector: torch.Tensor, least: int) -> torch.Tensor:
    """Return a part of a task vector with 0 for the magnitudes whose bits are below `least`."""
    return vector.masked_fill(_bits(vector) < least, 0) if least else vector


def _bits(vector: torch.Tensor) -> torch.Tensor:
    """Return the bits of the magnitudes, which are in their order."""
    import torch

    return vector.abs().view(torch.int32)


def _least_kept(start: torch.Tensor, model: torch.Tensor, kept: int) -> int:
    """Return the bits of the magnitude that the `kept` largest entries of the task vector have at least.

    They are counted by the upper 16 of the 31, then by the lower 15 of those where the least one lies: a sort of an
    embedding would take three times its size, and a bisection thirty passes. What is as large as the least is kept too.
    """
    import torch

    def parts() -> Iterator[torch.Tensor]:
        pairs = zip(start.reshape(-1).split(BLOCK), model.reshape(-1).split(BLOCK), strict=True)
        return (_bits(after.float() - before.float()) for before, after in pairs)

    if not kept:
        return ABOVE_ALL
    upper, lower = torch.zeros(1 << 16, dtype=torch.long), torch.zeros(1 << 15, dtype=torch.long)
    for bits in parts():
        upper += torch.bincount(bits >> 15, minlength=len(upper))
    bucket, above = _place_from_the_top(upper, kept)
    for bits in parts():
        lower += torch.bincount(bits[bits >> 15 == bucket] & 0x7FFF, minlength=len(lower))
    return (bucket << 15) + _place_from_the_top(lower, kept - above)[0]


def _place_from_the_top(counts: torch.Tensor, wanted: int) -> tuple[int, int]:
    """Return the highest place at and above which there are `wanted`, and how many are above it."""
    from_the_top = counts.flip(0).cumsum(0)
    found = int((from_the_top < wanted).sum())
    return len(counts) - 1 - found, int(from_the_top[found - 1]) if found else 0


def _combined(vectors: list[torch.Tensor], recipe: Recipe) -> torch.Tensor:
    import torch
    from peft.utils import merge_utils

    weights = torch.ones(len(vectors))
    functions: dict[How, Callable[[], torch.Tensor]] = {
        "task-arithmetic": lambda: merge_utils.task_arithmetic(vectors, weights),
        "ties": lambda: merge_utils.ties(vectors, weights, density=1.0),
        "dare": lambda: merge_utils.dare_linear(vectors, weights, 1 - recipe.drop),
        "dare-ties": lambda: merge_utils.dare_ties(vectors, weights, 1 - recipe.drop),
    }
    return functions[recipe.how]()


def slerp(start: torch.Tensor, other: torch.Tensor, share: float) -> tuple[torch.Tensor, bool]:
    """Return the point at `share` of the way from `start` to `other` on their great circle, and whether it was a line.

    With Ω the angle between the two: [sin((1 - t) Ω) start + sin(t Ω) other] / sin Ω.
    """
    import torch

    if share in (0, 1):
        return (other if share else start), False
    norms = math.sqrt(_dot(start, start) * _dot(other, other))
    cosine = _dot(start, other) / norms if norms else 1.0
    if abs(cosine) > PARALLEL:
        return _in_blocks([start, other], lambda parts: torch.lerp(parts[0], parts[1], share)), True
    angle = math.acos(cosine)
    first, second = (math.sin(part * angle) / math.sin(angle) for part in (1 - share, share))
    return _in_blocks([start, other], lambda parts: first * parts[0] + second * parts[1]), False


def _dot(one: torch.Tensor, two: torch.Tensor) -> float:
    pairs = zip(one.reshape(-1).split(BLOCK), two.reshape(-1).split(BLOCK), strict=True)
    return math.fsum(float((first.double() * second.double()).sum()) for first, second in pairs)


def _seed_of(name: str, seed: int) -> int:
    return int.from_bytes(hashlib.sha256(f"{seed}/{name}".encode()).digest()[:7])
