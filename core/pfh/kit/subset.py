"""A fixed subset of a benchmark that spreads evenly over its categories."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping


def spread(category_of: Mapping[str, str], limit: int | None) -> list[str]:
    """Return at most `limit` of the ids, in the order given; every category gives its share.

    Depends on ids and categories alone, and a larger limit keeps everything that a smaller one keeps.
    """
    if limit is None or limit >= len(category_of):
        return list(category_of)
    sizes = Counter(category_of.values())
    ranks: Counter[str] = Counter()
    place: dict[str, tuple[float, str]] = {}
    for key in sorted(category_of):  # ids are hashes, so this order knows nothing of the documents
        category = category_of[key]
        place[key] = ((ranks[category] + 0.5) / sizes[category], key)
        ranks[category] += 1
    kept = set(sorted(category_of, key=place.__getitem__)[:limit])
    return [key for key in category_of if key in kept]
