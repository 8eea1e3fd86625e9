"""Whether an answer is one of the reference answers: normalised exact match and token F1, never containment."""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Iterable
from fractions import Fraction

_DASHES_AND_QUOTES = str.maketrans("‐‑‒–—−‘’“”", "------''\"\"")
_PUNCTUATION = str.maketrans("", "", string.punctuation)
_ARTICLE = re.compile(r"\b(?:a|an|the)\b")
_NUMBER = re.compile(r"(?<![\w.,])-?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?|\.\d+|\d+", re.ASCII)


def exact_match(answer: str, references: Iterable[str]) -> bool:
    """Whether `answer` and a reference are the same, but for case, punctuation, articles and white space.

    This is SQuAD's rule (Rajpurkar et al. 2016, arXiv 1606.05250), mended where it calls different answers the same:
    numbers must agree in sign and decimal point, and a reference of which nothing would be left, such as "A" or
    "] >", is compared with its articles or its punctuation.
    """
    return any(_same(answer, reference) for reference in references)


def token_f1(answer: str, references: Iterable[str]) -> float:
    """Return the best F1 of the normalised tokens of `answer` over the references (Rajpurkar et al. 2016)."""
    return max(
        (_f1(normalised(answer).split(), normalised(reference).split()) for reference in references), default=0.0
    )


def normalised(text: str) -> str:
    """Return `text` in lower case without punctuation, articles and superfluous white space."""
    return " ".join(_ARTICLE.sub(" ", _without_punctuation(text)).split())


def _same(answer: str, reference: str) -> bool:
    if _numbers(answer) != _numbers(reference):
        return False
    for rule in (normalised, _without_punctuation, _plain):
        wanted = rule(reference)
        if wanted:
            return rule(answer) == wanted
    return False


def _plain(text: str) -> str:
    return " ".join(text.translate(_DASHES_AND_QUOTES).lower().split())


def _without_punctuation(text: str) -> str:
    return " ".join(_plain(text).translate(_PUNCTUATION).split())


def _numbers(text: str) -> list[Fraction]:
    return [Fraction(found.replace(",", "")) for found in _NUMBER.findall(text.translate(_DASHES_AND_QUOTES))]


def _f1(answer: list[str], reference: list[str]) -> float:
    shared = sum((Counter(answer) & Counter(reference)).values())
    return 2 * shared / (len(answer) + len(reference)) if shared else 0.0
