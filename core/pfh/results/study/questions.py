"""The study's questions, each with its test, and an honest "not enough" where the data do not settle it."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pfh.results.study.changes import FinishedRun, scores_of
from pfh.results.study.correlation import tied
from pfh.results.study.recommendations import ENOUGH, TARGET, points
from pfh.results.study.records import Answer, EffectRecord
from pfh.statistics.crossed import Effect, Scores, difference, documents_needed, effect, joint_draws, order_of

if TYPE_CHECKING:
    from pandas import DataFrame

Cells = Mapping[tuple[str, str], Sequence[Scores]]
"""(Method, family) to its changes."""

NONE = "none"
SOURCES = {
    "gt-sft": "ground truth",
    "sf-sft": "a teacher of the same family",
    "cf-sft": "a teacher of another family",
    "sdft": "the model itself",
    "sdft-rewrite": "the model itself",
    "spin": "the model itself",
    "dpo": "a reward",
    "grpo": "a reward",
    "reinforce": "a reward",
}
"""Where the signal of a built-in method comes from."""
ONLINE, OFFLINE = ("grpo", "reinforce"), ("dpo",)


@dataclass(frozen=True, kw_only=True)
class Draft:
    """A question with its test, before the tests of the whole study are adjusted."""

    question: str
    p_value: float | None
    """None where nothing is tested: the answer is a description, or there is too little for any test."""
    settled: str
    """The answer, if the adjusted test says so."""
    open: str = ""
    """The answer otherwise; a description has none."""

    def answered(self, p_adjusted: float | None) -> Answer:
        """Return the answer at an adjusted p-value."""
        known = p_adjusted < 0.05 if p_adjusted is not None else bool(self.settled)
        tested = "" if p_adjusted is None else f" (p = {self.p_value:.2g}, adjusted {p_adjusted:.2g})"
        said = self.settled if known else self.open
        return Answer(
            question=self.question,
            answer=f"{said.removesuffix('.')}{tested}.",
            state="answered" if known else "not enough",
            p_value=self.p_value,
            p_adjusted=p_adjusted,
        )


def asked(
    runs: Sequence[FinishedRun], cells: Cells, effects: Sequence[EffectRecord], table: DataFrame
) -> tuple[Draft, ...]:
    """Put the study's questions to its changes."""
    trained = {key: scores for key, scores in cells.items() if key[0] != NONE}
    online = {**dict.fromkeys(ONLINE, "online"), **dict.fromkeys(OFFLINE, "offline")}
    return (
        *_extremes(trained, "forgetting", "Which method forgets most, and which least?"),
        *_extremes(trained, "safety", "Which method breaks safety most, and which least?"),
        *_extremes(trained, TARGET, "Which method gains most of the target?"),
        *_contrast(_grouped(trained, SOURCES), "Does the source of the signal matter?"),
        *_contrast(_grouped(trained, online), "Is online training gentler than offline?"),
        *_domains(effects),
        *_scale(runs, table),
        *_tied(table),
        *_noise(cells),
    )


def broad(effects: Sequence[EffectRecord]) -> Iterator[Answer]:
    """Say of the loss of safety whether it is broad or in a category, from adjusted effects."""
    parts = [row for row in effects if row.family == "safety" and row.category and row.method != NONE]
    lost = [row for row in parts if row.significant and row.change < 0]
    if not parts:
        return
    places = (
        f"{row.method} on {row.domain} from {row.start}, {row.category} {100 * row.change:+.1f}" for row in lost[:8]
    )
    listed = f" In points: {'; '.join(places)}." if lost else ""
    yield Answer(
        question="Is the loss of safety broad, or in a category?",
        answer=f"{len(lost)} of {len(parts)} benchmarks and categories fell, adjusted.{listed}",
        state="answered" if lost else "not enough",
    )


