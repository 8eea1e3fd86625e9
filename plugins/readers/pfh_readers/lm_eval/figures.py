"""What becomes of a measure: a mean over documents, a figure of all documents together, or a reason why neither."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

from pfh.hooks.samples import Sample

from pfh_readers.lm_eval.about import About
from pfh_readers.lm_eval.samples import FilterAndMetric
from pfh_readers.scores import finite, shares_of_ratio

ROUNDING = 1e-6
"""Two figures that differ by at most this share are one: lm-eval sums in another order."""

WHOLE = "lm-eval computes it from all documents together, and the log holds no score of a document"
LINEARISED = "a figure of all documents together; each sample's score is its linearised share"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Scored:
    """The samples of a measure, and what must be said of them."""

    samples: Sequence[Sample] = ()
    reason: str = ""
    """Why it cannot be compared; empty where it can."""
    remark: str = ""
    """How the scores came about where they are no metric of a document."""


def scored_documents(measure: FilterAndMetric, samples: list[Sample], about: About, *, complete: bool) -> Scored:
    """Return the samples of a measure of which every document has a number."""
    said = finite(about.figure(measure))
    scores = [sample.score for sample in samples if sample.score is not None]
    if not scores:
        return Scored(samples=samples, reason="no document has a finite score")
    mean = sum(scores) / len(scores)
    perplexity = _exponential(-mean) if measure[1] == "perplexity" else None
    if perplexity is not None and max(scores) <= 0 and (said is None or not complete or _equal(said, perplexity)):
        return _of_ratio(samples, [-score for score in scores], [1.0] * len(scores), exponential=True)
    if said is None or not complete or len(scores) < len(samples) or _equal(said, mean):
        return Scored(samples=samples)
    return Scored(samples=samples, reason=f"{WHOLE} (its figure is {said:.6g}, the mean over samples {mean:.6g})")


def pooled_documents(
    measure: FilterAndMetric, samples: list[Sample], values: Sequence[Any], about: About, *, complete: bool
) -> Scored:
    """Return the samples of a measure of which every document has a list, such as (log-likelihood, words)."""
    said = finite(about.figure(measure))
    reason = WHOLE if said is None else f"{WHOLE} (its figure is {said:.6g})"
    lists = [[finite(part) for part in value] if isinstance(value, list) else [] for value in values]
    whole = [[part for part in each if part is not None] for each in lists]
    if not whole or any(not each or len(each) < len(given) for each, given in zip(whole, lists, strict=True)):
        return Scored(reason=reason)
    if measure[1] in ("word_perplexity", "byte_perplexity", "bits_per_byte") and all(len(each) == 2 for each in whole):
        sums, weights = [-each[0] for each in whole], [each[1] for each in whole]
        if measure[1] == "bits_per_byte":
            weights = [weight * math.log(2) for weight in weights]
        return _checked(samples, sums, weights, said if complete else None, measure[1] != "bits_per_byte", reason)
    parts = [sum(each) for each in whole]
    lengths = [float(len(each)) for each in whole]
    if said is None and not _truths(values):  # pairs of gold and predicted would look the same
        return Scored(reason=reason)
    return _checked(samples, parts, lengths, said, False, reason)


def _truths(values: Sequence[Any]) -> bool:
    """Say whether every list is of verdicts, such as on the instructions of one prompt."""
    return all(isinstance(part, bool) or part in ("True", "False") for value in values for part in value)


def _checked(
    samples: list[Sample], sums: list[float], weights: list[float], said: float | None, exponential: bool, reason: str
) -> Scored:
    if min(weights) < 0 or sum(weights) <= 0:
        return Scored(reason=reason)
    ratio = sum(sums) / sum(weights)
    figure = _exponential(ratio) if exponential else ratio
    if figure is None or (said is not None and not _equal(said, figure)):
        return Scored(reason=reason)
    return _of_ratio(samples, sums, weights, exponential=exponential)


def _of_ratio(samples: list[Sample], sums: list[float], weights: list[float], *, exponential: bool) -> Scored:
    """Give those samples a score that have a part in a ratio; the others keep none."""
    parts = iter(zip(shares_of_ratio(sums, weights, exponential=exponential), sums, weights, strict=True))
    given = len(sums) == len(samples)
    found = []
    for sample in samples:
        if sample.score is None and not given:
            found.append(sample)
            continue
        score, part, weight = next(parts)
        extra = {**sample.extra, "part": part, "weight": weight}
        found.append(dataclasses.replace(sample, score=score, extra=extra))
    return Scored(samples=found, remark=LINEARISED)


def _exponential(value: float) -> float | None:
    try:
        return math.exp(value)
    except OverflowError:
        return None


def _equal(said: float, found: float) -> bool:
    return abs(said - found) <= ROUNDING * max(1.0, abs(said))
