"""Whether an answer is one of the reference answers: normalised exact match and token F1, never containment."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable
from fractions import Fraction

_DASHES_AND_QUOTES = str.maketrans("‐‑‒–—−‘’“”", "------''\"\"")
_INVISIBLE = re.compile("[\u00ad\u200b-\u200f\u2060\ufeff]")
_MEANT = re.compile(r"(?<=[A-Za-z])[+#]+|(?<=\b[a-z])-(?![\w-])|[<>=^|]|(?<=\d)[!*+%]|[*+](?=\s*\d)|[&@$£€¥]")
"""Punctuation that makes another answer of the same letters: C++ and C, x < y and x > y, 5! and 5."""
_ARTICLE = re.compile(r"(?<!\S)(?:a|an|the)(?=\s+\S)")
_ARTICLES = frozenset({"a", "an", "the"})
_NUMBER = re.compile(r"(?<![\w.,])-?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?|\.\d+|\d+", re.ASCII)


def exact_match(answer: str, references: Iterable[str]) -> bool:
    """Whether `answer` and a reference are the same, but for case, punctuation, articles and white space.

    This is SQuAD's rule (Rajpurkar et al. 2016, arXiv 1606.05250), mended where it calls different answers the same:
    numbers must agree in sign and decimal point, symbols such as those of C++ and x < y count, and a reference of which
    nothing would be left, such as "A" or "] >", is compared with its articles or its punctuation. Text is Unicode's:
    composed, without invisible characters, punctuation of any script.
    """
    return any(_same(answer, reference) for reference in references)


def token_f1(answer: str, references: Iterable[str]) -> float:
    """Return the best F1 of the normalised tokens of `answer` over the references (Rajpurkar et al. 2016)."""
    return max(
        (_f1(normalised(answer).split(), normalised(reference).split()) for reference in references), default=0.0
    )


def normalised(text: str) -> str:
    """Return `text` in lower case without punctuation, articles and superfluous white space."""
    without = _without_punctuation(_ARTICLE.sub(" ", plain(text)))
    return "" if set(without.split()) <= _ARTICLES else without


def plain(text: str) -> str:
    """Return `text` composed, in lower case, with plain dashes and quotes and single spaces."""
    text = _INVISIBLE.sub("", unicodedata.normalize("NFC", text)).translate(_DASHES_AND_QUOTES)
    return " ".join(text.casefold().split())


def _same(answer: str, reference: str) -> bool:
    if _numbers(answer) != _numbers(reference) or _symbols(answer) != _symbols(reference):
        return False
    for rule in (normalised, _without_punctuation, plain):
        wanted = rule(reference)
        if wanted:
            return rule(answer) == wanted
    return False


def _without_punctuation(text: str) -> str:
    """Drop punctuation: what joins words becomes a space, and initials are written together."""
    text = re.sub(r"(?<=\w)[-/](?=\w)|(?<=[^\W\d])\.(?=[^\W\d])", " ", plain(text))
    text = "".join("" if unicodedata.category(character)[0] in "PS" else character for character in text)
    return re.sub(r"(?<!\S)(\w) (?=\w(?!\S))", r"\1", " ".join(text.split()))


def _symbols(text: str) -> list[str]:
    return [found.strip() for found in _MEANT.findall(plain(text))]


def _numbers(text: str) -> list[Fraction]:
    return [Fraction(found.replace(",", "")) for found in _NUMBER.findall(text.translate(_DASHES_AND_QUOTES))]


def _f1(answer: list[str], reference: list[str]) -> float:
    shared = sum((Counter(answer) & Counter(reference)).values())
    return 2 * shared / (len(answer) + len(reference)) if shared else 0.0
