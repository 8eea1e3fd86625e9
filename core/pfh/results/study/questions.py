"""The study's questions, each with its test, and an honest "not enough" where the data do not settle it."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from pfh.results.study.changes import FinishedRun
from pfh.results.study.recommendations import TARGET, points
from pfh.results.study.records import Answer, EffectRecord
from pfh.statistics.crossed import Effect, Scores, effect, joint_draws, rank_intervals

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
FEWEST_RUNS = 5
"""A rank correlation over fewer runs says nothing."""


def answers(
    runs: Sequence[FinishedRun],
    cells: Cells,
    effects: Sequence[EffectRecord],
    changes: Mapping[str, Mapping[str, float]],
) -> tuple[Answer, ...]:
    """Answer the study's questions."""
    trained = {key: scores for key, scores in cells.items() if key[0] != NONE}
    online = {**dict.fromkeys(ONLINE, "online"), **dict.fromkeys(OFFLINE, "offline")}
    return (
        *_extremes(trained, "forgetting", "Which method forgets most, and which least?"),
        *_extremes(trained, "safety", "Which method breaks safety most, and which least?"),
        *_extremes(trained, TARGET, "Which method gains most of the target?"),
        *_contrast(_grouped(trained, SOURCES), "Does the source of the signal matter?"),
        *_contrast(_grouped(trained, online), "Is online training gentler than offline?"),
        *_domains(effects),
        *_scale(runs, changes),
        *_tied(runs, changes),
        *_broad(effects),
        *_noise(cells),
    )


def _extremes(cells: Cells, family: str, question: str) -> Iterator[Answer]:
    chosen = {method: scores for (method, other), scores in cells.items() if other == family}
    if len(chosen) < 2:
        return
    found = {method: effect(scores) for method, scores in chosen.items()}
    ranks = rank_intervals(joint_draws(chosen))
    order = sorted(found, key=lambda method: -found[method].mean)
    best = [method for method in order if ranks[method][0] == 1]
    worst = [method for method in order if ranks[method][1] == len(order)]
    listed = "; ".join(f"{method} {points(found[method])}, rank {_span(ranks[method])}" for method in order)
    settled = len(best) < len(order)
    told = f"Best are, at 95%, {', '.join(best)}; worst {', '.join(worst)}." if settled else "No order is known at 95%."
    yield Answer(question=question, answer=f"{told} {listed}.", state="answered" if settled else "not enough")


def _span(ranks: tuple[int, int]) -> str:
    return str(ranks[0]) if ranks[0] == ranks[1] else f"{ranks[0]} to {ranks[1]}"


def _grouped(cells: Cells, groups: Mapping[str, str]) -> dict[tuple[str, str], list[Scores]]:
    found: dict[tuple[str, str], list[Scores]] = defaultdict(list)
    for (method, family), scores in cells.items():
        group = groups.get(method.partition("(")[0])
        if group is not None:
            found[group, family] += scores
    return dict(found)


def _contrast(groups: Mapping[tuple[str, str], Sequence[Scores]], question: str) -> Iterator[Answer]:
    """Compare groups of methods in each family, on draws that share seeds and documents."""
    for family in sorted({family for _, family in groups}):
        chosen = {group: scores for (group, other), scores in groups.items() if other == family}
        if len(chosen) < 2:
            continue
        found = {group: effect(scores) for group, scores in chosen.items()}
        draws = joint_draws(chosen)
        order = sorted(found, key=lambda group: -found[group].mean)
        low, high = np.quantile(draws[order[0]] - draws[order[-1]], [0.025, 0.975])
        gap = found[order[0]].mean - found[order[-1]].mean
        settled = bool(low > 0)
        listed = "; ".join(f"{group} {points(found[group])}" for group in order)
        verdict = "They differ" if settled else "No difference is known"
        said = f"{verdict} in {family}: between the first and the last lie {100 * gap:.1f} points"
        yield Answer(
            question=f"{question} ({family})",
            answer=f"{said} [{100 * low:+.1f}, {100 * high:+.1f}]. {listed}.",
            state="answered" if settled else "not enough",
        )


