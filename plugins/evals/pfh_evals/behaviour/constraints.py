"""Instructions that can be checked by rule: twelve verifiers, each with a fixed meaning."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pfh_evals.behaviour.asks import Ask, Generated, Loaded, Read, ask, built_in, chat
from pfh_evals.behaviour.replies import words

if TYPE_CHECKING:
    from pfh_evals.behaviour.asks import Spec

_BULLET = re.compile(r"^\s*[-*•]\s+\S")
_SENTENCE = re.compile(r"[.!?]+(?=[\s\"')\]]|$)")
_NO_END = re.compile(
    r"(?<=\d)\.(?=\d)|\b(?:e\.g|i\.e|Mr|Mrs|Dr|(?:[A-Z]\.)+[A-Z])\.|^\s*\d{1,2}[.)](?=\s)", re.MULTILINE
)
"""Points of numbers, abbreviations and lists, which end no sentence."""
_TOKENS = re.compile(r"\S+")
_LEAST = 3
"""Different words of a reply that answers anything: babble of one word keeps every upper limit."""


def max_words(reply: str, *, most: int) -> bool:
    """Say whether there are at most so many words."""
    return len(_TOKENS.findall(reply)) <= most


def min_words(reply: str, *, least: int) -> bool:
    """Say whether there are at least so many words, half of them different at least: repetition is no length."""
    found = words(reply)
    return len(found) >= least and 2 * len(set(found)) >= least


def contains(reply: str, *, words: Sequence[str]) -> bool:
    """Say whether every one of `words` stands in the reply as a word."""
    return all(_stands(word, reply) for word in words)


def forbids(reply: str, *, words: Sequence[str]) -> bool:
    """Say whether none of `words` stands in the reply as a word."""
    return not any(_stands(word, reply) for word in words)


def lower_case(reply: str) -> bool:
    """Say whether no letter is a capital."""
    return reply == reply.lower() and any(letter.isalpha() for letter in reply)


def upper_case(reply: str) -> bool:
    """Say whether every letter is a capital."""
    return reply == reply.upper() and any(letter.isalpha() for letter in reply)


def bullets(reply: str, *, count: int) -> bool:
    """Say whether the reply is exactly so many bullets and nothing else."""
    lines = [line for line in reply.splitlines() if line.strip()]
    return len(lines) == count and all(_BULLET.match(line) for line in lines)


def language(reply: str, *, code: str) -> bool:
    """Say whether the text is in a language, by langdetect, seeded: the same text has one answer."""
    import langdetect

    langdetect.DetectorFactory.seed = 0
    try:
        return str(langdetect.detect(reply)) == code
    except langdetect.LangDetectException:
        return False


def starts(reply: str, *, text: str) -> bool:
    """Say whether the reply begins with these words and goes on."""
    asked, found = words(text), words(reply)
    return found[: len(asked)] == asked and len(found) > len(asked)


def ends(reply: str, *, text: str) -> bool:
    """Say whether the reply ends with these words and says something before."""
    asked, found = words(text), words(reply)
    return found[-len(asked) :] == asked and len(found) > len(asked)


def sentences(reply: str, *, count: int) -> bool:
    """Say whether there are exactly so many sentences."""
    text = _NO_END.sub("", reply).strip()
    return len(_SENTENCE.findall(text if _SENTENCE.search(text[-3:]) else text + ".")) == count


def no_comma(reply: str) -> bool:
    """Say whether there is no comma, of any script."""
    return not re.search(r"[,，、،]", reply)


VERIFIERS: Mapping[str, Callable[..., bool]] = {
    each.__name__: each
    for each in (
        max_words,
        min_words,
        contains,
        forbids,
        lower_case,
        upper_case,
        bullets,
        language,
        starts,
        ends,
        sentences,
        no_comma,
    )
}


def keeps(reply: str, check: str, settings: Mapping[str, Any]) -> bool:
    """Say whether a reply keeps a rule, and says anything at all.

    Raises:
        KeyError: there is no verifier of that name: an unknown rule is never kept.
    """
    verifier = VERIFIERS[check]
    return len(set(words(reply))) >= _LEAST and verifier(reply, **settings)


def _stands(word: str, reply: str) -> bool:
    return re.search(rf"(?<!\w){re.escape(word)}(?!\w)", reply, re.IGNORECASE) is not None


def _constraints(spec: Spec) -> Loaded:
    return [ask("constraints", row["check"], chat(row["ask"]), row) for row in built_in("constraints.json")], "built in"


def read_rule(item: Ask, reply: str) -> Read:
    """Score 1 where the rule of the item is kept."""
    kept = keeps(reply, item.case["check"], item.case["settings"])
    return Read(score=float(kept), label="kept" if kept else "broken", target="kept")


def _retention(*, control: bool) -> Callable[[Spec], Loaded]:
    def load(spec: Spec) -> Loaded:
        asks = []
        for row in built_in("retention.json"):
            first, *rest, last = row["turns"]
            turns = (first, *rest, f"{row['rule']} {last}") if control else (f"{row['rule']} {first}", *rest, last)
            asks.append(ask("retention control" if control else "retention", row["check"], chat(*turns), row))
        return asks, "built in"

    return load


CONSTRAINTS = (
    Generated(
        name="constraints",
        group="constraints",
        metric="kept",
        higher_is_better=True,
        load=_constraints,
        read=read_rule,
    ),
    Generated(
        name="retention",
        group="retention",
        metric="kept",
        higher_is_better=True,
        load=_retention(control=False),
        read=read_rule,
    ),
    Generated(
        name="retention-control",
        group="retention",
        metric="kept",
        higher_is_better=True,
        load=_retention(control=True),
        read=read_rule,
    ),
)
