"""What a weight delta is like: its singular values, and where it points, in double precision.

- Effective rank: exp of the entropy of the normalised singular values (Roy & Vetterli 2007).
- Stable rank: squared Frobenius norm over the squared largest singular value.
- Energy: share of the squared singular values in the top r.
- Angle: mean principal angle between the span of the delta's top left singular vectors and that of the base's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

TALL = 4
"""A matrix with so many times more rows than columns, such as an embedding, is never in memory as a whole."""
KEPT = 64
"""So many singular values of a matrix are kept for plots."""
NEGLIGIBLE = 1e-10
"""A singular value at most this share of the largest is rounding."""


Blocks = Callable[[], "Iterator[NDArray[np.float64]]"]
"""Reads a matrix from its first row to its last, some rows at a time."""


@dataclass(frozen=True, kw_only=True)
class Spectrum:
    """Singular values, the largest first, and the left singular vectors that belong to the first of them."""

    values: NDArray[np.float64]
    left: NDArray[np.float64]
    """Shape (rows of the matrix, top)."""


def of_factors(left: NDArray[np.float64], right: NDArray[np.float64], top: int) -> Spectrum:
    """Return the spectrum of `left @ right`, which is never formed: QR of both, SVD of the small core.

    Args:
        left: shape (rows, r).
        right: shape (r, columns).
        top: left singular vectors to return, at most.
    """
    left_basis, left_core = np.linalg.qr(left)
    _, right_core = np.linalg.qr(right.T)
    vectors, values, _ = np.linalg.svd(left_core @ right_core.T)
    return _spectrum(values, left_basis @ vectors, top)


def of_dense(matrix: NDArray[np.float64], top: int) -> Spectrum:
    """Return the spectrum of `matrix`, with at most `top` left singular vectors."""
    values = np.asarray(np.linalg.svd(matrix, compute_uv=False), dtype=np.float64)
    return _spectrum(values, top_directions(matrix, top), top)


def of_tall(blocks: Blocks, top: int) -> Spectrum:
    """Return the spectrum of a matrix of far more rows than columns, of which one block of rows is in memory at once.

    The triangular factor of its QR decomposition has its singular values, and grows by a block at a time.
    """
    parts = blocks()
    core = next(parts)
    for block in parts:
        core = np.asarray(np.linalg.qr(np.vstack([core, block]), mode="r"))
    _, values, right = np.linalg.svd(core, full_matrices=False)
    found = min(top, int(np.count_nonzero(values > NEGLIGIBLE * values[0])))
    left = np.vstack([block @ right[:found].T for block in blocks()]) / values[:found]
    return _spectrum(values, left, top)


def top_directions(matrix: NDArray[np.float64], top: int) -> NDArray[np.float64]:
    """Return the first `top` left singular vectors of `matrix`, or as many as it has, shape (rows, top)."""
    if top >= min(matrix.shape) // 2:
        return np.linalg.svd(matrix, full_matrices=False)[0][:, :top]
    from scipy.sparse.linalg import svds

    start = np.random.default_rng(0).standard_normal(min(matrix.shape))
    vectors, values, _ = svds(matrix, k=top, v0=start, return_singular_vectors="u")
    return np.asarray(vectors[:, np.argsort(-values)])


def effective_rank(values: NDArray[np.float64]) -> float:
    """Return exp of the entropy of the normalised singular values."""
    shares = values[values > 0] / values.sum()
    return float(np.exp(-np.sum(shares * np.log(shares))))


def stable_rank(values: NDArray[np.float64]) -> float:
    """Return the squared Frobenius norm over the squared largest singular value."""
    return float(np.sum((values / values[0]) ** 2))


def energy(values: NDArray[np.float64], top: int) -> float:
    """Return the share of the squared singular values that the first `top` hold."""
    squares = (values / values[0]) ** 2
    return float(squares[:top].sum() / squares.sum())


def mean_angle(delta: NDArray[np.float64], base: NDArray[np.float64]) -> float:
    """Return the mean principal angle between two subspaces, in degrees; the smaller one decides how many there are.

    Args:
        delta: orthonormal columns, shape (rows, any).
        base: likewise.
    """
    from scipy.linalg import subspace_angles

    return float(np.degrees(subspace_angles(delta, base)).mean())


def _spectrum(values: NDArray[np.float64], vectors: NDArray[np.float64], top: int) -> Spectrum:
    values = np.where(values > NEGLIGIBLE * values[0], values, 0.0)
    rank = int(np.count_nonzero(values))
    return Spectrum(values=values, left=vectors[:, : min(top, rank)])