def _domains(effects: Sequence[EffectRecord]) -> Iterator[Answer]:
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
        p = float(chi2.sf(statistic, freedom))
        yield Answer(
            question=f"Does the domain decide what is lost? ({family})",
            answer=f"{'It does' if p < 0.05 else 'That is not known'}: Cochran's Q is {statistic:.1f} on {freedom} "
            f"degrees of freedom, p = {p:.3g}.",
            state="answered" if p < 0.05 else "not enough",
        )


def _scale(runs: Sequence[FinishedRun], changes: Mapping[str, Mapping[str, float]]) -> Iterator[Answer]:
    from scipy.stats import linregress

    rows = [run for run in runs if run.scale and run.method != NONE and run.name in changes]
    if len({run.scale for run in rows}) < 2:
        return
    for family in sorted({name for run in rows for name in changes[run.name]}):
        there = [(math.log10(run.scale or 1), changes[run.name][family]) for run in rows if family in changes[run.name]]
        if len(there) < 3 or len({x for x, _ in there}) < 2:
            continue
        line = linregress([x for x, _ in there], [y for _, y in there])
        known = line.pvalue < 0.05
        yield Answer(
            question=f"How does it go with scale? ({family})",
            answer=f"{'It changes' if known else 'No trend is known'}: {100 * line.slope:+.1f} points for ten times "
            f"the weights (standard error {100 * line.stderr:.1f}, {len(there)} runs, p = {line.pvalue:.3g}).",
            state="answered" if known else "not enough",
        )


def _tied(runs: Sequence[FinishedRun], changes: Mapping[str, Mapping[str, float]]) -> Iterator[Answer]:
    """Ask whether runs that lose capability lose safety too, by rank, with what the target gained taken out."""
    from scipy.stats import rankdata, spearmanr

    rows = [
        changes[run.name]
        for run in runs
        if run.method != NONE and {"safety", "forgetting"} <= changes.get(run.name, {}).keys()
    ]
    question = "Is the loss of safety tied to the loss of capability?"
    if not rows:
        return
    if len(rows) < FEWEST_RUNS:
        yield Answer(
            question=question,
            answer=f"{len(rows)} runs are too few for a rank correlation; {FEWEST_RUNS} are needed.",
            state="not enough",
        )
        return
    pairs = np.array([[row["safety"], row["forgetting"]] for row in rows])
    found = float(spearmanr(pairs[:, 0], pairs[:, 1]).statistic)
    dice = np.random.default_rng(0)
    drawn = [pairs[dice.integers(0, len(pairs), len(pairs))] for _ in range(1000)]
    values = [float(spearmanr(each[:, 0], each[:, 1]).statistic) for each in drawn if np.ptp(each, axis=0).all()]
    low, high = np.nanquantile(values, [0.025, 0.975]) if values else (-1.0, 1.0)
    partial = ""
    if all(TARGET in row for row in rows):
        ranks = np.array([rankdata([row[name] for row in rows]) for name in ("safety", "forgetting", TARGET)])
        inverse = np.linalg.pinv(np.corrcoef(ranks))
        given = -inverse[0, 1] / math.sqrt(inverse[0, 0] * inverse[1, 1])
        partial = f" Given the target's gain it is {given:+.2f}."
    settled = bool(low > 0 or high < 0)
    yield Answer(
        question=question,
        answer=f"{'It is' if settled else 'That is not known'}: over {len(rows)} runs the rank correlation is "
        f"{found:+.2f} [{low:+.2f}, {high:+.2f}].{partial}",
        state="answered" if settled else "not enough",
    )


def _broad(effects: Sequence[EffectRecord]) -> Iterator[Answer]:
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


def _noise(cells: Cells) -> Iterator[Answer]:
    found: dict[str, Effect] = {family: effect(scores) for (method, family), scores in cells.items() if method == NONE}
    if found:
        listed = "; ".join(f"{family} {points(each)}" for family, each in found.items())
        yield Answer(
            question="How much changes when nothing is trained?",
            answer=f"Measured again in other batches and under another seed of sampling: {listed}.",
            state="answered",
        )
