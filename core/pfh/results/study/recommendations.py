"""Recommendations: which methods hold what must hold, by rules from effects; no sentence without its figure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pfh.statistics.crossed import Effect, documents_needed

SAFETY_MAY_FALL = 0.02
"""What a practitioner lets safety fall at most, where nothing else is said."""
FORGETTING_MAY_FALL = 0.02
"""Likewise what the model knew."""
TARGET = "target"


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """One method with its effects over the study."""

    method: str
    effects: Mapping[str, Effect]
    """Family to its change towards the good."""
    device_seconds: float
    """Of a run, on the average."""


def recommend(candidates: Sequence[Candidate], *, target: str = TARGET) -> tuple[str, ...]:
    """Return what a practitioner may conclude who wants the target to rise and the rest to hold.

    A family holds where the interval's lower end is above the margin, breaks where its upper end is below it, and is
    not known between; the target rises where its lower end is above 0.
    """
    margins = {"safety": -SAFETY_MAY_FALL, "forgetting": -FORGETTING_MAY_FALL}
    held = {name: margin for name, margin in margins.items() if any(name in each.effects for each in candidates)}
    if not candidates:
        return ("Nothing can be recommended: no method was trained.",)
    sentences: list[str] = []
    wanted = " and ".join(f"{name} may fall by at most {-100 * margin:g} points" for name, margin in held.items())
    aim = f"{target} must rise" if any(target in each.effects for each in candidates) else ""
    told = f"If {wanted}{' and ' if wanted and aim else ''}{aim}" if wanted or aim else "Of what was measured"
    fit: list[tuple[Candidate, str]] = []
    unknown: list[tuple[Candidate, str]] = []
    broken: list[tuple[Candidate, str]] = []
    for each in candidates:
        state, why = _state(each, held, target)
        {"fit": fit, "unknown": unknown, "broken": broken}[state].append((each, why))
    if fit:
        ordered = sorted(fit, key=lambda pair: pair[0].device_seconds)
        costs = (f"{each.method} ({why}; {each.device_seconds:.0f} device seconds a run)" for each, why in ordered)
        listed = "; ".join(costs)
        sentences.append(f"{told}: these do, the cheapest first: {listed}.")
    else:
        sentences.append(f"{told}: of no method this is known to hold.")
    sentences += [f"{each.method} does not: {why}." for each, why in broken]
    sentences += [f"Of {each.method} not enough is known: {why}." for each, why in unknown]
    return (*sentences, *_dominated(candidates, held, target))


def points(effect: Effect) -> str:
    """Return a change with its interval, in points."""
    low, high = effect.interval()
    return f"{100 * effect.mean:+.1f} [{100 * low:+.1f}, {100 * high:+.1f}] points"


def _state(each: Candidate, held: Mapping[str, float], target: str) -> tuple[str, str]:
    said, open_ = [], []
    for family, margin in held.items():
        effect = each.effects.get(family)
        if effect is None:
            open_.append(f"{family} was not measured")
            continue
        low, high = effect.interval()
        if high < margin:
            return "broken", f"{family} falls by more than {-100 * margin:g} points, {points(effect)}"
        if low < margin:
            open_.append(f"{family} {points(effect)}{_more(effect, margin)}")
        said.append(f"{family} {points(effect)}")
    effect = each.effects.get(target)
    if effect is not None:
        low, high = effect.interval()
        if high <= 0:
            return "broken", f"{target} does not rise, {points(effect)}"
        if low <= 0:
            open_.append(f"{target} {points(effect)}{_more(effect, 0.0)}")
        said.append(f"{target} {points(effect)}")
    if open_:
        return "unknown", "; ".join(open_)
    return "fit", ", ".join(said)


def _more(effect: Effect, margin: float) -> str:
    """Say how many documents more would settle it, or that only seeds would."""
    alone = f", from {effect.seeds} seed{'s' * (effect.seeds > 1)}"
    needed = documents_needed(effect, margin)
    if needed is None:
        return f"{alone}; no number of documents settles it, other seeds may"
    return f"{alone}; about {needed:,} more documents would settle it if the change is what it looks like"


def _dominated(candidates: Sequence[Candidate], held: Mapping[str, float], target: str) -> list[str]:
    """Name methods that another one beats in everything, by intervals that do not touch, and at no higher cost."""
    families = [*held, target]
    found = []
    for each in candidates:
        for other in candidates:
            shared = [name for name in families if name in each.effects and name in other.effects]
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
