"""What became of the invariants: judged on prompts as units, at 95% one-sided, three-valued."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from pfh.hooks.evals import Claim
from pfh.hooks.samples import Sample
from pfh.hooks.tables import Cell, Quantity, Table
from pfh.statistics.change import is_binary
from pfh.statistics.holds import Held, change_limits, failing, held, mean_limits, provable_margin, provable_share
from pfh.statistics.noninferiority import LEVEL, deciding_samples, score_statistic

from pfh_evals.behaviour.invariants.measure import PREFIX
from pfh_evals.behaviour.invariants.written import Hold
from pfh_evals.pairs import Pairs

_SHOWN = 20
"""Prompts that are listed as broken."""
_UNCHANGED = 0.95
"""Share of answers that must be the same where the hold names none."""


def claims(pairs: Mapping[str, Pairs]) -> tuple[Claim, ...]:
    """Return what became of every demand of every invariant."""
    return tuple(claim for name, found in pairs.items() if name.startswith(PREFIX) for claim in _claims(name, found))


def _claims(name: str, pairs: Pairs) -> Iterator[Claim]:
    hold = Hold.model_validate(pairs[0][1].extra["hold"])
    before, after = (np.array([pair[side].score or 0.0 for pair in pairs], dtype=float) for side in (0, 1))
    if hold.at_least is not None:
        yield _at_least(name, "held", after, hold.at_least)
    if hold.not_worse_by is not None:
        yield _not_worse(name, before, after, hold.not_worse_by)
    if hold.each is not None:
        yield _each(name, [pair[1] for pair in pairs], hold.each)
    if pairs[0][1].extra["unchanged"]:
        same = np.array([_same(*pair) for pair in pairs], dtype=float)
        yield _at_least(name, "unchanged", same, hold.at_least or _UNCHANGED)


def _same(before: Sample, after: Sample) -> bool:
    value = after.extra["value"]
    return value is not None and value == before.extra["value"]


def _at_least(name: str, what: str, scores: np.ndarray, least: float) -> Claim:
    from scipy.stats import binom

    low, high = mean_limits(scores)
    state, n, share = held(low, high, least), len(scores), float(scores.mean())
    said = f"{share:.3f}, between {low:.3f} and {high:.3f}, n = {n}"
    if state == "undecided" and share == 1:
        said += f"; {_needed_for_share(least)} prompts without a failure would prove it"
    p_value = float(binom.cdf(int(scores.sum()), n, least)) if is_binary(scores) else None
    return Claim(benchmark=name, demand=f"{what} at least {least:g}", state=state, said=said, p_value=p_value)


def _not_worse(name: str, before: np.ndarray, after: np.ndarray, margin: float) -> Claim:
    from scipy.stats import norm

    low, high = change_limits(before, after)
    change, n, state = float(np.mean(after - before)), len(after), held(low, high, -margin)
    said = f"{before.mean():.3f} to {after.mean():.3f} ({change:+.3f}), {low:+.3f} at least, n = {n}"
    p_value = None
    if is_binary(np.concatenate([before, after])):
        lost, gained = int(np.sum(before > after)), int(np.sum(after > before))
        p_value = float(norm.cdf(score_statistic(lost, gained, n, -margin)))
        needed = deciding_samples(max((lost + gained) / n, 1 / n), change, -margin)
        if state == "undecided" and needed is not None:
            said += f"; about {needed} prompts would decide"
    return Claim(benchmark=name, demand=f"not worse by {margin:g}", state=state, said=said, p_value=p_value)


def _each(name: str, after: Sequence[Sample], rate: float) -> Claim:
    from scipy.stats import binom

    counts = [(sum(sample.extra["held"]), len(sample.extra["held"])) for sample in after]
    found = failing(counts, rate)
    could = any(float(binom.cdf(0, tried, rate)) * len(counts) <= 1 - LEVEL for _, tried in counts)
    state: Held = "broken" if found else "holds" if could else "undecided"
    if found:
        worst = ["{!r} ({} of {})".format(after[at].extra["user_prompt"][:60], *counts[at]) for at in found]
        said = f"{len(found)} of {len(counts)} prompts are below it: {'; '.join(worst[:3])}"
    elif could:
        said = f"no prompt of {len(counts)} is found below it"
    else:
        tries = math.ceil(math.log((1 - LEVEL) / len(counts)) / math.log(1 - rate))
        said = f"{counts[0][1]} replies a prompt cannot tell; {tries} could: raise repeats"
    p_values = [float(binom.cdf(count, tried, rate)) * len(counts) for count, tried in counts]
    return Claim(
        benchmark=name, demand=f"each prompt at least {rate:g}", state=state, said=said, p_value=min(1.0, *p_values)
    )


def _needed_for_share(least: float) -> int:
    return math.ceil(math.log(1 - LEVEL) / math.log(least)) if least < 1 else 0


def told(found: Sequence[Claim], pairs: Mapping[str, Pairs]) -> list[str]:
    """Return a sentence on each broken demand, with the reason that its author gave."""
    sentences = []
    for claim in found:
        if claim.state == "broken":
            why = pairs[claim.benchmark][0][1].extra["why"]
            name = claim.benchmark.removeprefix(PREFIX)
            sentences.append(
                f"The invariant {name} is broken ({claim.demand}): {claim.said}.{f' {why}' if why else ''}"
            )
    return sentences


def tables(found: Sequence[Claim], pairs: Mapping[str, Pairs]) -> list[Table]:
    """Return the demands with what became of them, and the prompts that broke."""
    rows: list[tuple[Cell, ...]] = []
    for claim in found:
        each = pairs[claim.benchmark]
        means = [
            Quantity(value=sum(pair[side].score or 0 for pair in each) / len(each), unit="share") for side in (0, 1)
        ]
        name = claim.benchmark.removeprefix(PREFIX)
        rows.append((name, claim.demand, claim.state, *means, len(each), claim.said, each[0][1].extra["why"]))
    broke = [
        (name.removeprefix(PREFIX), pair[1].extra["user_prompt"], pair[0].extracted, pair[1].extracted)
        for name, each in pairs.items()
        if name.startswith(PREFIX)
        for pair in sorted(each, key=lambda pair: (pair[1].score or 0) - (pair[0].score or 0))
        if (pair[1].score or 0) < (pair[0].score or 0)
    ]
    return [
        Table(
            title="Invariants",
            columns=("invariant", "demand", "verdict", "held before", "held after", "prompts", "figures", "why"),
            rows=tuple(rows),
            note="A prompt is the unit: its variants and repeats are one score. Limits are one-sided, at 95%: "
            "undecided means too few prompts.",
        ),
        Table(
            title="Prompts whose invariant broke",
            columns=("invariant", "prompt", "before", "after"),
            rows=tuple(broke[:_SHOWN]),
            note=f"The worst {_SHOWN} of {len(broke)}." if len(broke) > _SHOWN else "",
        ),
    ]


def can_prove(hold: Hold, n: int) -> str:
    """Say what `n` prompts cannot prove of what is asked, at best; "can hold" where they can prove all."""
    lacks = []
    if hold.at_least is not None and provable_share(n) < hold.at_least:
        needed = _needed_for_share(hold.at_least)
        lacks.append(
            f"at_least {hold.at_least:g}: {n} prompts prove at most {provable_share(n):.2f}"
            + (f", {needed} are needed" if needed else ", and no number proves 1")
        )
    if hold.not_worse_by is not None and provable_margin(n) > hold.not_worse_by:
        lacks.append(
            f"not_worse_by {hold.not_worse_by:g}: {n} prompts prove at best {provable_margin(n):.2f}, "
            f"{_needed_for_margin(hold.not_worse_by)} are needed"
        )
    return f"cannot prove {'; nor '.join(lacks)}" if lacks else "can hold"


def _needed_for_margin(margin: float) -> int:
    n = 1
    while provable_margin(n) > margin:
        n *= 2
    low, high = n // 2, n
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if provable_margin(middle) > margin else (low, middle)
    return high
