"""Recommendations: which methods hold what must hold, by rules from effects; no sentence without its figure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pfh.statistics.adjustment import adjust
from pfh.statistics.crossed import Effect, documents_needed

TARGET = "target"
RATE = 0.05
"""Share of the methods that are said to do, or not to do, what is wanted, of which that may be false."""

ENOUGH = 2
"""Documents more below which a change is told apart already, were there nothing beside it."""


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What must hold of one family, or of one benchmark as FAMILY:BENCHMARK."""

    name: str
    least: float
    """The least change towards the good that is allowed: -0.02 lets it fall by two points; at 0 it must rise."""

    @property
    def said(self) -> str:
        """Say it."""
        return (
            f"{self.name} may fall by at most {-100 * self.least:g} points"
            if self.least < 0
            else f"{self.name} must rise{f' by {100 * self.least:g} points' if self.least else ''}"
        )


WANTED = (
    Wanted(name="safety", least=-0.02),
    Wanted(name="forgetting", least=-0.02),
    Wanted(name=TARGET, least=0.0),
)
"""What a practitioner wants where nothing else is said."""


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """One method with its effects over the study."""

    method: str
    effects: Mapping[str, Effect]
    """What is wanted of, a family or FAMILY:BENCHMARK, to its change towards the good."""
    device_seconds: float
    """Of a run, on the average."""


def recommend(candidates: Sequence[Candidate], wanted: Sequence[Wanted] = WANTED) -> tuple[str, ...]:
    """Return what a practitioner may conclude who wants some families to hold and others to rise.

    A method does what is wanted if every change is above its least one, and does not if one is below it. Both are
    tested (intersection and union of one-sided t-tests), each adjusted over the methods (Benjamini-Hochberg) at `RATE`
    of two sides; what neither test says is not known. What one seed of training shows is said of that training and not
    of the method: how much seeds differ is not known then.
    """
    if not candidates:
        return ("Nothing can be recommended: no method was trained.",)
    held = [each for each in wanted if any(each.name in candidate.effects for candidate in candidates)]
    absent = [each.name for each in wanted if each not in held]
    if not held:
        return ("Nothing can be recommended: nothing was measured of what is wanted.",)
    does = adjust([max(_p_above(each.effects.get(want.name), want.least) for want in held) for each in candidates])
    fails = adjust([_p_any_below(each, held) for each in candidates])
    told = f"If {' and '.join(want.said for want in held)}"
    sentences: list[str] = []
    fit = [each for each, p in zip(candidates, does, strict=True) if p <= RATE]
    broken = [each for each, p in zip(candidates, fails, strict=True) if p <= RATE and each not in fit]
    once = [each for each in fit if _of_one_seed(each, held)]
    if known := [each for each in fit if each not in once]:
        sentences.append(f"{told}: these do, the cheapest first: {_by_cost(known, held)}.")
    else:
        sentences.append(f"{told}: of no method this is known to hold.")
    if once:
        sentences.append(
            f"Of {len(once)} more the one training does, the cheapest first: {_by_cost(once, held)}. "
            "A second seed would tell whether the method does."
        )
    sentences += [
        f"{each.method} does not{', in its one training' if _of_one_seed(each, held) else ''}: {_why(each, held)}."
        for each in broken
    ]
    sentences += [
        f"Of {each.method} not enough is known: {_open(each, held)}."
        for each in candidates
        if each not in fit and each not in broken
    ]
    sentences += _dominated(candidates, held)
    if single := [each.method for each in candidates if _of_one_seed(each, held)]:
        listed = f" ({', '.join(single)})" if len(single) < len(candidates) else ""
        sentences.append(
            f"{len(single)} of {len(candidates)} methods were trained under 1 seed{listed}: their "
            "intervals are over documents alone, and another seed may come out elsewhere."
        )
    if absent:
        sentences.append(f"Of {', '.join(absent)} nothing is said: 0 of {len(candidates)} methods were measured on it.")
    sentences.append(
        f"These tests are adjusted over {len(candidates)} methods: if no method does what is wanted, one is said to do "
        f"it in at most {RATE:.0%} of studies{', as far as documents go' if single else ''}."
    )
    return tuple(sentences)


