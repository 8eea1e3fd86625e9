"""What the family says beyond the paired figures: distributions, figures of the whole set, and the divergence."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from pfh.hooks.evals import Analysis, AnalysisSpec
from pfh.hooks.samples import Sample
from pfh.hooks.tables import Cell, Quantity, Table
from pfh.statistics import formatting as figures
from pfh.statistics.paired import CONFIDENCE

from pfh_evals.judge_error import error_findings, error_table
from pfh_evals.policy import calibration, plots
from pfh_evals.policy import calibration_error as errors
from pfh_evals.policy.divergence import WRITERS
from pfh_evals.policy.formats import FORMATS, entropy, format_of
from pfh_evals.policy.intervals import Figure, change, jackknife_cells, mean_interval, rounded
from pfh_evals.policy.long_tables import long_tables
from pfh_evals.policy.measures import REFUSAL
from pfh_evals.policy.pairing import completions_of, divergence_samples, is_reference, pairs_of, questions_of
from pfh_evals.policy.set_diversity import diversity_of_the_set
from pfh_evals.two_judges import disagreement

if TYPE_CHECKING:
    from numpy.typing import NDArray

LISTED = 12
"""So many places of disagreement are shown."""
DIRECTIONS = {"start_to_tuned": "KL(start ‖ tuned)", "tuned_to_start": "KL(tuned ‖ start)"}


def analyze_policy(spec: AnalysisSpec) -> Analysis:
    """Return the tables, plots and findings of the family."""
    questions = questions_of(spec)
    parts = [_lengths(spec), diversity_of_the_set(spec), _formats(spec), _refusals(spec)]
    parts += [_calibration(questions), _divergence(spec)]
    return Analysis(
        tables=tuple(table for part in parts for table in part.tables),
        plots=tuple(plot for part in parts for plot in part.plots),
        findings=tuple(finding for part in parts for finding in part.findings),
        long_tables=long_tables(spec, questions),
    )


def _lengths(spec: AnalysisSpec) -> Analysis:
    pairs = pairs_of(spec, "length")
    if not pairs:
        return Analysis()
    sides = [np.array([value for pair in pairs for value in pair[side].extra["values"]]) for side in (0, 1)]
    table = Table(
        title="Length of completions, in tokens",
        columns=("model", "completions", "mean", "median", "standard deviation", "10%", "25%", "75%", "90%"),
        rows=tuple((name, *_length_cells(values)) for name, values in zip(("before", "after"), sides, strict=True)),
        note="Over single completions; the percentages are quantiles. The share that reached the length limit is the "
        "benchmark truncation: where it is high, lengths are those of the limit.",
    )
    return Analysis(tables=(table,), plots=(plots.length_density(*sides),))


def _length_cells(values: NDArray[np.float64]) -> tuple[Cell, ...]:
    quantiles = (round(float(each), 1) for each in np.quantile(values, [0.1, 0.25, 0.75, 0.9]))
    spread = round(float(values.std(ddof=1)), 2) if len(values) > 1 else None
    return (len(values), round(float(values.mean()), 2), round(float(np.median(values)), 1), spread, *quantiles)


def _formats(spec: AnalysisSpec) -> Analysis:
    found = completions_of(spec)
    if len(found) < 2:
        return Analysis()
    formats = [[[format_of(text) for text in each[side]] for each in found] for side in (1, 2)]
    counts = [Counter(form for each in side for form in each) for side in formats]
    totals = [sum(count.values()) for count in counts]
    shares = {form: tuple(count[form] / total for count, total in zip(counts, totals, strict=True)) for form in FORMATS}

    def bits(side: int) -> Figure:
        return lambda kept: entropy([form for place in kept for form in formats[side][place]])

    def share(side: int, form: str) -> Figure:
        return lambda kept: (
            sum(formats[side][place].count(form) for place in kept) / sum(len(formats[side][place]) for place in kept)
        )

    rows: list[tuple[Cell, ...]] = [
        (form, *jackknife_cells(len(found), share(0, form), share(1, form))) for form in FORMATS
    ]
    table = Table(
        title="Formats of completions",
        columns=("format", "before", "after", "change"),
        rows=(*rows, ("entropy in bits", *jackknife_cells(len(found), bits(0), bits(1)))),
        note="Shares of all completions, each counted under the first format that fits. An entropy that falls towards "
        f"0 says that one format takes over. {CONFIDENCE:.0%} intervals by the jackknife over prompts.",
    )
    return Analysis(tables=(table,), plots=(plots.formats(shares),))


def _refusals(spec: AnalysisSpec) -> Analysis:
    """Hold the refusal rate against the judge's errors, and against a second judge."""
    rows = [row for row in spec.comparisons if row.benchmark == REFUSAL and row.status == "MEASURED"]
    if not rows:
        return Analysis()
    told, beside = disagreement(spec, rows)
    tables = tuple(table for table in (error_table(spec, rows), *beside) if table.rows)
    return Analysis(tables=tables, findings=(*error_findings(rows), *told))


