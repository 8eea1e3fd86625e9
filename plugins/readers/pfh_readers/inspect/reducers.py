"""Inspect's ways to make one score of a sample's epochs, for logs that do not hold the reduced scores.

As `inspect_ai.scorer` defines them: a score counts as reached from 1.0 on; epochs without a score are left out.
"""

from __future__ import annotations

import math
import re
import statistics
from collections import Counter
from collections.abc import Sequence

_OF_K = re.compile(r"(at_least|pass_at|pass_k)_(\d+)")


def reduced_score(reducer: str, scores: Sequence[float | None]) -> float | None:
    """Return one score of several; None where there is none, or for a reducer that is not known."""
    known = [score for score in scores if score is not None]
    if not known:
        return None
    if reducer == "mode":
        return Counter(known).most_common(1)[0][0]
    if reducer == "max":
        return max(known)
    if reducer == "mean":
        return sum(known) / len(known)
    if reducer == "median":
        return statistics.median(known)
    found = _OF_K.fullmatch(reducer)
    return _of_k(found[1], int(found[2]), known) if found else None


def _of_k(kind: str, k: int, scores: Sequence[float]) -> float | None:
    total, reached = len(scores), sum(score >= 1.0 for score in scores)
    if kind == "at_least":
        return float(reached >= k)
    if k > total or k < 1:
        return None
    if kind == "pass_k":
        return math.comb(reached, k) / math.comb(total, k)
    return 1.0 - math.comb(total - reached, k) / math.comb(total, k)
