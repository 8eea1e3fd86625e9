"""Is the model as sure as it is right? Multiple choice by log-likelihood, expected calibration error, Brier score."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pfh.engine import ScoringRequest
from pfh.samples import Sample, sample_id
from pfh.subset import spread

from pfh_evals.policy.measures import ACCURACY

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from pfh.specs import EvaluationSpec

QUESTIONS = Path(__file__).with_name("questions.json")
BINS = 15


@dataclass(frozen=True, kw_only=True)
class Bin:
    """One bin of the reliability diagram."""

    low: float
    high: float
    count: int
    confidence: float | None
    """Mean over the bin's items; None for an empty bin."""
    accuracy: float | None


def ask(spec: EvaluationSpec, name: str) -> tuple[Sample, ...]:
    """Return one sample a question, scored as the measure `name`: 1 or 0 for the accuracy, else the Brier score.

    An option's probability is the softmax over the options of its text's log-likelihood after the question and
    "Answer:".

    Raises:
        UserError: the backend has no log-likelihoods.
    """
    rows = json.loads(QUESTIONS.read_text())
    by_id = {sample_id("calibration", "1", _content(row)): row for row in rows}  # the same subset for both measures
    kept = spread({key: row["category"] for key, row in by_id.items()}, spec.limit)
    requests = [
        ScoringRequest(id=f"{place}-{number}", context=_context(by_id[key]["question"]), continuation=f" {option}")
        for place, key in enumerate(kept)
        for number, option in enumerate(by_id[key]["options"])
    ]
    scores = iter(spec.engine.loglikelihood(requests))
    samples = []
    for key in kept:
        row = by_id[key]
        shares = softmax(np.array([next(scores).logprob for _ in row["options"]]))
        chosen, correct = int(shares.argmax()), int(row["answer"])
        right = chosen == correct
        samples.append(
            Sample(
                id=sample_id(name, "1", _content(row)),
                benchmark=name,
                category=row["category"],
                prompt=_context(row["question"]),
                completion=row["options"][chosen],
                extracted=row["options"][chosen],
                target=row["options"][correct],
                score=float(right) if name == ACCURACY else brier(shares, correct),
                choices=len(row["options"]),
                extra={"user_prompt": row["question"], "confidence": float(shares[chosen]), "right": right},
            )
        )
    return tuple(samples)


def softmax(logprobs: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the probabilities of the options, which sum to 1."""
    weights = np.exp(logprobs - logprobs.max())
    return np.asarray(weights / weights.sum())


def brier(shares: NDArray[np.float64], correct: int) -> float:
    """Return the squared distance from the certain right answer, in [0, 2] (Brier 1950)."""
    truth = np.zeros(len(shares))
    truth[correct] = 1
    return float(((shares - truth) ** 2).sum())


def bins(confidence: NDArray[np.float64], right: NDArray[np.bool_]) -> list[Bin]:
    """Return `BINS` equal-width bins of the chosen option's probability, each open below and closed above."""
    edges = np.linspace(0, 1, BINS + 1)
    place = np.digitize(confidence, edges[1:-1], right=True)
    found = []
    for number in range(BINS):
        inside = place == number
        count = int(inside.sum())
        found.append(
            Bin(
                low=float(edges[number]),
                high=float(edges[number + 1]),
                count=count,
                confidence=float(confidence[inside].mean()) if count else None,
                accuracy=float(right[inside].mean()) if count else None,
            )
        )
    return found


def expected_error(confidence: NDArray[np.float64], right: NDArray[np.bool_]) -> float:
    """Return the expected calibration error (Guo et al. 2017, arXiv 1706.04599, equation 3) over `BINS` bins."""
    gaps = [
        each.count * abs(each.accuracy - each.confidence)
        for each in bins(confidence, right)
        if each.accuracy is not None and each.confidence is not None
    ]
    return sum(gaps) / len(confidence)


def columns(samples: Sequence[Sample]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return the confidence in the chosen option and whether it was right, of each of `samples`."""
    return (
        np.array([sample.extra["confidence"] for sample in samples], dtype=float),
        np.array([sample.extra["right"] for sample in samples], dtype=bool),
    )


def _content(row: Mapping[str, Any]) -> dict[str, Any]:
    return {"question": row["question"], "options": row["options"]}


def _context(question: str) -> str:
    return f"Question: {question}\nAnswer:"
