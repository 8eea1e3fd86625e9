"""Texts of pieces of words, glued together with stray signs and capitals: what a model with damaged weights writes.

Two signs have to meet, since either alone is found in good answers: letters in words that English does not have, as in
names and in other languages, and words that are glued to signs or to each other, as in programs and formulas.
"""

from __future__ import annotations

import gzip
import re
from functools import cache
from pathlib import Path

WORDS = Path(__file__).with_name("words.txt.gz")
"""The commonest English words; behind an empty line small words of other languages. `benchmarks/fit_judges.py` makes
it."""
WORD = re.compile(r"[^\W\d_]+(?:'[^\W\d_]+)?")
NO_PROSE = re.compile(
    r"```.*?(```|\Z)|`[^`\n]+`|\$\$.*?\$\$|\$[^$\n]*\$|\\\[.*?(\\\]|\Z)|\\\(.*?\\\)|\\begin\{.*?\\end\{\w*\*?\}"
    r"|\\[a-zA-Z]+(\{[^{}]*\})?|https?://\S+|\S+@\S+|#\w+|<[^<>\n]{1,80}>",
    re.DOTALL,
)
"""Programs, formulas, addresses, marks of a topic, markup."""
JOINTS = re.compile(r"(?<=[a-z])(?=[A-Z])|_")
"""Where a name in a program is made of words."""
GLUED = re.compile(
    r"[a-z][A-Z]{2}|[a-z][A-Z][a-z]|[A-Z]{2}[a-z]{2}|[^\W\d_]{18,}|\ufffd|\xa0"
    r"|(?<=[^\W\d_])[^\w\s'’.\-/](?=[^\W\d_])|(?<=[a-z])\.(?=[^\W\d_])"
    r"|--|(?<=\w)-(?=\W)|(?<=\s)-(?=[a-zA-Z])|[.,;:&#][.,;:&#]"
)
"""Capitals inside a word, words of 18 letters, broken characters, and signs where a space should be."""

LEAST_LETTERS = 36
"""In words that could be looked up; shorter texts are not judged."""
UNKNOWN = 0.25
STRAY = 0.05
DAMAGE = 0.5
"""Least share of letters in unknown words, plus half of what is glued a word; of 7,500 answers of sound models and of
people none comes so far but programs, encodings and a drawing in code."""
FOREIGN = 0.2
"""Share of small words of another language from which a text is taken to be in it."""


def in_pieces(text: str) -> bool:
    """Say whether a text in Latin letters is made of pieces of words."""
    prose = NO_PROSE.sub(" ", text)
    words = [word for word in WORD.findall(JOINTS.sub(" ", prose)) if word[0] < "\u0250"]  # where Latin letters end
    every = WORD.findall(prose)
    if len(words) < len(every) / 2:
        return False
    english, foreign = _known()
    if sum(word.lower() in foreign for word in words) >= FOREIGN * len(words):
        return False
    looked_up = [word.lower() for word in words if not _is_name(word)]
    letters = sum(map(len, looked_up))
    if letters < LEAST_LETTERS:
        return False
    unknown = sum(len(word) for word in looked_up if word.partition("'")[0] not in english) / letters
    stray = sum(1 for _ in GLUED.finditer(prose)) / len(every)
    return unknown >= UNKNOWN and stray >= STRAY and unknown + stray / 2 >= DAMAGE


def _is_name(word: str) -> bool:
    """Say whether a word is too short to tell, or written like a name or an abbreviation."""
    return len(word) < 3 or word.istitle() or (word.isupper() and len(word) <= 5)


def write_words(english: list[str], foreign: list[str]) -> None:
    """Write the two lists of words."""
    text = "\n".join([*sorted(english), "", *sorted(foreign)])
    WORDS.write_bytes(gzip.compress(text.encode(), mtime=0))


@cache
def _known() -> tuple[frozenset[str], frozenset[str]]:
    english, _, foreign = gzip.decompress(WORDS.read_bytes()).decode().partition("\n\n")
    return frozenset(english.split("\n")), frozenset(foreign.split("\n"))
