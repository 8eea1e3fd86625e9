"""The grid of CapTrack (arXiv 2603.06610): where a benchmark stands in what a model CAN do, WILL do, and HOW."""

from __future__ import annotations

from collections.abc import Iterable
from fnmatch import fnmatchcase

PLACES: tuple[tuple[str, str, str, tuple[str, ...]], ...] = (
    ("CAN", "skills of the training", "target", ("*",)),
    ("CAN", "knowledge and reasoning", "forgetting", ("*",)),
    ("CAN", "robustness", "behaviour", ("options", "wording", "surface", "languages")),
    ("CAN", "reasoning", "reasoning", ("*",)),
    ("WILL", "refusals", "safety", ("*",)),
    ("WILL", "refusals", "policy", ("refusal",)),
    ("WILL", "willingness", "behaviour", ("underspecified", "specified", "uncertainty", "certainty")),
    ("WILL", "scope and style", "policy", ("length", "hedging", "markdown", "distinct-2", "verbosity")),
    ("WILL", "scope and style", "behaviour", ("scope", "directness")),
    ("HOW", "instructions", "forgetting", ("ifeval*",)),
    ("HOW", "instructions", "behaviour", ("constraints", "retention*")),
    ("HOW", "your invariants", "behaviour", ("invariants/*",)),
    ("HOW", "forms", "policy", ("json", "adherence", "truncation", "loops")),
    ("HOW", "forms", "behaviour", ("json", "table")),
    ("HOW", "tools", "behaviour", ("tool-*",)),
    ("HOW", "long texts", "behaviour", ("needle*",)),
    ("HOW", "sources", "behaviour", ("citation-*",)),
)
"""Group, part, family and names of benchmarks, with globs; a benchmark stands at the first of its names."""


def placed(names: Iterable[tuple[str, str]]) -> list[list[str]]:
    """Return the benchmarks that stand at each place of the grid.

    Args:
        names: (family, benchmark), in their order.
    """
    found: list[list[str]] = [[] for _ in PLACES]
    left = dict.fromkeys(names)
    by_name_first = sorted(range(len(PLACES)), key=lambda place: "*" in PLACES[place][3])  # names before what is left
    for place in by_name_first:
        _, _, family, globs = PLACES[place]
        here = [key for key in left if key[0] == family and any(fnmatchcase(key[1], glob) for glob in globs)]
        found[place] = [benchmark for _, benchmark in here]
        for key in here:
            del left[key]
    return found
