"""Token sequences as a trie, in depth-first order: what they share stands there once.

The order makes both questions that a scorer asks a comparison of two numbers. Node i has node j among its ancestors, or
is j itself, if `j <= i < ends[j]`; and node j is needed by what comes from node i on if `j < i < ends[j]`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

REPEATED = 16
"""A group may grow to this many times what its first two rows share, so that little of the work is done twice."""


@dataclass(frozen=True, kw_only=True)
class Trie:
    """The distinct prefixes of some rows, a node each; arrays of shape (nodes,) unless it says otherwise."""

    tokens: NDArray[np.int64]
    depths: NDArray[np.int64]
    """The place of a node's token in its rows, from 0."""
    ends: NDArray[np.int64]
    """The node after the last one below this node."""
    paths: tuple[NDArray[np.int64], ...]
    """For every row, in the order given, the nodes of its last `tails[row]` tokens."""


def build(rows: Sequence[Sequence[int]], tails: Sequence[int]) -> Trie:
    """Return the trie of `rows`, and the paths of their last `tails` tokens."""
    arrays = [np.asarray(row, dtype=np.int64) for row in rows]
    order, shared = _sorted_rows(arrays)
    nodes = sum(len(arrays[index]) - same for index, same in zip(order, shared, strict=True))
    tokens, depths, ends = (np.empty(nodes, dtype=np.int64) for _ in range(3))
    paths: list[NDArray[np.int64]] = [np.empty(0, dtype=np.int64)] * len(rows)
    path = np.empty(0, dtype=np.int64)
    start = 0
    for index, same in zip(order, shared, strict=True):
        row = arrays[index]
        stop = start + len(row) - same
        ends[path[same:]] = start
        tokens[start:stop] = row[same:]
        depths[start:stop] = np.arange(same, len(row))
        path = np.concatenate([path[:same], np.arange(start, stop)])
        paths[index] = path[len(path) - tails[index] :]
        start = stop
    ends[path] = nodes
    return Trie(tokens=tokens, depths=depths, ends=ends, paths=tuple(paths))


def group_by_prefix(rows: Sequence[Sequence[int]], budget: int) -> list[list[int]]:
    """Group the indices of `rows` so that rows with a common beginning stand together.

    A group has about `budget` distinct prefixes at the most, more if a long beginning would be repeated too often
    otherwise, and is cut where its rows share least with the next one's. The order does not depend on the order of
    `rows` but where these are equal; a group that is grouped again stays one group in the same order.
    """
    arrays = [np.asarray(row, dtype=np.int64) for row in rows]
    order, shared = _sorted_rows(arrays)
    lengths = [len(arrays[index]) for index in order]
    groups = []
    start = 0
    while start < len(order):
        stop = _group_end(start, lengths, shared, budget)
        groups.append(order[start:stop])
        start = stop
    return groups


def _group_end(start: int, lengths: Sequence[int], shared: Sequence[int], budget: int) -> int:
    """Return where the group ends that begins with the row at `start`."""
    following = shared[start + 1] if start + 1 < len(shared) else 0
    limit = max(budget, REPEATED * following)
    size = lengths[start]
    best, best_worth = start + 1, 0.0
    for place in range(start + 1, len(lengths)):
        worth = size / (shared[place] + 1)  # work done for each token of it that the next group repeats
        if worth >= best_worth or 2 * size < limit:
            best, best_worth = place, worth
        size += lengths[place] - shared[place]
        if size > limit:
            return best
    return len(lengths)


def _sorted_rows(arrays: Sequence[NDArray[np.int64]]) -> tuple[list[int], list[int]]:
    """Return the rows' indices in the order of their tokens, and how much each row shares with the one before."""
    keys = [array.astype(">u4").tobytes() for array in arrays]  # bytes compare fast, and as the tokens do
    order = sorted(range(len(keys)), key=keys.__getitem__)
    shared = [0] * len(order[:1])
    for one, other in pairwise(order):
        length = min(len(arrays[one]), len(arrays[other]))
        different = np.flatnonzero(arrays[one][:length] != arrays[other][:length])
        shared.append(int(different[0]) if len(different) else length)
    return order, shared
