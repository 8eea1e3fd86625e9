"""How far training moved each weight matrix, and along how many directions: one matrix in memory at a time."""

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
    from pfh.models import Checkpoint

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
    matrix = pair.before.whole(name)
    values, norm = spectrum.values, float(np.linalg.norm(spectrum.values))
    size = float(np.linalg.norm(matrix))
    return replace(
        unchanged,
        norm=norm,
        relative_norm=norm / size if size else None,
        effective_rank=spectra.effective_rank(values),
        stable_rank=spectra.stable_rank(values),
        energy=spectra.energy(values, top),
        angle=spectra.mean_angle(spectrum.left, spectra.top_directions(matrix, top)) if size else None,
        singular_values=tuple(float(value) for value in values[: spectra.KEPT]),
    )


def _spectrum(pair: Pair, name: str, top: int) -> spectra.Spectrum | None:
    """Return the spectrum of one delta, by factors where only adapters differ; None where nothing differs."""
    if pair.same_base and name not in pair.before.replaced and name not in pair.after.replaced:
        return _of_adapters(pair, name, top)
    delta: NDArray[np.float64] = pair.after.whole(name) - pair.before.whole(name)
    return spectra.of_dense(delta, top) if np.any(delta) else None


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