def _extremes(cells: Cells, family: str, question: str) -> Iterator[Draft]:
    chosen = {method: scores for (method, other), scores in cells.items() if other == family}
    if len(chosen) < 2:
        return
    found = {method: effect(scores) for method, scores in chosen.items()}
    order = order_of(joint_draws(chosen))
    names = sorted(found, key=lambda method: -found[method].mean)
    best = [method for method in names if order.ranks[method][0] == 1]
    worst = [method for method in names if order.ranks[method][1] == len(names)]
    listed = "; ".join(f"{method} {points(found[method])}, rank {_span(order.ranks[method])}" for method in names)
    listed += _one_seed(found)
    yield Draft(
        question=question,
        p_value=order.p_value,
        settled=f"Best are, at 95%, {', '.join(best)}; worst {', '.join(worst)}. {listed}.",
        open=f"No order is known at 95%{_more(found[names[0]], found[names[-1]])}. {listed}.",
    )


def _more(first: Effect, last: Effect) -> str:
    """Say how many documents more would tell the first from the last."""
    gap = difference(first, last)
    needed = documents_needed(gap, 0.0)
    between = f": between the first and the last lie {100 * gap.mean:.1f} points"
    if needed is None:
        return f"{between}, and no number of documents settles that with {_seeds(gap)}; more seeds may"
    if needed < ENOUGH:
        return f"{between}, which is told apart by itself, and not beside all else that the study asks"
    return f"{between}; at most {needed:,} more documents a method would settle that if it is what it looks like"


def _one_seed(found: Mapping[str, Effect]) -> str:
    """Say of which nothing is known but for one seed of training."""
    single = [name for name, each in found.items() if each.seeds == 1]
    if len(single) == len(found) > 1:
        return ". Of 1 seed, so that another may change it: all of them"
    return f". Of 1 seed, so that another may change it: {', '.join(single)}" if single else ""


def _seeds(effect_: Effect) -> str:
    return f"{effect_.seeds} seed{'s' * (effect_.seeds != 1)}"


def _span(ranks: tuple[int, int]) -> str:
    return str(ranks[0]) if ranks[0] == ranks[1] else f"{ranks[0]} to {ranks[1]}"


def _grouped(cells: Cells, groups: Mapping[str, str]) -> dict[tuple[str, str], list[Scores]]:
    found: dict[tuple[str, str], list[Scores]] = defaultdict(list)
    for (method, family), scores in cells.items():
        group = groups.get(method.partition("(")[0].rpartition("+")[2])
        if group is not None:
            found[group, family] += scores
    return dict(found)


def _contrast(groups: Mapping[tuple[str, str], Sequence[Scores]], question: str) -> Iterator[Draft]:
    """Compare groups of methods in each family, on draws that share seeds and documents."""
    for family in sorted({family for _, family in groups}):
        chosen = {group: scores for (group, other), scores in groups.items() if other == family}
        if len(chosen) < 2:
            continue
        found = {group: effect(scores) for group, scores in chosen.items()}
        order = order_of(joint_draws(chosen))
        names = sorted(found, key=lambda group: -found[group].mean)
        gap = 100 * (found[names[0]].mean - found[names[-1]].mean)
        listed = "; ".join(f"{group} {points(found[group])}" for group in names) + _one_seed(found)
        yield Draft(
            question=f"{question} ({family})",
            p_value=order.p_value,
            settled=f"They differ in {family}: between the first and the last lie {gap:.1f} points. {listed}.",
            open=f"No difference is known in {family}{_more(found[names[0]], found[names[-1]])}. {listed}.",
        )


