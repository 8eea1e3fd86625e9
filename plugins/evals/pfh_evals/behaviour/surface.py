"""Small harm to a text that changes none of its meaning: typos, lower case, doubled spaces."""

from __future__ import annotations

import random
import re
from collections.abc import Collection

RATE, SHORTEST = 0.3, 4
"""Share of the words that get a typo, and letters of the shortest of them."""
_SPARED = frozenset({"not", "no", "except", "never", "none", "without", "nor", "neither"})
_WORD = re.compile(r"(?<![\w'])[a-z]+(?![\w'])")


def with_typos(text: str, seed: str, spared: Collection[str] = ()) -> str:
    """Swap, drop or double an inner letter of some words; never of names, numbers, negations or `spared` words."""
    draw = random.Random(seed)  # noqa: S311 - fixed by the item
    kept = _SPARED | {word.casefold() for each in spared for word in re.findall(r"\w+", each)}

    def harmed(match: re.Match[str]) -> str:
        word = match[0]
        lucky = draw.random() >= RATE
        if len(word) < SHORTEST or word in kept or lucky:
            return word
        place = draw.randrange(1, len(word) - 2)
        swapped = word[:place] + word[place + 1] + word[place] + word[place + 2 :]
        dropped, doubled = word[:place] + word[place + 1 :], word[: place + 1] + word[place:]
        return draw.choice([each for each in (swapped, dropped, doubled) if each != word])

    return _WORD.sub(harmed, text)


def variants(text: str, seed: str, spared: Collection[str] = ()) -> dict[str, str]:
    """Return the text as it is and its four harmed forms, by name."""
    return {
        "as it is": text,
        "typos 1": with_typos(text, f"{seed}/1", spared),
        "typos 2": with_typos(text, f"{seed}/2", spared),
        "lower case": text.lower(),
        "doubled spaces": text.replace(" ", "  "),
    }
