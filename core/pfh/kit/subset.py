"""A fixed subset of a benchmark that spreads evenly over its categories, and the part of it that is looked at first."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence

from pfh.hooks.evals import Part


def spread(category_of: Mapping[str, str], limit: int | None, part: Part | None = None) -> list[str]:
    """Return at most `limit` of the ids, in the order given; every category gives its share.

    Depends on ids and categories alone, and a larger limit keeps everything that a smaller one keeps. Of these ids
    `part` keeps the first ones of its shuffle.
    """
    if limit is None or limit >= len(category_of):
        return first(list(category_of), part)
    sizes = Counter(category_of.values())
    ranks: Counter[str] = Counter()
    place: dict[str, tuple[float, str]] = {}
    for key in sorted(category_of):  # ids are hashes, so this order knows nothing of the documents
        category = category_of[key]
        place[key] = ((ranks[category] + 0.5) / sizes[category], key)
        ranks[category] += 1
    kept = set(sorted(category_of, key=place.__getitem__)[:limit])
    return first([key for key in category_of if key in kept], part)


def first(ids: Sequence[str], part: Part | None) -> list[str]:
    """Return the ids that come first in the shuffle of `part`, in the order given; all of them without one."""
    if part is None or part.count >= len(ids):
        return list(ids)
    shuffled = sorted(ids, key=lambda key: hashlib.sha256(f"{part.seed}:{key}".encode()).digest())
    kept = set(shuffled[: part.count])
    return [key for key in ids if key in kept]
