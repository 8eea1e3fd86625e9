"""Measures of the words of completions: diversity, repetition, style.

Words are runs of letters and digits, in lower case, and single punctuation marks: the same for every model.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

REPEATED = 4
"""Length of the n-grams whose repetition counts (seq-rep-4)."""
LOOPS = 3
"""So many times in a row at a completion's end make a loop."""
HEDGES = re.compile(
    r"\b(maybe|perhaps|possibly|probably|presumably|apparently|seemingly|somewhat|might|may be|could be|seems?|"
    r"appears? to|likely|unlikely|in general|generally|typically|usually|often|sometimes|i think|i believe|i guess|"
    r"i'm not sure|i am not sure|not certain|it depends|as far as i know|to some extent|it is possible|more or less|"
    r"arguably)\b"
)
_WORD = re.compile(r"\w+|[^\w\s]")
_MARKDOWN_LINE = re.compile(r"\s*(#{1,6}\s|[-*+]\s|\d+[.)]\s|>\s|\||```)")
_EMPHASIS = re.compile(r"\*\*[^*\n]+\*\*|__[^_\n]+__|`[^`\n]+`|\[[^\]\n]+\]\([^)\s]+\)")


def words(text: str) -> list[str]:
    """Return the words of `text`."""
    return _WORD.findall(text.lower())


def ngrams(tokens: Sequence[str], n: int) -> list[tuple[str, ...]]:
    """Return the n-grams of `tokens`, in order, repeated ones too."""
    return [tuple(tokens[start : start + n]) for start in range(len(tokens) - n + 1)]


def distinct(texts: Sequence[str], n: int) -> float | None:
    """Return the share of distinct n-grams among all n-grams of `texts` (Li et al. 2016, arXiv 1510.03055).

    None where no text is n words long.
    """
    found = [gram for text in texts for gram in ngrams(words(text), n)]
    return len(set(found)) / len(found) if found else None


def self_bleu(texts: Sequence[str]) -> float | None:
    """Return the mean BLEU-4 of each text against all the others, in [0, 1] (Zhu et al. 2018, arXiv 1802.01886).

    sacrebleu's sentence BLEU: its tokens, exponential smoothing, effective order. None for fewer than two texts that
    are not empty.
    """
    from sacrebleu import sentence_bleu

    told = [text for text in texts if text.strip()]
    if len(told) < 2:
        return None
    scores = [sentence_bleu(text, [*told[:place], *told[place + 1 :]]).score for place, text in enumerate(told)]
    return sum(scores) / len(scores) / 100


def pairwise_bleu(texts: Sequence[str]) -> NDArray[np.float64]:
    """Return BLEU-4 of every text against every other, the mean of both directions, in [0, 1].

    Returns:
        Shape (texts, texts), symmetric, with a diagonal of 1.
    """
    import numpy as np
    from sacrebleu import sentence_bleu

    scores = np.eye(len(texts))
    for place, text in enumerate(texts):
        for other, reference in enumerate(texts):
            if other != place:
                scores[place, other] = sentence_bleu(text, [reference]).score / 100
    return (scores + scores.T) / 2


def embedding_distance(vectors: NDArray[np.floating[Any]]) -> float | None:
    """Return the mean cosine distance over all pairs of unit vectors, shape (texts, width); None for less than two."""
    count = len(vectors)
    if count < 2:
        return None
    total = vectors.astype(float).sum(axis=0)
    squares = float((vectors.astype(float) ** 2).sum())
    similarity = (float(total @ total) - squares) / (count * (count - 1))
    # Rounded, because the last digits of an embedding depend on which texts share its batch.
    return max(0.0, round(1 - similarity, 5))


def repetition(text: str) -> float | None:
    """Return the share of 4-grams that were there before, 1 - distinct/all (Welleck et al. 2020, arXiv 1908.04319).

    None for a text of fewer than four words.
    """
    found = ngrams(words(text), REPEATED)
    return 1 - len(set(found)) / len(found) if found else None


def loops(text: str) -> bool:
    """Say whether `text` ends in the same words three times in a row."""
    tokens = words(text)
    return any(tokens[-size:] * LOOPS == tokens[-size * LOOPS :] for size in range(1, len(tokens) // LOOPS + 1))


def hedging(text: str) -> float | None:
    """Return how many expressions of uncertainty there are for every 100 words; None for an empty text."""
    count = len(text.split())
    return 100 * len(HEDGES.findall(text.lower().replace("’", "'"))) / count if count else None


def markdown(text: str) -> float | None:
    """Return the share of lines with Markdown: heading, list, quote, table, fence or emphasis.

    None for an empty text.
    """
    lines = [line for line in text.splitlines() if line.strip()]
    marked = sum(bool(_MARKDOWN_LINE.match(line) or _EMPHASIS.search(line)) for line in lines)
    return marked / len(lines) if lines else None
