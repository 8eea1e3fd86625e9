"""Which documents overlap with training prompts: equal texts, and shared runs of 13 words.

Source: Brown et al. 2020, arXiv 2005.14165, appendix C: words are lowercase and without punctuation, and one shared
13-gram makes a document suspect. Wording that many texts of one kind share is a template here, and does not count.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Literal

import numpy as np

from pfh.hooks.domains import Problem

if TYPE_CHECKING:
    from numpy.typing import NDArray


GRAM = 13
"""Words of a run; a shorter text can only be found by being equal."""


TEMPLATE_SHARE = 0.1
"""A run of words in more than this share of a group, and in two texts of it at least, is the group's template."""


FEWEST_FOR_TEMPLATE = 3
"""Texts that a group needs before what all of them begin and end with is taken off."""


_WORD = re.compile(r"\w+|[-+*/^=<>%×÷−≤≥≠√]")


_UNKNOWN = 0
"""Number of every word that no training prompt has."""


_TABLE_BITS = 24


Words = list[str]


OverlapKind = Literal["exact", "13-gram"]


@dataclass(frozen=True, kw_only=True)
class Overlap:
    """What a document shares with the training prompts."""

    kind: OverlapKind
    """"exact": all of its words, as they are or without the template; "13-gram": a run of 13 words."""
    problem: str
    """Id of a training problem that has them."""


@dataclass(frozen=True, kw_only=True)
class PromptIndex:
    """Training prompts, ready to be looked up."""

    exact: Mapping[str, str]
    """Normalised text to a problem's id."""
    vocabulary: Mapping[str, int]
    """Word to a number from 1."""
    grams: NDArray[np.uint64]
    """Hashes of the 13-grams that touch no template, sorted, shape (n,)."""
    holders: NDArray[np.int64]
    """For each of them the place of a problem that has it, shape (n,)."""
    templates: NDArray[np.uint64]
    """Hashes of the 13-grams that are templates of an environment."""
    problems: tuple[str, ...]
    """Ids."""


@dataclass(frozen=True, kw_only=True)
class _Runs:
    """All 13-grams of some texts, as far as the vocabulary knows their words."""

    hashes: NDArray[np.uint64]
    starts: NDArray[np.int64]
    """Place of their first word, in all texts one behind the other."""
    owners: NDArray[np.int64]
    """Place of the text that each is of."""

    def only(self, kept: NDArray[np.bool_]) -> _Runs:
        return _Runs(hashes=self.hashes[kept], starts=self.starts[kept], owners=self.owners[kept])


def normalised(text: str) -> Words:
    """Return the words of `text`, NFKC and lowercase: runs of letters and digits, and each operator of arithmetic."""
    return _WORD.findall(unicodedata.normalize("NFKC", text).lower())


def index_prompts(problems: Sequence[Problem]) -> PromptIndex:
    """Index what `problems` ask, without worked examples."""
    texts = [normalised(problem.asked) for problem in problems]
    ids = tuple(problem.id for problem in problems)
    vocabulary = {word: number for number, word in enumerate(dict.fromkeys(chain.from_iterable(texts)), start=1)}
    exact: dict[str, str] = {}
    grams, holders, templates = [np.empty(0, np.uint64)], [np.empty(0, np.int64)], [np.empty(0, np.uint64)]
    for environment in dict.fromkeys(problem.environment for problem in problems):
        places = [place for place, problem in enumerate(problems) if problem.environment == environment]
        group = [texts[place] for place in places]
        for place, keys in zip(places, _keys(group), strict=True):
            for key in keys:
                exact.setdefault(key, ids[place])
        runs = _runs(group, vocabulary)
        template = _template(runs, _numbered([problems[place].cluster for place in places]))
        runs = _untouched(runs, template)
        grams.append(runs.hashes)
        holders.append(np.array(places, np.int64)[runs.owners])
        templates.append(template)
    unique, first = np.unique(np.concatenate(grams), return_index=True)
    return PromptIndex(
        exact=exact,
        vocabulary=vocabulary,
        grams=unique,
        holders=np.concatenate(holders)[first],
        templates=np.concatenate(templates),
        problems=ids,
    )


def find_overlaps(
    index: PromptIndex, documents: Mapping[str, str], clusters: Mapping[str, str] | None = None
) -> dict[str, Overlap]:
    """Return the documents of one benchmark that overlap, by their keys.

    Args:
        index: the training prompts.
        documents: key to text; their common beginning and end, and 13-grams that many of them share, are taken for
            the benchmark's template.
        clusters: key to what the document shares with others, such as a conversation that both are turns of: what
            they have in common by that is no template.
    """
    names = list(documents)
    texts = [normalised(text) for text in documents.values()]
    belongs = _numbered([(clusters or {}).get(name, "") for name in names])
    overlaps: dict[str, Overlap] = {}
    runs = _known(_runs(texts, index.vocabulary), np.concatenate([index.grams, index.templates]))
    runs = _untouched(runs, np.concatenate([index.templates, _template(runs, belongs)]))
    runs = runs.only(np.isin(runs.hashes, index.grams))
    for gram, owner in zip(runs.hashes, runs.owners, strict=True):
        holder = index.holders[np.searchsorted(index.grams, gram)]
        overlaps.setdefault(names[owner], Overlap(kind="13-gram", problem=index.problems[holder]))
    for name, keys in zip(names, _keys(texts), strict=True):
        for key in keys:
            if key in index.exact:
                overlaps[name] = Overlap(kind="exact", problem=index.exact[key])
    return overlaps


