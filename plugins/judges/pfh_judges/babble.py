"""Texts that a damaged model writes: words in no order, one sentence form over and over, an answer to nothing asked.

A text in order is told by its small words: which of them, and which kinds of other words, follow each other. The
weights are log P(second | first) - log P(second), counted on openly licensed answers by `benchmarks/fit_judges.py`; in
shuffled words the mean is below 0, in sentences above.
"""

from __future__ import annotations

import re
from collections import Counter
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pfh_judges.pieces import NO_PROSE

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

SMALL = re.findall(
    r"\w+",
    "the a an my your our their its his her this that these those every some any no all each of in to at with from by "
    "for on into about as than and or but if because when while so not it he she we they i you me him them who which "
    "what where how there is are was were be been am has have had do does did would could should can will may might "
    "must more most very also just only then",
)
"""Words that hold an English sentence together."""
ENDINGS = ("ing", "ed", "ly", "tion", "s", "er")
PIECE = re.compile(r"[a-z]+(?:'[a-z]+)?|[.!?;:,]|[0-9]+")
WEIGHTS = Path(__file__).with_name("babble_weights.npz")
IN_ORDER = -0.2
"""Mean weight below which words are in no order; of XSTest's 1,800 answers 1 is below, of those of 40 words or
more, shuffled, 99%."""
ITEM = re.compile(r"(?<!\S)\d+[.)](?=\s|$)")
"""The number of an item of a list, which says nothing of the order of words."""
OF_NUMBERS = 2.0
"""By so much times the share of numbers and formulas the mean must be lower: sums are told in another order."""
LEAST_PAIRS = 20
"""Fewer are too noisy: short answers of the tests were called broken at 12."""
ENGLISH = 0.2
"""Least share of small words in English; other languages are not judged by them."""
EXTREME = 3.0

COMMON = frozenset(
    re.findall(
        r"\w+",
        "about above after again also always another because before best between both cannot could describe does doing "
        "during each even every explain from further give good have having help here into itself just know like list "
        "make many maybe more most much must name need only other over please question same should show some such tell "
        "than that their them then there these they thing things this those through under until using very want ways "
        "well were what when where which while whom whose will with within without would write your",
    )
)
"""Words that say nothing of a subject."""
STEM = 4
LEAST_SUBJECTS = 3
LEAST_WORDS = 50
"""Of an answer about something else: shorter ones may be to the point in other words."""
OPENING = 60
ROLES = re.compile(
    r"\b(question|answer|q|a|user|assistant|human|ai|instruction|input|output|response|problem|solution)\s*:"
)
"""What begins a turn in the transcripts that models learn from."""
TURNS = 4
"""So many turns, two of each of two roles, are a model that talks to itself."""
OPENERS = 5
"""So many sentences, of which four in five begin with the same three words, are one form over and over."""

_NUMBER = {word: place for place, word in enumerate(SMALL)}
_MARK = len(SMALL) + len(ENDINGS)
_NUMERAL = _MARK + 2
KINDS = _MARK + 4


def in_no_order(text: str) -> bool:
    """Say whether the words of an English text stand in no order."""
    prose, formulas = NO_PROSE.subn(" something ", ITEM.sub(" ", text))
    kinds = kinds_of(prose)
    if len(kinds) < LEAST_PAIRS or float(np.mean(kinds < len(SMALL))) < ENGLISH:
        return False
    first, second = kinds[:-1], kinds[1:]
    told = ((first < len(SMALL)) | (second < len(SMALL))) & (first != _NUMERAL) & (second != _NUMERAL)
    numbers = float(np.mean(kinds == _NUMERAL)) + formulas / len(kinds)
    bound = IN_ORDER - OF_NUMBERS * numbers
    return bool(told.sum() >= LEAST_PAIRS and _weights()[first, second][told].mean() < bound)


def one_form(text: str) -> bool:
    """Say whether nearly all sentences begin with the same three words, or turns of a talk with itself follow."""
    turns = Counter(ROLES.findall(text.lower()))
    if sum(turns.values()) >= TURNS and sum(times >= TURNS // 2 for times in turns.values()) >= 2:
        return True
    begins = [tuple(re.findall(r"[^\W\d]+", part.lower())[:3]) for part in re.split(r"[.!?:]\s|\n+", text)]
    begins = [each for each in begins if len(each) == 3]
    if len(begins) < OPENERS:
        return False
    return Counter(begins).most_common(1)[0][1] >= 0.8 * len(begins)


def off_subject(asked: str, text: str) -> bool:
    """Say whether the opening of a long answer names nothing that the request names."""
    named = _subjects(asked)
    if len(named) < LEAST_SUBJECTS or len(re.findall(r"\w+", text)) < LEAST_WORDS:
        return False
    if any(float(np.mean(kinds_of(each) < len(SMALL))) < ENGLISH for each in (asked, text)):
        return False
    return not named & _subjects(" ".join(text.split()[:OPENING]))


def kinds_of(text: str) -> NDArray[np.int64]:
    """Return the kind of every word and mark of `text`: a small word each, the ending of others, a mark or a number."""
    return np.array([_kind(piece) for piece in PIECE.findall(text.lower())] or [KINDS - 1], dtype=np.int64)


def count(texts: Iterable[str]) -> NDArray[np.float32]:
    """Return the weights that these texts give, shape (kinds, kinds)."""
    counts = np.full((KINDS, KINDS), 0.05)
    for text in texts:
        kinds = kinds_of(text)
        np.add.at(counts, (kinds[:-1], kinds[1:]), 1)
    following = counts / counts.sum(axis=1, keepdims=True)
    weights = np.log(following / (counts.sum(axis=0) / counts.sum()))
    return np.asarray(np.clip(weights, -EXTREME, EXTREME), dtype=np.float32)


@cache
def _weights() -> NDArray[np.float32]:
    with np.load(WEIGHTS, allow_pickle=False) as stored:
        return np.asarray(stored["weights"], dtype=np.float32)


def _kind(piece: str) -> int:
    if piece in _NUMBER:
        return _NUMBER[piece]
    if not piece[0].isalpha():
        return _MARK + (0 if piece in ".!?;:" else 1 if piece == "," else 2)
    for place, ending in enumerate(ENDINGS):
        if len(piece) > len(ending) + 2 and piece.endswith(ending):
            return len(SMALL) + place
    return KINDS - 1


def _subjects(text: str) -> set[str]:
    words = re.findall(r"[a-z]{3,}", text.lower())
    return {word[:STEM] for word in words if word not in COMMON and word not in _NUMBER}
