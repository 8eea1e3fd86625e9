"""How much of what was asked is answered, and how soon."""

from __future__ import annotations

import re

from pfh_evals.behaviour.asks import Ask, Generated, Read, single_turns


def _first(reply: str, alternatives: list[str]) -> re.Match[str] | None:
    """Return the first place where one of the alternatives stands as words."""
    pattern = "|".join(re.escape(each) for each in sorted(alternatives, key=len, reverse=True))
    return re.search(rf"(?<!\w)(?:{pattern})(?!\w)", reply, re.IGNORECASE)


def read_scope(item: Ask, reply: str) -> Read:
    """Score the share of the required points that are there."""
    points = item.case["points"]
    found = [_first(reply, alternatives) for alternatives in points]
    last = max((match.end() for match in found if match), default=0)
    missing = [alternatives[0] for alternatives, match in zip(points, found, strict=True) if match is None]
    return Read(
        score=1 - len(missing) / len(points),
        label=f"without {', '.join(missing)}" if missing else "all points",
        target="all points",
        extra={"words_after": len(reply[last:].split()) if last else None},
    )


def read_directness(item: Ask, reply: str) -> Read:
    """Score the words before the first right answer; no score where it never comes."""
    found = _first(reply, item.case["answers"])
    before = None if found is None else len(reply[: found.start()].split())
    return Read(
        score=None if before is None else float(before),
        label="no answer" if before is None else f"after {before} words",
        target=item.case["answers"][0],
    )


SCOPE = (
    Generated(
        name="scope",
        group="scope",
        metric="points_covered",
        higher_is_better=True,
        load=single_turns("scope", "scope.json"),
        read=read_scope,
        binary=False,
    ),
    Generated(
        name="directness",
        group="scope",
        metric="words_before_answer",
        higher_is_better=None,
        load=single_turns("directness", "directness.json"),
        read=read_directness,
        binary=False,
        of_silence=None,
    ),
)