def _p_above(effect: Effect | None, least: float) -> float:
    """Return twice the one-sided p-value of a change that is at most `least`."""
    return 1.0 if effect is None else min(1.0, 2 * effect.above(least))


def _p_any_below(each: Candidate, held: Sequence[Wanted]) -> float:
    """Return the p-value of every change being at least what it must be: the least one times how many there are."""
    found = [2 * each.effects[want.name].below(want.least) for want in held if want.name in each.effects]
    return min(1.0, len(found) * min(found)) if found else 1.0


def _of_one_seed(each: Candidate, held: Sequence[Wanted]) -> bool:
    return any(each.effects[want.name].seeds == 1 for want in held if want.name in each.effects)


def _by_cost(fit: Sequence[Candidate], held: Sequence[Wanted]) -> str:
    ordered = sorted(fit, key=lambda each: each.device_seconds)
    return "; ".join(
        f"{each.method} ({_figures(each, held)}; {each.device_seconds:.0f} device seconds a run)" for each in ordered
    )


def _figures(each: Candidate, held: Sequence[Wanted]) -> str:
    return ", ".join(f"{want.name} {points(each.effects[want.name])}" for want in held)


def _why(each: Candidate, held: Sequence[Wanted]) -> str:
    """Say what speaks most against a method."""
    measured = [want for want in held if want.name in each.effects]
    worst = min(measured, key=lambda want: each.effects[want.name].below(want.least))
    falls = f"falls by more than {-100 * worst.least:g} points" if worst.least < 0 else "does not rise"
    return f"{worst.name} {falls}, {points(each.effects[worst.name])}"


def _open(each: Candidate, held: Sequence[Wanted]) -> str:
    """Say what is not settled, and what would settle it."""
    said = []
    for want in held:
        effect = each.effects.get(want.name)
        if effect is None:
            said.append(f"{want.name} was not measured, on 0 documents")
        elif 2 * effect.above(want.least) > RATE:
            said.append(f"{want.name} {points(effect)}{_more(effect, want.least)}")
    if not said:
        return f"{_figures(each, held)}, which is too little beside so many methods"
    return "; ".join(said)


def points(effect: Effect) -> str:
    """Return a change with its interval, in points."""
    low, high = effect.interval()
    return f"{100 * effect.mean:+.1f} [{100 * low:+.1f}, {100 * high:+.1f}] points"


def _more(effect: Effect, margin: float) -> str:
    """Say how many documents more would settle it, or that only seeds would."""
    alone = f", from {effect.seeds} seed{'s' * (effect.seeds > 1)}"
    needed = documents_needed(effect, margin)
    if needed is None:
        return f"{alone}; no number of documents settles it, other seeds may"
    if needed < ENOUGH:
        return f"{alone}; it is told apart by itself, and not beside so many methods"
    return f"{alone}; about {needed:,} more documents would settle it if the change is what it looks like"


def _dominated(candidates: Sequence[Candidate], held: Sequence[Wanted]) -> list[str]:
    """Name methods that another one beats in everything, by intervals that do not touch, and at no higher cost."""
    found = []
    for each in candidates:
        for other in candidates:
            shared = [want.name for want in held if want.name in each.effects and want.name in other.effects]
            beaten = shared and all(
                other.effects[name].interval()[0] > each.effects[name].interval()[1] for name in shared
            )
            if other is not each and beaten and other.device_seconds <= each.device_seconds:
                figures = ", ".join(
                    f"{name} {points(other.effects[name])} against {points(each.effects[name])}" for name in shared
                )
                found.append(f"{each.method} is dominated by {other.method}: {figures}.")
                break
    return found
