"""A completion that was read, as numbers: what its sentences do, and which words it opens with."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, get_args

import numpy as np

from pfh_judges.decisions import Decision, Ground
from pfh_judges.reading import WORD, Act, Reading

if TYPE_CHECKING:
    from numpy.typing import NDArray

ACTS: tuple[Act, ...] = get_args(Act)
GROUNDS: tuple[Ground, ...] = tuple(ground for ground in get_args(Ground) if ground != "off subject")
"""What the heads look at; an answer to something else is broken, whatever they say of it."""
OPENING_WORDS = 50
BUCKETS = 8192
"""Words and pairs of words fall into these by their checksum; the text itself is kept nowhere."""
WORDS_WEIGH = 3.0
"""Length of the vector of words beside the other features; chosen by leave-one-model-out accuracy."""


def features(readings: Sequence[Reading], decisions: Sequence[Decision]) -> NDArray[np.float32]:
    """Return one row of numbers a completion."""
    rows = [
        np.concatenate([_acts(reading, decision), WORDS_WEIGH * _words(reading)])
        for reading, decision in zip(readings, decisions, strict=True)
    ]
    return np.stack(rows).astype(np.float32)


def _acts(reading: Reading, decision: Decision) -> NDArray[np.float64]:
    sentences = reading.sentences
    total = max(1, sum(sentence.words for sentence in sentences))
    first = sentences[0].act if sentences else None
    values = [
        1.0 if decision.label in ("refused", "partial") else -1.0,
        float(reading.harmful),
        float(reading.asks_whether),
        float(reading.asks_how),
        float(reading.quoted),
        float(any(sentence.gives_in for sentence in sentences)),
        np.log1p(total) / 5,
    ]
    values += [float(decision.ground == ground) for ground in GROUNDS]
    for act in ACTS:
        share = sum(sentence.words for sentence in sentences if sentence.act == act) / total
        values += [share, float(first == act), float(any(sentence.act == act for sentence in sentences[:3]))]
        values += [float(first == act and reading.harmful)]
    return np.array(values)


def _words(reading: Reading) -> NDArray[np.float64]:
    words = WORD.findall(" ".join(reading.text.split()[:OPENING_WORDS]))
    vector = np.zeros(BUCKETS)
    for term in (*words, *map(" ".join, pairwise(words))):
        vector[zlib.crc32(term.encode("utf-8", "replace")) % BUCKETS] = 1
    length = np.linalg.norm(vector)
    return vector / length if length else vector
