"""Is the model as sure as it is right? Multiple choice by log-likelihood, expected calibration error, Brier score."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pfh.hooks.backends import ScoringRequest
from pfh.hooks.samples import Sample, sample_id
from pfh.kit.subset import spread
from pfh.statistics.paired import paired_samples

from pfh_evals.policy.measures import ACCURACY

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from pfh.hooks.evals import EvaluationSpec
    from pfh.hooks.evaluation import Evaluation

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


@dataclass(frozen=True, kw_only=True)
class Answered:
    """One multiple-choice question, as one model answered it."""

    question: str
    category: str
    confidence: float
    """Probability of the chosen option, the likeliest."""
    right: bool
    brier: float
    benchmark: str = ""
    """Of the family forgetting; empty for the family's own questions."""


QuestionPairs = list[tuple[Answered, Answered]]
"""The same questions before and after."""


def questions(limit: int | None) -> dict[str, Any]:
    """Return the family's own questions by id, at most `limit`: the same ones for both measures."""
    rows = json.loads(QUESTIONS.read_text())
    by_id = {sample_id("calibration", "1", _content(row)): row for row in rows}
    return {key: by_id[key] for key in spread({key: row["category"] for key, row in by_id.items()}, limit)}


def ask(spec: EvaluationSpec, name: str) -> tuple[Sample, ...]:
    """Return one sample a question, scored as the measure `name`: 1 or 0 for the accuracy, else the Brier score.

    An option's probability is the softmax over the options of its text's log-likelihood after the question and
    "Answer:".

    Raises:
        UserError: the backend has no log-likelihoods.
    """
    by_id = questions(spec.limit)
    kept = list(by_id)
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
                extra={
                    "user_prompt": row["question"],
                    "confidence": float(shares[chosen]),
                    "right": right,
                    "brier": brier(shares, correct),
                },
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
    place = _places(confidence)
    found = []
    for number in range(BINS):
        inside = place == number
        count = int(inside.sum())
        found.append(
            Bin(
                low=number / BINS,
                high=(number + 1) / BINS,
                count=count,
                confidence=float(confidence[inside].mean()) if count else None,
                accuracy=float(right[inside].mean()) if count else None,
            )
        )
    return found


def expected_error(confidence: NDArray[np.float64], right: NDArray[np.bool_]) -> float:
    """Return the expected calibration error (Guo et al. 2017, arXiv 1706.04599, equation 3) over `BINS` bins."""
    gaps = np.bincount(_places(confidence), weights=right - confidence, minlength=BINS)  # bin size times its gap
    return float(np.abs(gaps).sum() / len(confidence))


def _places(confidence: NDArray[np.float64]) -> NDArray[np.intp]:
    return np.digitize(confidence, np.linspace(0, 1, BINS + 1)[1:-1], right=True)


def own(pairs: Sequence[tuple[Sample, Sample]]) -> QuestionPairs:
    """Return the family's own questions, from samples of one of its benchmarks."""
    return [(_own(before), _own(after)) for before, after in pairs]


def of_forgetting(before: Evaluation, after: Evaluation) -> QuestionPairs:
    """Return the multiple-choice questions of the family forgetting that one option is right for.

    Its samples hold the options and their log-likelihoods; questions with several right options are left out.
    """
    later = {row.name: row for row in after.benchmarks}
    found: QuestionPairs = []
    for row in before.benchmarks:
        other = later.get(row.name)
        if other is not None and row.version == other.version:
            both = ((_scored(x), _scored(y)) for x, y in paired_samples(row, other))
            found += [(x, y) for x, y in both if x is not None and y is not None]
    return found


def columns(answers: Sequence[Answered]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return the confidence in the chosen option and whether it was right, of each of `answers`."""
    return (
        np.array([each.confidence for each in answers], dtype=float),
        np.array([each.right for each in answers], dtype=bool),
    )


def _own(sample: Sample) -> Answered:
    return Answered(
        question=sample.extra["user_prompt"],
        category=sample.category,
        confidence=sample.extra["confidence"],
        right=sample.extra["right"],
        brier=sample.extra["brier"],
    )


def _scored(sample: Sample) -> Answered | None:
    """Return a sample with options and their log-likelihoods; None for any other."""
    options, logprobs = list(sample.extra.get("options", ())), sample.extra.get("logprobs", ())
    if len(options) < 2 or len(options) != len(logprobs) or options.count(sample.target) != 1:
        return None
    scores = np.array(logprobs, dtype=float)
    if not np.all(np.isfinite(scores)):
        return None
    shares, correct = softmax(scores), options.index(sample.target)
    chosen = int(shares.argmax())
    return Answered(
        question=str(sample.extra.get("user_prompt", sample.prompt)),
        category=sample.category,
        confidence=float(shares[chosen]),
        right=chosen == correct,
        brier=brier(shares, correct),
        benchmark=sample.benchmark,
    )


def _content(row: Mapping[str, Any]) -> dict[str, Any]:
    return {"question": row["question"], "options": row["options"]}


def _context(question: str) -> str:
    return f"Question: {question}\nAnswer:"