def _domains(effects: Sequence[EffectRecord]) -> Iterator[Draft]:
    """Test whether methods change a family differently by domain: their effects against their mean over domains."""
    from scipy.stats import chi2

    for family in sorted({row.family for row in effects}):
        groups: dict[tuple[str, str], list[EffectRecord]] = defaultdict(list)
        for row in effects:
            if row.family == family and not row.category and row.method != NONE:
                groups[row.start, row.method].append(row)
        statistic, freedom = 0.0, 0
        for rows in groups.values():
            weights = [1 / max(row.seed_error**2 + row.document_error**2, 1e-12) for row in rows]
            mean = sum(w * row.change for w, row in zip(weights, rows, strict=True)) / sum(weights)
            statistic += sum(w * (row.change - mean) ** 2 for w, row in zip(weights, rows, strict=True))
            freedom += len(rows) - 1
        if not freedom:
            continue
        told = f"Cochran's Q is {statistic:.1f} on {freedom} degrees of freedom"
        single = min(row.seeds for rows in groups.values() for row in rows) == 1
        caution = "; with one seed a domain cannot be told from the luck of one training" if single else ""
        excess = statistic - freedom
        more = (
            f"; about {float(chi2.ppf(0.95, freedom)) / excess:.1f} times the documents and seeds would settle it"
            if excess > 0
            else "; the domains differ by no more than chance"
        )
        yield Draft(
            question=f"Does the domain decide what is lost? ({family})",
            p_value=float(chi2.sf(statistic, freedom)),
            settled=f"It does: {told}{caution}.",
            open=f"That is not known: {told}{more}{caution}.",
        )


def _scale(runs: Sequence[FinishedRun], table: DataFrame) -> Iterator[Draft]:
    from scipy.stats import linregress, t

    from pfh.results.study.changes import by_run

    changes = by_run(table)
    rows = [run for run in runs if run.scale and run.method != NONE and run.name in changes]
    if len({run.scale for run in rows}) < 2:
        return
    for family in sorted({name for run in rows for name in changes[run.name]}):
        there = [(math.log10(run.scale or 1), changes[run.name][family]) for run in rows if family in changes[run.name]]
        if len(there) < 3 or len({x for x, _ in there}) < 2:
            continue
        line = linregress([x for x, _ in there], [y for _, y in there])
        told = (
            f"{100 * line.slope:+.1f} points for ten times the weights (standard error {100 * line.stderr:.1f}, "
            f"{len(there)} runs)"
        )
        wanted = float(t.ppf(0.975, len(there) - 2)) * line.stderr
        more = math.ceil(len(there) * ((wanted / line.slope) ** 2 - 1)) if line.slope else 0
        yield Draft(
            question=f"How does it go with scale? ({family})",
            p_value=float(line.pvalue),
            settled=f"It changes: {told}.",
            open=f"No trend is known: {told}{f'; about {more:,} more runs would settle it' if more > 0 else ''}.",
        )


def _tied(table: DataFrame) -> Iterator[Draft]:
    """Ask whether runs that lose capability lose safety too, by rank, with what the target gained taken out."""
    trained = table[table["method"] != NONE]
    cells: dict[tuple[str, str], list[Scores]] = {
        (str(run), str(family)): scores_of(part)
        for (run, family), part in trained.groupby(["run", "family"], sort=True)
        if family in ("safety", "forgetting", TARGET)
    }
    named: dict[Hashable, list[Scores]] = dict(cells.items())
    found = tied(named)
    question = "Is the loss of safety tied to the loss of capability?"
    if found is None:
        return
    if found.needed:
        yield Draft(
            question=question,
            p_value=None,
            settled="",
            open=f"{found.runs} runs are too few for a rank correlation; {found.needed} more are needed",
        )
        return
    yield Draft(
        question=question,
        p_value=found.p_value,
        settled=f"It is: {found.sentence}",
        open=f"That is not known: {found.sentence}{found.more}",
    )


def _noise(cells: Cells) -> Iterator[Draft]:
    found: dict[str, Effect] = {family: effect(scores) for (method, family), scores in cells.items() if method == NONE}
    if found:
        listed = "; ".join(f"{family} {points(each)}" for family, each in found.items())
        yield Draft(
            question="How much changes when nothing is trained?",
            p_value=None,
            settled=f"Measured again in other batches and under another seed of sampling: {listed}.",
        )
