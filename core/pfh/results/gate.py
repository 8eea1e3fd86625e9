"""A contract held against results: every clause holds, is broken, or is undecided, and says by how much.

A release claims that all clauses hold, each at 5% (intersection-union test, Berger 1982): no correction is needed for
that. The list of broken clauses is Holm-adjusted, since any one of them stops a release.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from pfh.errors import UserError
from pfh.results.clauses import STATES, Judged, Kind, State
from pfh.results.contracts import (
    Contract,
    Floor,
    Hold,
    Improve,
    Margin,
    Stay,
    Target,
    check_relative,
    chosen_stages,
    matched,
)
from pfh.results.records import RunResults, StageRecord
from pfh.statistics.holds import share_limits
from pfh.statistics.noninferiority import (
    LEVEL,
    chance_to_hold,
    deciding_samples,
    lower_limit,
    score_statistic,
    upper_limit,
)

MARGIN = 0.02
"""Of a clause that names none, where the benchmark promises nothing by itself."""


@dataclass(frozen=True, kw_only=True)
class Gate:
    """Every clause of a contract, and what follows."""

    clauses: tuple[Judged, ...]
    passes: bool
    chance: float
    """That a truly unchanged model passes all non-inferiority clauses, if they were independent."""

    def count(self, state: State) -> int:
        """Return how many clauses are in `state`."""
        return sum(clause.state == state for clause in self.clauses)

    @property
    def sentence(self) -> str:
        """The verdict in one sentence."""
        told = {state: "hold" if state == "holds" and self.count(state) > 1 else state for state in STATES}
        counts = ", ".join(f"{count} {told[state]}" for state in STATES if (count := self.count(state)))
        sure = sum(clause.significant for clause in self.clauses)
        return (
            f"The gate {'is open' if self.passes else 'stays shut'}: {counts or 'no clause'}"
            + (f" ({sure} of the broken after Holm's adjustment)" if self.count("broken") else "")
            + (", and none is shown to hold" if self.passes and self.clauses and not self.count("holds") else "")
            + "."
        )


def judge(contract: Contract, results: RunResults) -> Gate:
    """Hold `contract` against those stages of `results` that it speaks of.

    Raises:
        UserError: as `judge_stages`; or the results have no such stage.
    """
    return judge_stages(contract, chosen_stages(contract, results))


def judge_stages(contract: Contract, stages: Sequence[StageRecord]) -> Gate:
    """Hold `contract` against `stages`.

    Raises:
        UserError: the contract is at fault: a clause matches nothing, asks for a direction where there is none, or
            gives a margin relative to a base near 0.
    """
    clauses = _adjusted(list(_clauses(contract, stages)))
    stops = {"broken"}
    stops |= {"undecided"} if contract.undecided == "fail" else set()
    stops |= {"not measured"} if contract.not_measured == "fail" else set()
    chance = 1.0
    for clause in clauses:
        chance *= 1.0 if clause.chance is None else clause.chance
    return Gate(clauses=tuple(clauses), passes=not any(clause.state in stops for clause in clauses), chance=chance)


def _clauses(contract: Contract, stages: Sequence[StageRecord]) -> Iterator[Judged]:
    named: set[str] = set()
    for pattern in contract.may_change:
        for target in matched(pattern, stages):
            named.add(target.name)
            yield Judged(
                kind="may_change",
                name=target.name,
                demand="may change",
                state="may change",
                said=_change(target),
                status=target.benchmark.status,
            )
    wanted: list[tuple[Kind, Sequence[Hold | Improve | Stay | Floor], Callable[..., Judged]]] = [
        ("must_improve", contract.must_improve, _improves),
        ("must_hold", contract.must_hold, _holds),
        ("must_stay", contract.must_stay, _stays),
        ("floors", contract.floors, _stands),
    ]
    for kind, asked, decide in wanted:
        for clause in asked:
            worst = isinstance(clause, Hold) and clause.category == "worst"
            for target in matched(clause.what, stages, categories=worst):
                named.add(f"{target.family}/{target.benchmark.benchmark}")
                if (absent := _unmeasured(kind, target)) is not None:
                    yield absent
                elif isinstance(clause, Hold) and clause.margin is None and target.claims:
                    yield from _own_claims(target)
                else:
                    yield decide(clause, target)
    if contract.otherwise == "fail_if_worse":
        for target in matched("*/*", stages):
            if target.name not in named and target.row.verdict == "worse":
                yield Judged(
                    kind="otherwise",
                    name=target.name,
                    demand="not worse",
                    state="broken",
                    said=f"{_change(target)}, adjusted p = {target.row.p_adjusted:.2g}",
                    status=target.benchmark.status,
                    p_value=target.row.p_adjusted,
                )


def _unmeasured(kind: Kind, target: Target) -> Judged | None:
    row = target.benchmark
    if row.status == "MEASURED":
        return None
    return Judged(
        kind=kind, name=target.name, demand="measured", state="not measured", said=row.reason, status=row.status
    )


def _own_claims(target: Target) -> Iterator[Judged]:
    for claim in target.claims:
        yield Judged(
            kind="must_hold",
            name=target.name,
            demand=claim.demand,
            state=claim.state,
            said=claim.said,
            status="MEASURED",
            p_value=claim.p_value,
        )


def _holds(clause: Hold, target: Target) -> Judged:
    sign = _direction(target)
    asked = clause.margin or Margin(MARGIN)
    check_relative(asked, target)
    margin = asked.of(target.row.before)
    low, high = _limits(target, sign)
    state: State = "holds" if low >= -margin else "broken" if high < -margin else "undecided"
    both_ways = 2 * min(target.row.n10, target.row.n01) / target.row.n if _is_table(target) else None
    return Judged(
        kind="must_hold",
        name=target.name,
        demand=f"not worse by {margin:g}",
        state=state,
        said=_line(target, _limit(low, high, state), state, sign * target.row.delta, -margin),
        status="MEASURED",
        p_value=_p_of_meeting(target, sign, -margin),
        chance=None if both_ways is None or margin <= 0 else chance_to_hold(target.row.n, both_ways, margin),
    )


def _improves(clause: Improve, target: Target) -> Judged:
    sign = _direction(target)
    check_relative(clause.by, target)
    least = clause.by.of(target.row.before)
    low, high = _limits(target, sign)
    state: State = "holds" if low > least else "broken" if high <= least else "undecided"
    return Judged(
        kind="must_improve",
        name=target.name,
        demand=f"better by more than {least:g}",
        state=state,
        said=_line(target, _limit(low, high, state), state, sign * target.row.delta, least),
        status="MEASURED",
        p_value=_p_of_meeting(target, sign, least),
    )


def _stays(clause: Stay, target: Target) -> Judged:
    check_relative(clause.within, target)
    margin = clause.within.of(target.row.before)
    low, high = _limits(target, 1)
    inside = low >= -margin and high <= margin
    state: State = "holds" if inside else "broken" if low > margin or high < -margin else "undecided"
    nearest = -margin if abs(target.row.delta + margin) < abs(target.row.delta - margin) else margin
    return Judged(
        kind="must_stay",
        name=target.name,
        demand=f"within {margin:g}",
        state=state,
        said=_line(target, f"with 95% confidence between {low:+.3f} and {high:+.3f}", state, target.row.delta, nearest),
        status="MEASURED",
        p_value=_p_of_meeting(target, 1 if nearest < 0 else -1, -margin),
    )


def _stands(clause: Floor, target: Target) -> Judged:
    from scipy.stats import binom

    row = target.row
    if row.n10 is None:
        raise UserError(f"The floor of {target.name} needs a score that is 0 or 1: use must_hold with a margin.")
    count, n = round(row.after * row.n), row.n
    low, high = share_limits(count, n)
    if clause.at_least is not None:
        state: State = "holds" if low >= clause.at_least else "broken" if high < clause.at_least else "undecided"
        demand, p_value = f"at least {clause.at_least:g}", float(binom.cdf(count, n, clause.at_least))
    else:
        assert clause.at_most is not None
        state = "holds" if high <= clause.at_most else "broken" if low > clause.at_most else "undecided"
        demand, p_value = f"at most {clause.at_most:g}", float(binom.sf(count - 1, n, clause.at_most))
    return Judged(
        kind="floors",
        name=target.name,
        demand=demand,
        state=state,
        said=f"{row.after:.3f} after, between {low:.3f} and {high:.3f} (one-sided 95% each), n = {n}",
        status="MEASURED",
        p_value=p_value,
    )


def _direction(target: Target) -> int:
    better = target.benchmark.higher_is_better
    if better is None:
        raise UserError(
            f"{target.name} has no good direction ({target.benchmark.metric}): it may stand under may_change or "
            "must_stay only."
        )
    return 1 if better else -1


def _limits(target: Target, sign: int) -> tuple[float, float]:
    """Return the one-sided limits of the change, in the good direction where `sign` turns it so.

    Tango's for scores of 0 and 1 of one seed on independent samples; else the ends of the 95% interval, which are
    one-sided limits at 97.5%.
    """
    row = target.row
    if _is_table(target):
        lost, gained = (row.n10, row.n01) if sign > 0 else (row.n01, row.n10)
        return float(lower_limit(lost, gained, row.n)), float(upper_limit(lost, gained, row.n))
    if row.ci_low is None or row.ci_high is None:
        return -math.inf, math.inf
    ends = (sign * row.ci_low, sign * row.ci_high)
    return min(ends), max(ends)


def _is_table(target: Target) -> bool:
    """Say whether the change is told by a 2 x 2 table of independent samples."""
    clusters = getattr(target.benchmark, "clusters", None)
    independent = clusters is None or clusters >= target.benchmark.n
    return target.row.n10 is not None and target.benchmark.seeds == 1 and independent


def _p_of_meeting(target: Target, sign: int, threshold: float) -> float | None:
    """Return the one-sided p-value of a change of at least `threshold` in the good direction."""
    from scipy.stats import norm

    row = target.row
    if not _is_table(target):
        return None
    lost, gained = (row.n10, row.n01) if sign > 0 else (row.n01, row.n10)
    return float(norm.cdf(score_statistic(lost, gained, row.n, threshold)))


def _limit(low: float, high: float, state: State) -> str:
    """Return the limit that decides: the upper one of what is broken."""
    return f"with 95% confidence {f'{high:+.3f} at most' if state == 'broken' else f'{low:+.3f} at least'}"


def _flips(target: Target) -> float | None:
    row = target.row
    return (row.n10 + row.n01) / row.n if _is_table(target) else None


def _change(target: Target) -> str:
    row = target.row
    if row.delta is None:
        return "not measured"
    return f"{row.before:.3f} to {row.after:.3f} ({row.delta:+.3f})"


def _line(target: Target, limit: str, state: State, change: float, threshold: float) -> str:
    said = f"{_change(target)}, {limit}, n = {target.row.n}"
    flips = _flips(target)
    if state == "undecided" and flips is not None:
        needed = deciding_samples(max(flips, 1 / target.row.n), change, threshold)
        said += "; no number of samples would decide" if needed is None else f"; about {needed} samples would decide"
    return said


def _adjusted(clauses: list[Judged]) -> list[Judged]:
    """Mark the clauses that are broken after Holm's step-down over all that were tested."""
    tested = sorted((clause.p_value, place) for place, clause in enumerate(clauses) if clause.p_value is not None)
    sure, worst = set(), 0.0
    for rank, (p_value, place) in enumerate(tested):
        worst = max(worst, (len(tested) - rank) * p_value)
        if worst <= 1 - LEVEL and clauses[place].state == "broken":
            sure.add(place)
    return [replace(clause, significant=place in sure) for place, clause in enumerate(clauses)]
