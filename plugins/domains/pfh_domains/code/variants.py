"""What a statement says of outputs that may vary: any case of letters, an error in decimals, or any of many answers."""

from __future__ import annotations

import re
from dataclasses import dataclass

_ANY_CASE = re.compile(
    r"\b(?:any|either|arbitrary) (?:case|register)\b|upper(?:\s|-)?case or (?:in )?lower|case[\s-]insensitive"
    r"|upper or lower case|lower or upper case",
    re.IGNORECASE,
)
_ERROR = re.compile(
    r"(?:absolute|relative)(?: or (?:absolute|relative))?(?: difference| error)|\berror (?:of|is|does|not|at)"
    r"|precision of|(?:within|accurate (?:to|up to)) (?:10|1e|\d+ (?:decimal|digits))|decimal (?:places|digits)",
    re.IGNORECASE,
)
_SIZE = re.compile(r"10\s*\^?\s*\{?\s*[-−–]\s*\{?\s*(\d{1,2})|1e-(\d{1,2})|10<sup>[-−–](\d{1,2})", re.IGNORECASE)
_ANY_ANSWER = re.compile(
    r"(?:print|output|return|find|choose|give|accept)[^.]{0,40}\bany\b(?! (?:other|more|number of|integer|two))"
    r"|\bany (?:of (?:them|those|these|the)|such|valid|possible|correct|suitable|optimal|answer|solution|order|one)\b"
    r"|(?:multiple|several|many|more than one)(?: \w+){0,2} (?:answers?|solutions?|ways|options|such|optimal|possible)",
    re.IGNORECASE,
)
_DECIDED = re.compile(
    r"lexicographically|smallest|largest|minimum|minimal|maximum|maximal|earliest|leftmost|first", re.IGNORECASE
)
_ANY_ORDER = re.compile(r"\b(?:any|arbitrary) order\b", re.IGNORECASE)
USUAL_TOLERANCE = 1e-6
"""Where a statement allows an error and does not say which."""


@dataclass(frozen=True, kw_only=True)
class Variants:
    """Outputs that are right too."""

    any_case: bool = False
    tolerance: float = 0.0
    """Absolute or relative error that numbers may have; 0 where they must be written alike."""
    any_order: bool = False
    any_answer: bool = False
    """There are several right answers, which no comparison can tell."""


def variants_of(statement: str) -> Variants:
    """Read what a statement says of its outputs."""
    errors = [_allowed(statement, found) for found in _ERROR.finditer(statement)]
    return Variants(
        any_case=_ANY_CASE.search(statement) is not None,
        tolerance=max((error for error in errors if error), default=USUAL_TOLERANCE if errors else 0.0),
        any_order=_ANY_ORDER.search(statement) is not None,
        any_answer=any(
            _ANY_CASE.search(sentence) is None and _DECIDED.search(sentence[found.start() :]) is None
            for sentence in re.split(r"(?<=[.!?])\s|\n\n", statement)
            for found in _ANY_ANSWER.finditer(sentence)
        ),
    )


def _allowed(statement: str, found: re.Match[str]) -> float | None:
    """Return the size of an error, where it is told near the place that speaks of one."""
    size = _SIZE.search(statement, max(0, found.start() - 80), found.end() + 120)
    if size is None:
        return None
    power = int(next(group for group in size.groups() if group))
    return 10.0**-power if 1 <= power <= 12 else None


def same_output(printed: list[str], wanted: list[str], *, any_case: bool, tolerance: float) -> bool:
    """Whether two outputs, as lines, are the same under what a statement allows."""
    if any_case:
        printed, wanted = [line.lower() for line in printed], [line.lower() for line in wanted]
    if printed == wanted:
        return True
    if not tolerance or len(printed) != len(wanted):
        return False
    pairs = [(ours.split(), theirs.split()) for ours, theirs in zip(printed, wanted, strict=True)]
    return all(
        len(ours) == len(theirs) and all(a == b or _close(a, b, tolerance) for a, b in zip(ours, theirs, strict=True))
        for ours, theirs in pairs
    )


def _close(ours: str, theirs: str, tolerance: float) -> bool:
    plain = re.compile(r"[-+]?\d+(?:\.\d*)?(?:[eE][-+]?\d{1,3})?", re.ASCII)
    if not (plain.fullmatch(ours) and plain.fullmatch(theirs)) or len(ours) > 400:
        return False
    wanted, got = float(theirs), float(ours)
    return abs(got - wanted) <= tolerance * max(1.0, abs(wanted)) < float("inf")