def _calibration(pairs: calibration.QuestionPairs) -> Analysis:
    if len(pairs) < 2:
        return Analysis()
    rows = [("all", *row) for row in _calibration_rows(pairs)]
    benchmarks = list(dict.fromkeys(before.benchmark for before, _ in pairs))
    if len(benchmarks) > 1:
        for name in benchmarks:
            members = [pair for pair in pairs if pair[0].benchmark == name]
            rows += [(name, *_error_rows(members)[0])] if len(members) > 1 else []
    source = f"the family forgetting ({', '.join(benchmarks)})" if benchmarks[0] else "the family's own questions"
    table = Table(
        title="Calibration",
        columns=("benchmark", "figure", "questions", "before", "after", "change"),
        rows=tuple(rows),
        note=f"From {source}. Confidence is the chosen option's probability, the softmax over the options' "
        f"log-likelihoods. The expected calibration error over bins ({calibration.BINS} of equal width, or "
        f"{errors.MASS_BINS} of equal mass) is above 0 by chance, more so for a less sure model: compare the squared "
        "error without that bias (Kumar et al. 2019), which is about 0 where calibrated. Reliability (low is good), "
        "less resolution, plus uncertainty is the Brier score of being right (Murphy 1973). "
        f"{CONFIDENCE:.0%} intervals: of the squared error by a jackknife over questions, of means by a t-interval.",
    )
    diagram = plots.reliability(*(calibration.bins(*side) for side in _columns(pairs)))
    return Analysis(tables=(table,), plots=(diagram,))


def _calibration_rows(pairs: calibration.QuestionPairs) -> list[tuple[Cell, ...]]:
    (sure_before, right_before), (sure_after, right_after) = _columns(pairs)
    brier = [np.array([pair[side].brier for pair in pairs]) for side in (0, 1)]
    every = np.ones(len(pairs), dtype=bool)
    return [
        *_error_rows(pairs),
        _mean_row("Brier score", every, *brier),
        *_brier_rows(pairs),
        _mean_row("confidence, all questions", every, sure_before, sure_after),
        _mean_row("confidence, right both times", right_before & right_after, sure_before, sure_after),
        _mean_row("confidence, wrong both times", ~right_before & ~right_after, sure_before, sure_after),
    ]


def _columns(pairs: calibration.QuestionPairs) -> list[tuple[NDArray[np.float64], NDArray[np.bool_]]]:
    return [calibration.columns([pair[side] for pair in pairs]) for side in (0, 1)]


def _error_rows(pairs: calibration.QuestionPairs) -> list[tuple[Cell, ...]]:
    """Return the calibration errors: the plug-in ones without an interval, which for them would not hold its level."""
    sides = _columns(pairs)
    wide = [calibration.expected_error(*side) for side in sides]
    massed = [errors.equal_mass_places(sure) for sure, _ in sides]
    equal = [errors.binned_error(*side, places) for side, places in zip(sides, massed, strict=True)]
    squared = [errors.squared_error(*side, places) for side, places in zip(sides, massed, strict=True)]
    told = change(*errors.change_interval(*sides))
    return [
        ("calibration error, squared, without bias", len(pairs), *rounded(squared), told),
        ("expected calibration error, equal width", len(pairs), *rounded(wide), None),
        ("expected calibration error, equal mass", len(pairs), *rounded(equal), None),
    ]


def _brier_rows(pairs: calibration.QuestionPairs) -> list[tuple[Cell, ...]]:
    sides = _columns(pairs)
    parts = [errors.brier_parts(*side, errors.equal_mass_places(side[0])) for side in sides]
    return [
        (f"{name} of being right", len(pairs), *rounded(both), None)
        for name, both in zip(("reliability", "resolution", "uncertainty"), zip(*parts, strict=True), strict=True)
    ]


