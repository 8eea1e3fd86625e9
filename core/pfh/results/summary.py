"""Several runs side by side: what each method gained and lost in every family, and what it cost."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pfh.hooks.comparison import Comparison
from pfh.results.records import FamilyRecord, RunResults, StageRecord
from pfh.results.verdict import stage_name
from pfh.statistics import formatting as figures


@dataclass(frozen=True, kw_only=True)
class FamilyChange:
    """A family of benchmarks in one number, with what it is made of."""

    family: str
    """Name of the eval."""
    change: float | None
    """Mean change towards the good over the measured benchmarks that score a sample 0 or 1 and have a good direction,
    each benchmark counted once: a share, positive is better. None where there is none."""
    half_width: float | None
    """Half the 95% interval of `change`: the benchmarks' own intervals taken as independent and normal."""
    benchmarks: int
    """Benchmarks behind `change`."""
    worse: int
    """Benchmarks with the verdict "worse"."""
    better: int
    """Benchmarks with the verdict "better"."""
    not_measured: int
    """Benchmarks that could not be measured."""


@dataclass(frozen=True, kw_only=True)
class RunSummary:
    """One run in a line."""

    title: str
    """The run in a few words, as its report has it."""
    method: str
    """The methods in their order."""
    start: str
    """Name of the start model."""
    families: tuple[FamilyChange, ...]
    """What the last stage left against the start."""
    device_seconds: float
    """Of all stages and phases."""
    tokens: int
    """Tokens generated and trained on, in all stages."""
    updates: int
    """Optimiser updates of all stages."""
    samples: int
    """Examples trained on, every pass counted."""
    budget: str
    """The budget of a stage; empty without one."""
    budget_spent: float | None
    """Share of it that the last stage spent; None without a budget."""
    start_fingerprint: str = ""
    """Of the start model's weights."""
    domain: str = ""
    """Where the training problems come from."""
    seed: int = 0
    """Of the problems, the rollouts and the training."""
    prompts: int | None = None
    """Training problems of the last stage; None where its method does not say."""
    effective_prompts: int | None = None
    """Those of them that could teach something, such as prompts that gave a preference pair."""
    divergence: float | None = None
    """KL(start || after) a token of the last stage, in nats; None where it was not measured."""
    target_form: str = ""
    """The form of what the last stage learned from, such as "rationale 40, answer 8"; empty where it is not told."""
    flops: float = 0.0
    """Floating-point operations of all stages and phases."""
    matched: str = ""
    """Which checkpoint along the way is compared, and what it had cost by then; empty where it is the last."""
    warnings: tuple[str, ...] = ()
    """What the methods warned of."""


@dataclass(frozen=True, kw_only=True)
class Matching:
    """Whether runs agree in one thing that should not differ where methods are compared."""

    name: str
    """Such as "updates"."""
    matched: bool
    """Whether all runs agree."""
    said: str
    """In what they agree; where they do not, the least and the greatest, or all names."""


MATCHED_WITHIN = 0.05
"""Greatest difference, as a share of the greater, of amounts that count as the same."""


def summarize(results: RunResults) -> RunSummary:
    """Return one line of the table for a run with at least one stage.

    Raises:
        ValueError: `results` has no stage, as those of `pfh eval`.
    """
    if not results.stages:
        raise ValueError(f"{results.title} has no stage")
    last = results.stages[-1]
    phases = [phase for stage in results.stages for phase in stage.ledger]
    trained = [phase for phase in phases if phase.updates]
    return RunSummary(
        title=results.title,
        method=_methods(results.stages),
        start=last.before.name,
        families=tuple(family_change(family) for family in last.families),
        device_seconds=sum(phase.seconds * phase.devices for phase in phases),
        tokens=sum(phase.tokens for phase in phases),
        updates=sum(phase.updates for phase in trained),
        samples=sum(phase.samples for phase in trained),
        budget=last.budget,
        budget_spent=last.budget_spent,
        start_fingerprint=last.before.fingerprint,
        domain=results.domain,
        seed=results.seed,
        prompts=_first_note(last, "prompts"),
        effective_prompts=_first_note(last, "effective_prompts"),
        divergence=last.divergence.start_to_after if last.divergence else None,
        target_form=target_form(last),
        flops=math.fsum(phase.flops for phase in phases),
        matched=next((note for note in last.notes if note.startswith("Compared is the checkpoint")), ""),
        warnings=tuple(note for stage in results.stages for note in stage.notes if note.startswith("Warning:")),
    )


