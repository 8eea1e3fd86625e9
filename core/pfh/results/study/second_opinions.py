"""Every change of a family once more by another model, and where the two do not say the same."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pfh.results.study.records import EffectRecord, SecondOpinion
from pfh.statistics.crossed import Scores
from pfh.statistics.second_opinion import marginal_mean

Place = tuple[str, str, str, str]
"""Start, domain, method and family."""


def second_opinions(effects: Sequence[EffectRecord], cells: Mapping[Place, Sequence[Scores]]) -> list[SecondOpinion]:
    """Return a second opinion on each effect of a whole family.

    Args:
        effects: those of the study.
        cells: the changes that the effects are means of.
    """
    found = []
    for row in effects:
        if row.level != "family":
            continue
        second = marginal_mean(cells[row.start, row.domain, row.method, row.family])
        low, high = second.interval()
        found.append(
            SecondOpinion(
                start=row.start,
                domain=row.domain,
                method=row.method,
                family=row.family,
                change=second.mean,
                low=low,
                high=high,
                p_value=second.p_value,
                same=_direction(low, high) == _direction(row.low, row.high),
            )
        )
    return found


def compared(effects: Sequence[EffectRecord], seconds: Sequence[SecondOpinion]) -> tuple[str, ...]:
    """Say how often the two agree, and of each change where they do not what either says."""
    if not seconds:
        return ()
    own = {(row.start, row.domain, row.method, row.family): row for row in effects if row.level == "family"}
    same = sum(each.same for each in seconds)
    said = [f"{same} of {len(seconds)} changes of a family are the same by both: fallen, risen, or neither known."]
    for each in seconds:
        row = own[each.start, each.domain, each.method, each.family]
        if not each.same:
            seeds = f"; {row.seeds} seeds differ by more than their documents do" if row.seeds > 1 else ""
            said.append(
                f"{each.method} on {each.domain} from {each.start}, {each.family}: {_interval(row)} here, "
                f"{_interval(each)} points by the second model{seeds}."
            )
    return tuple(said)


def _direction(low: float, high: float) -> int:
    return (low > 0) - (high < 0)


def _interval(row: EffectRecord | SecondOpinion) -> str:
    return f"{100 * row.change:+.1f} [{100 * row.low:+.1f}, {100 * row.high:+.1f}]"