def _mean_row(
    name: str, inside: NDArray[np.bool_], before: NDArray[np.float64], after: NDArray[np.float64]
) -> tuple[Cell, ...]:
    count = int(inside.sum())
    if count < 2:
        return (name, count, None, None, None)
    difference = after[inside] - before[inside]
    low, high = mean_interval(difference)
    means = rounded([before[inside].mean(), after[inside].mean()])
    return (name, count, *means, change(float(difference.mean()), low, high))


def _divergence(spec: AnalysisSpec) -> Analysis:
    samples = divergence_samples(spec)
    if not samples:
        return Analysis()
    if not is_reference(spec):
        return Analysis(findings=("The divergence is not shown: the model after was measured against another one.",))
    cells: list[tuple[Cell, ...]] = []
    curves: dict[str, NDArray[np.float64]] = {}
    for writer in WRITERS:
        own = [sample for sample in samples if sample.extra["writer"] == writer]
        for key, name in DIRECTIONS.items():
            walks = [sample.extra[key] for sample in own if sample.extra[key]]
            if len(_by_prompt(own, key)) < 2:
                continue
            means = np.array(_by_prompt(own, key))
            low, high = mean_interval(means)
            first = np.mean([walk[0] for walk in walks])
            mean = Quantity(value=float(means.mean()), unit="number", low=low, high=high)
            cells.append((f"{writer}'s", name, len(means), sum(map(len, walks)), mean, round(float(first), 4)))
            curves[f"{name}, {writer}'s completions"] = _by_place(walks)
    if not cells:
        return Analysis()
    table = Table(
        title="Divergence of the two policies, in nats a token",
        columns=("completions", "direction", "prompts", "tokens", "mean", "first token"),
        rows=tuple(cells),
        note="Kullback-Leibler divergence of the next token's distribution over the whole vocabulary, mean over the "
        f"tokens of a prompt's completions and then over prompts, with a {CONFIDENCE:.0%} interval, corrected for "
        "skewness, over prompts. Along completions of the start it says what was unlearned, along the tuned model's "
        "what was learned.",
    )
    return Analysis(
        tables=(table, _places(samples)),
        plots=(plots.divergence(curves),),
        findings=(f"{cells[-1][1]} along the tuned model's completions is {figures.cell(cells[-1][4])} nats a token.",)
        if cells[-1][0] == "tuned's"
        else (),
    )


def _by_prompt(samples: Sequence[Sample], key: str) -> list[float]:
    """Return the mean over the tokens of each prompt's completions."""
    values: dict[str, list[float]] = {}
    for sample in samples:
        values.setdefault(sample.extra["prompt_id"], []).extend(sample.extra[key])
    return [sum(found) / len(found) for found in values.values() if found]


def _by_place(walks: Sequence[Sequence[float]]) -> NDArray[np.float64]:
    longest = max(map(len, walks))
    return np.array([np.mean([walk[place] for walk in walks if len(walk) > place]) for place in range(longest)])


def _places(samples: Sequence[Sample]) -> Table:
    found = [(place, sample) for sample in samples for place in sample.extra["largest"]]
    found.sort(key=lambda each: -each[0]["both"])
    return Table(
        title="Where the two policies disagree most",
        columns=(
            "prompt",
            "written by",
            "token",
            "written so far",
            "then",
            *(f"{name}{what}" for name in WRITERS for what in (" expects", "'s probability")),
            "KL",
        ),
        rows=tuple(_place_row(place, sample) for place, sample in found[:LISTED]),
        note="The most likely next token of each model, and how likely it is there. KL: the sum of both directions. "
        "Token 1 is the first of the completion.",
    )


def _place_row(place: dict[str, Any], sample: Sample) -> tuple[Cell, ...]:
    expected = [
        cell
        for name in WRITERS
        for cell in (repr(place[name]), Quantity(value=place[f"{name}_probability"], unit="number"))
    ]
    so_far, then = repr(place["before"]), repr(place["written"]) if place["written"] else "end of the completion"
    prompt = sample.extra["user_prompt"]
    short = prompt if len(prompt) <= 60 else f"{prompt[:59]}…"
    return (short, sample.extra["writer"], place["place"] + 1, so_far, then, *expected, round(place["both"], 3))
