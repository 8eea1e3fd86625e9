"""How far training moved each weight matrix, and along how many directions: one matrix in memory at a time, or less."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from pfh_evals.representation import spectra
from pfh_evals.representation.weights import UnreadableWeightsError, Weights, open_weights

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from pfh.hooks.checkpoint import Checkpoint

BLOCK = 2**17
"""Numbers of a tall matrix that are read at once, at least."""
_LAYER = re.compile(r"\.(\d+)\.")


@dataclass(frozen=True, kw_only=True)
class Delta:
    """One matrix: after minus before."""

    matrix: str
    kind: str
    """The module, such as "q_proj"."""
    layer: int | None
    """None for embeddings and the output head."""
    norm: float
    """Frobenius norm of the delta; 0 where nothing changed, and what follows is None then."""
    relative_norm: float | None = None
    """The norm over that of the matrix before; None where that matrix is zero."""
    effective_rank: float | None = None
    stable_rank: float | None = None
    energy: float | None = None
    """Share of the squared singular values in the top `top`."""
    angle: float | None = None
    """Mean principal angle to the top left singular directions of the matrix before, in degrees."""
    singular_values: tuple[float, ...] = ()
    """The largest `spectra.KEPT`."""


@dataclass(frozen=True, kw_only=True)
class Pair:
    """The weights of two checkpoints, as far as they can be compared."""

    before: Weights
    after: Weights
    names: tuple[str, ...]
    """Matrices that both have in one shape."""
    same_base: bool
    """Both stand on the same files, so that only adapters make a difference."""
    left_out: int
    """Matrices that only one has, or in another shape."""


def pair(before: Checkpoint, after: Checkpoint) -> Pair:
    """Open two checkpoints.

    Raises:
        UnreadableWeightsError: the matrices of one cannot be read, or they have none of one name and shape.
    """
    first, second = open_weights(before), open_weights(after)
    names = tuple(name for name, shape in first.shapes.items() if second.shapes.get(name) == shape)
    if not names:
        raise UnreadableWeightsError("the models have no weight matrix of the same name and shape")
    everything = first.shapes.keys() | second.shapes.keys()
    return Pair(
        before=first,
        after=second,
        names=names,
        same_base=before.path.resolve() == after.path.resolve(),
        left_out=len(everything) - len(names),
    )


def measure(pair: Pair, top: int) -> Iterator[Delta]:
    """Yield the delta of every matrix.

    Args:
        pair: the checkpoints.
        top: size of the subspaces that are compared, and of the energy share.
    """
    for name in pair.names:
        yield _measure_one(pair, name, top)


def _measure_one(pair: Pair, name: str, top: int) -> Delta:
    found = _LAYER.search(name)
    words = name.removesuffix(".weight").split(".")
    unchanged = Delta(matrix=name, kind=words[-1], layer=int(found[1]) if found else None, norm=0.0, relative_norm=0.0)
    spectrum = _spectrum(pair, name, top)
    if spectrum is None or spectrum.values[0] == 0:
        return unchanged
    values, norm = spectrum.values, float(np.linalg.norm(spectrum.values))
    size, directions = _size_and_directions(pair.before, name, top)
    return replace(
        unchanged,
        norm=norm,
        relative_norm=norm / size if size else None,
        effective_rank=spectra.effective_rank(values),
        stable_rank=spectra.stable_rank(values),
        energy=spectra.energy(values, top),
        angle=spectra.mean_angle(spectrum.left, directions) if size else None,
        singular_values=tuple(float(value) for value in values[: spectra.KEPT]),
    )


def _spectrum(pair: Pair, name: str, top: int) -> spectra.Spectrum | None:
    """Return the spectrum of one delta, by factors where only adapters differ; None where nothing differs."""
    if pair.same_base and name not in pair.before.replaced and name not in pair.after.replaced:
        return _of_adapters(pair, name, top)

    def delta() -> Iterator[NDArray[np.float64]]:
        for rows in _blocks(pair.before, name):
            change = pair.after.rows(name, *rows)
            change -= pair.before.rows(name, *rows)
            yield change

    if not any(np.any(block) for block in delta()):
        return None
    return spectra.of_tall(delta, top) if _is_tall(pair.before, name) else spectra.of_dense(next(delta()), top)


def _size_and_directions(weights: Weights, name: str, top: int) -> tuple[float, NDArray[np.float64]]:
    """Return the Frobenius norm of a matrix and its top left singular directions."""

    def blocks() -> Iterator[NDArray[np.float64]]:
        return (weights.rows(name, *rows) for rows in _blocks(weights, name))

    if _is_tall(weights, name):
        spectrum = spectra.of_tall(blocks, top)
        return float(np.linalg.norm(spectrum.values)), spectrum.left
    matrix = next(blocks())
    return float(np.linalg.norm(matrix)), spectra.top_directions(matrix, top)


def _is_tall(weights: Weights, name: str) -> bool:
    rows, columns = weights.shapes[name]
    return rows > spectra.TALL * columns


def _blocks(weights: Weights, name: str) -> Iterator[tuple[int, int]]:
    """Yield the first row and the one behind the last of each block: of one block where the matrix is not tall."""
    rows, columns = weights.shapes[name]
    size = max(2 * columns, BLOCK // columns) if _is_tall(weights, name) else rows
    for start in range(0, rows, size):
        yield start, min(start + size, rows)


def _of_adapters(pair: Pair, name: str, top: int) -> spectra.Spectrum | None:
    added, taken = pair.after.factors.get(name), pair.before.factors.get(name)
    if added is None and taken is None:
        return None
    lefts = [each.left * sign for each, sign in ((added, 1.0), (taken, -1.0)) if each is not None]
    rights = [each.right for each in (added, taken) if each is not None]
    if added is not None and taken is not None and _equal(added.left, taken.left) and _equal(added.right, taken.right):
        return None
    return spectra.of_factors(np.hstack(lefts), np.vstack(rights), top)


def _equal(first: NDArray[np.float64], second: NDArray[np.float64]) -> bool:
    return np.array_equal(first, second)