def matching(summaries: Sequence[RunSummary]) -> tuple[Matching, ...]:
    """Return in what several runs agree, and in what not: what must agree, what the budget was in, what it cost."""
    amounts: dict[str, list[int | None]] = {
        "prompts given": [summary.prompts for summary in summaries],
        "effective prompts": [summary.effective_prompts for summary in summaries],
        "updates": [summary.updates for summary in summaries],
        "samples": [summary.samples for summary in summaries],
        "tokens": [summary.tokens for summary in summaries],
    }
    forms = [re.sub(r" \d+\b", "", summary.target_form) for summary in summaries]
    flops = [summary.flops for summary in summaries]
    starts = {summary.start_fingerprint: summary.start for summary in summaries}
    same_name = len(starts) > len(set(starts.values()))
    return (
        _names("start", [f"{name} {key[:24]}" if same_name else name for key, name in starts.items()]),
        _names("domain", [summary.domain for summary in summaries]),
        _names("seed", [str(summary.seed) for summary in summaries]),
        *([_names("form of what was taught", forms)] if all(forms) else []),
        *(
            _amounts(name, known)
            for name, all_ in amounts.items()
            if (known := [one for one in all_ if one is not None])
        ),
        *([_amounts("FLOPs", flops, "{:.2g}".format)] if all(flops) else []),
        _amounts("device time", [summary.device_seconds for summary in summaries], figures.seconds),
    )


def _names(name: str, values: Sequence[str]) -> Matching:
    different = list(dict.fromkeys(values))
    return Matching(name=name, matched=len(different) == 1, said=", ".join(different))


def _amounts(name: str, values: Sequence[float], written: Callable[[float], str] = "{:,}".format) -> Matching:
    least, greatest = min(values), max(values)
    matched = greatest - least <= MATCHED_WITHIN * greatest
    # Agreement is said as it is, not rounded to one of the two.
    said = written(greatest) if written(least) == written(greatest) else f"{written(least)} to {written(greatest)}"
    return Matching(name=name, matched=matched, said=said)


def _first_note(stage: StageRecord, name: str) -> int | None:
    found = [phase.notes[name] for phase in stage.ledger if name in phase.notes]
    return int(found[0]) if found else None


def target_form(stage: StageRecord) -> str:
    """Return the form of what a stage learned from, as its ledger tells it; of several rounds, what all learned from.

    Such as "rationale 40, answer 8".
    """
    return ", then ".join(
        dict.fromkeys(str(phase.notes["target_form"]) for phase in stage.ledger if "target_form" in phase.notes)
    )


def family_change(family: FamilyRecord) -> FamilyChange:
    """Return the mean change of a family towards the good."""
    counted = [row for row in family.comparisons if row.n10 is not None and row.higher_is_better is not None]
    changes = [row.delta if row.higher_is_better else -row.delta for row in counted if row.delta is not None]
    widths = [_half_width(row) for row in counted]
    verdicts = [row.verdict for row in family.comparisons]
    return FamilyChange(
        family=family.family,
        change=math.fsum(changes) / len(changes) if changes else None,
        half_width=math.sqrt(math.fsum(width**2 for width in widths)) / len(widths) if widths else None,
        benchmarks=len(changes),
        worse=verdicts.count("worse"),
        better=verdicts.count("better"),
        not_measured=verdicts.count("not measured"),
    )


def _half_width(row: Comparison) -> float:
    return 0.0 if row.ci_low is None or row.ci_high is None else (row.ci_high - row.ci_low) / 2


def _methods(stages: Sequence[StageRecord]) -> str:
    return " then ".join(stage_name(stage) for stage in stages)
