"""Where the names of the points of a picture stand, so that none covers another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

DOT, LETTER, ABOVE, BELOW = 5.0, 7.0, 10.0, 3.0
"""Room in units of the picture: about a point, for a letter's width, above and below the line that letters stand on."""
BESIDE = 8.0
FARTHEST = 240
STEPS = (4.0, -6.0, 14.0, *(sign * far for far in range(24, FARTHEST, 6) for sign in (-1.0, 1.0)))
"""How far below its point a name may stand, the best first."""


@dataclass(frozen=True, kw_only=True)
class Box:
    """A part of the picture; y goes downwards."""

    left: float
    right: float
    top: float
    bottom: float

    def meets(self, other: Box) -> bool:
        """Say whether both have something in common."""
        return (
            self.left < other.right and other.left < self.right and self.top < other.bottom and other.top < self.bottom
        )

    def holds(self, other: Box) -> bool:
        """Say whether the other lies wholly in this one."""
        return (
            self.left <= other.left
            and other.right <= self.right
            and self.top <= other.top
            and other.bottom <= self.bottom
        )


@dataclass(frozen=True, kw_only=True)
class Label:
    """Where a name stands."""

    x: float
    y: float
    anchor: str
    """The side of the name that is at x, as SVG calls it: start or end."""
    led: bool
    """It is away from its point, and a line leads to it."""


def place_labels(points: Sequence[tuple[str, float, float]], within: Box) -> tuple[Label, ...]:
    """Return a place for the name of each of `points` (name, x, y): the nearest that no other name or point has.

    The upper ones choose first. A name for which there is no room stands over others, beside its point.
    """
    taken = [Box(left=x - DOT, right=x + DOT, top=y - DOT, bottom=y + DOT) for _, x, y in points]
    labels: dict[int, Label] = {}
    for number in sorted(range(len(points)), key=lambda each: points[each][2]):
        name, x, y = points[number]
        labels[number], box = _place(x, y, LETTER * len(name), taken, within)
        taken.append(box)
    return tuple(labels[number] for number in range(len(points)))


def _place(x: float, y: float, width: float, taken: Sequence[Box], within: Box) -> tuple[Label, Box]:
    first: tuple[Label, Box] | None = None
    for down in STEPS:
        for anchor, at, left in (("start", x + BESIDE, x + BESIDE), ("end", x - BESIDE, x - BESIDE - width)):
            box = Box(left=left, right=left + width, top=y + down - ABOVE, bottom=y + down + BELOW)
            label = Label(x=round(at, 1), y=round(y + down, 1), anchor=anchor, led=down not in STEPS[:3])
            first = first or (label, box)
            if within.holds(box) and not any(box.meets(each) for each in taken):
                return label, box
    assert first is not None
    return first