def _keys(group: Sequence[Words]) -> list[set[str]]:
    """Return under which texts each member of a group is found: all of it, and what the group's template leaves."""
    start = end = 0
    if len(group) >= FEWEST_FOR_TEMPLATE:
        start = _shared_start(group)
        end = _shared_start([words[start:][::-1] for words in group])
    whole = [{" ".join(words)} - {""} for words in group]
    if not start and not end:
        return whole
    return [
        keys | ({" ".join(words[start : len(words) - end])} - {""}) for keys, words in zip(whole, group, strict=True)
    ]


def _shared_start(group: Sequence[Words]) -> int:
    """Return with how many words all of `group` begin: as many as the first and the last of them in sorted order."""
    first, last = min(group), max(group)
    return next((place for place, word in enumerate(first) if word != last[place]), len(first))


def _runs(texts: Sequence[Words], vocabulary: Mapping[str, int]) -> _Runs:
    lengths = np.fromiter((len(words) for words in texts), np.int64, len(texts))
    number = vocabulary.get
    words = np.fromiter((number(word, _UNKNOWN) for text in texts for word in text), np.int64, int(lengths.sum()))
    owners = np.repeat(np.arange(len(texts)), lengths)
    count = max(len(words) - GRAM + 1, 0)
    whole = (owners[:count] == owners[GRAM - 1 :]) & _free_of(words == _UNKNOWN, np.arange(count))
    dice = np.random.default_rng(0)
    of_word = dice.integers(2**64, size=len(vocabulary) + 1, dtype=np.uint64)[words]
    of_place = dice.integers(2**64, size=GRAM, dtype=np.uint64) | np.uint64(1)
    hashes = np.zeros(count, np.uint64)
    for place in range(GRAM):
        hashes += of_word[place : place + count] * of_place[place]
    return _Runs(hashes=hashes[whole], starts=np.flatnonzero(whole), owners=owners[:count][whole])


def _known(runs: _Runs, known: NDArray[np.uint64]) -> _Runs:
    """Return those that are in `known`; most fall out at a table of their low bits, which is quicker than a search."""
    table = np.zeros(1 << _TABLE_BITS, bool)
    mask = np.uint64(len(table) - 1)
    table[known & mask] = True
    likely = runs.only(table[runs.hashes & mask])
    return likely.only(np.isin(likely.hashes, known))


def _numbered(clusters: Sequence[str]) -> NDArray[np.int64]:
    """Return for each text the number of its cluster; a text without one is a cluster of its own."""
    numbers: dict[str | int, int] = {}
    keys = (cluster or place for place, cluster in enumerate(clusters))
    return np.array([numbers.setdefault(key, len(numbers)) for key in keys], np.int64)


def _template(runs: _Runs, belongs: NDArray[np.int64]) -> NDArray[np.uint64]:
    """Return the 13-grams that too many texts have; those of one cluster, as `belongs` numbers them, count once."""
    clusters = belongs[runs.owners]
    order = np.lexsort((clusters, runs.hashes))
    hashes, owners = runs.hashes[order], clusters[order]
    first_of_text = np.ones(len(hashes), bool)
    first_of_text[1:] = (hashes[1:] != hashes[:-1]) | (owners[1:] != owners[:-1])
    unique, holders = np.unique(hashes[first_of_text], return_counts=True)
    texts = len(np.unique(belongs))
    return unique[holders > max(1, TEMPLATE_SHARE * texts)]


def _untouched(runs: _Runs, template: NDArray[np.uint64]) -> _Runs:
    """Return those that hold no word of a template: its last words and the next ones are no finding either."""
    begun = runs.starts[np.isin(runs.hashes, template)]
    if not len(begun):
        return runs
    edges = np.zeros(int(runs.starts[-1]) + GRAM + 1, np.int64)
    np.add.at(edges, begun, 1)
    np.add.at(edges, begun + GRAM, -1)
    return runs.only(_free_of(np.cumsum(edges) > 0, runs.starts))


def _free_of(barred: NDArray[np.bool_], starts: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Say which runs, by their first words, hold no barred word."""
    before = np.concatenate([[0], np.cumsum(barred)])
    free: NDArray[np.bool_] = before[starts + GRAM] == before[starts]
    return free
