"""What the family says beyond the paired figures: distributions, figures of the whole set, and the divergence."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from pfh.evaluation import Benchmark, Evaluation
from pfh.samples import Sample
from pfh.specs import Analysis, AnalysisSpec, Cell, Table
from pfh.statistics import CONFIDENCE, RESAMPLES, bootstrap_means, paired_samples

from pfh_evals.policy import calibration, plots
from pfh_evals.policy.completions import stored_completions
from pfh_evals.policy.divergence import WRITERS
from pfh_evals.policy.formats import FORMATS, entropy, format_of
from pfh_evals.policy.measures import ACCURACY, BRIER, DIVERGENCE
from pfh_evals.policy.words import distinct

if TYPE_CHECKING:
    from numpy.typing import NDArray

Pairs = list[tuple[Sample, Sample]]
LISTED = 12
"""So many places of disagreement are shown."""
DIRECTIONS = {"start_to_tuned": "KL(start ‖ tuned)", "tuned_to_start": "KL(tuned ‖ start)"}


def analyze_policy(spec: AnalysisSpec) -> Analysis:
    """Return the tables, plots and findings of the family."""
    parts = [_lengths(spec), _set(spec), _formats(spec), _calibration(spec), _divergence(spec)]
    return Analysis(
        tables=tuple(table for part in parts for table in part.tables),
        plots=tuple(plot for part in parts for plot in part.plots),
        findings=tuple(finding for part in parts for finding in part.findings),
    )


def jackknife(
    prompts: int, before: Callable[[list[int]], float], after: Callable[[list[int]], float]
) -> tuple[float, float]:
    """Return the interval of after - before for figures of a set of prompts, by the jackknife that leaves one out.

    A bootstrap would draw prompts twice, whose n-grams are then never distinct (Efron & Tibshirani 1993, ch. 11).
    """
    from scipy.stats import t

    every = list(range(prompts))
    left_out = np.array([after(rest) - before(rest) for rest in (every[:i] + every[i + 1 :] for i in every)])
    error = np.sqrt((prompts - 1) / prompts * np.sum((left_out - left_out.mean()) ** 2))
    half = float(t.ppf((1 + CONFIDENCE) / 2, prompts - 1) * error)
    middle = after(every) - before(every)
    return middle - half, middle + half


def _pairs(spec: AnalysisSpec, name: str) -> Pairs:
    """Return the samples of a benchmark that was measured both times in the same way."""
    found: list[Benchmark | None] = [
        next((row for row in side.benchmarks if row.name == name), None) for side in (spec.before, spec.after)
    ]
    before, after = found
    if before is None or after is None or not before.status == after.status == "MEASURED":
        return []
    return paired_samples(before, after) if before.version == after.version else []


def _lengths(spec: AnalysisSpec) -> Analysis:
    pairs = _pairs(spec, "length")
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


def _completions(spec: AnalysisSpec) -> list[tuple[str, list[str], list[str]]]:
    """Return (category, completions before, after) of every prompt that both models answered."""
    later = {sample.extra["prompt_id"]: sample for sample in stored_completions(spec.after)}
    return [
        (sample.category, sample.extra["completions"], later[sample.extra["prompt_id"]].extra["completions"])
        for sample in stored_completions(spec.before)
        if sample.extra["prompt_id"] in later
    ]


def _set(spec: AnalysisSpec) -> Analysis:
    """Compare the diversity of the whole set, which the means over prompts cannot show."""
    shown = [plots.diversity(name, pairs) for name in ("distinct-2", "self-bleu") if (pairs := _pairs(spec, name))]
    found = _completions(spec)
    rows = []
    for category in ("all prompts", *dict.fromkeys(category for category, _, _ in found)):
        members = [each for each in found if category in ("all prompts", each[0])]
        if len(members) > 1:
            rows += [(category, f"distinct-{n}", *_distinct_cells(members, n)) for n in (1, 2, 3)]
    table = Table(
        title="Diversity over the whole set",
        columns=("prompts", "measure", "before", "after", "change"),
        rows=tuple(rows),
        note="Distinct n-grams among all n-grams of all completions of these prompts together: it falls where a model "
        "answers different prompts alike. The share falls with the amount of text, so compare before with after, not "
        f"one row with another. {CONFIDENCE:.0%} intervals by the jackknife over prompts.",
    )
    return Analysis(tables=(table,) if rows else (), plots=tuple(shown))


def _distinct_cells(members: Sequence[tuple[str, list[str], list[str]]], n: int) -> tuple[Cell, ...]:
    def figure(side: int) -> Callable[[list[int]], float]:
        return lambda kept: distinct([text for place in kept for text in members[place][side]], n) or 0.0

    return _change_cells(len(members), figure(1), figure(2))


def _change_cells(
    prompts: int, before: Callable[[list[int]], float], after: Callable[[list[int]], float]
) -> tuple[Cell, ...]:
    every = list(range(prompts))
    first, second = before(every), after(every)
    low, high = jackknife(prompts, before, after)
    return round(first, 4), round(second, 4), f"{second - first:+.3f} ({low:+.3f} to {high:+.3f})"


def _formats(spec: AnalysisSpec) -> Analysis:
    found = _completions(spec)
    if len(found) < 2:
        return Analysis()
    formats = [[[format_of(text) for text in each[side]] for each in found] for side in (1, 2)]
    counts = [Counter(form for each in side for form in each) for side in formats]
    totals = [sum(count.values()) for count in counts]
    shares = {form: tuple(count[form] / total for count, total in zip(counts, totals, strict=True)) for form in FORMATS}

    def bits(side: int) -> Callable[[list[int]], float]:
        return lambda kept: entropy([form for place in kept for form in formats[side][place]])

    rows: list[tuple[Cell, ...]] = [
        (form, round(before, 4), round(after, 4), f"{after - before:+.3f}") for form, (before, after) in shares.items()
    ]
    table = Table(
        title="Formats of completions",
        columns=("format", "before", "after", "change"),
        rows=(*rows, ("entropy in bits", *_change_cells(len(found), bits(0), bits(1)))),
        note="Shares of all completions, each counted under the first format that fits. An entropy that falls towards "
        f"0 says that one format takes over. {CONFIDENCE:.0%} interval by the jackknife over prompts.",
    )
    return Analysis(tables=(table,), plots=(plots.formats(shares),))


def _calibration(spec: AnalysisSpec) -> Analysis:
    pairs = _pairs(spec, ACCURACY) or _pairs(spec, BRIER)
    if len(pairs) < 2:
        return Analysis()
    sides = [calibration.columns([pair[side] for pair in pairs]) for side in (0, 1)]
    errors = [calibration.expected_error(*side) for side in sides]
    low, high = _error_interval(sides)
    (sure_before, right_before), (sure_after, right_after) = sides
    rows: list[tuple[Cell, ...]] = [
        ("expected calibration error", len(pairs), *_rounded(errors), _change(errors[1] - errors[0], low, high)),
        _confidence_row("confidence, all questions", np.ones(len(pairs), dtype=bool), sure_before, sure_after),
        _confidence_row("confidence, right both times", right_before & right_after, sure_before, sure_after),
        _confidence_row("confidence, wrong both times", ~right_before & ~right_after, sure_before, sure_after),
    ]
    table = Table(
        title="Calibration",
        columns=("figure", "questions", "before", "after", "change"),
        rows=tuple(rows),
        note=f"Expected calibration error over {calibration.BINS} bins of equal width of the chosen option's "
        "probability, which is the softmax over the options' log-likelihoods. "
        f"{CONFIDENCE:.0%} intervals by a bootstrap over questions.",
    )
    return Analysis(tables=(table,), plots=(plots.reliability(*(calibration.bins(*side) for side in sides)),))


def _error_interval(sides: Sequence[tuple[NDArray[np.float64], NDArray[np.bool_]]]) -> tuple[float, float]:
    """Bootstrap the difference of the calibration errors; questions are drawn alike for both."""
    generator = np.random.default_rng(0)
    count = len(sides[0][0])
    differences = []
    for _ in range(RESAMPLES // 10):
        drawn = generator.integers(0, count, size=count)
        before, after = (calibration.expected_error(sure[drawn], right[drawn]) for sure, right in sides)
        differences.append(after - before)
    low, high = np.quantile(differences, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return float(low), float(high)


def _confidence_row(
    name: str, inside: NDArray[np.bool_], before: NDArray[np.float64], after: NDArray[np.float64]
) -> tuple[Cell, ...]:
    count = int(inside.sum())
    if count < 2:
        return (name, count, None, None, "too few")
    difference = after[inside] - before[inside]
    low, high = _mean_interval(difference)
    means = _rounded([before[inside].mean(), after[inside].mean()])
    return (name, count, *means, _change(float(difference.mean()), low, high))


def _divergence(spec: AnalysisSpec) -> Analysis:
    rows = next((row for row in spec.after.benchmarks if row.name == DIVERGENCE and row.status == "MEASURED"), None)
    if rows is None or not any("writer" in sample.extra for sample in rows.samples):
        return Analysis()
    if not _is_reference(spec.before, spec.after):
        return Analysis(findings=("The divergence is not shown: the model after was measured against another one.",))
    cells: list[tuple[Cell, ...]] = []
    curves: dict[str, NDArray[np.float64]] = {}
    for writer in WRITERS:
        own = [sample for sample in rows.samples if sample.extra.get("writer") == writer]
        for key, name in DIRECTIONS.items():
            walks = [sample.extra[key] for sample in own if sample.extra[key]]
            if len(_by_prompt(own, key)) < 2:
                continue
            means = np.array(_by_prompt(own, key))
            low, high = _mean_interval(means)
            first = np.mean([walk[0] for walk in walks])
            told = f"{means.mean():.4f} ({low:.4f} to {high:.4f})"
            cells.append((f"{writer}'s", name, len(means), sum(map(len, walks)), told, round(float(first), 4)))
            curves[f"{name}, {writer}'s completions"] = _by_place(walks)
    if not cells:
        return Analysis()
    table = Table(
        title="Divergence of the two policies, in nats a token",
        columns=("completions", "direction", "prompts", "tokens", "mean", "first token"),
        rows=tuple(cells),
        note="Kullback-Leibler divergence of the next token's distribution over the whole vocabulary, mean over the "
        f"tokens of a prompt's completions and then over prompts, with a {CONFIDENCE:.0%} interval by a bootstrap over "
        "prompts. Along completions of the start it says what was unlearned, along the tuned model's what was learned.",
    )
    return Analysis(
        tables=(table, _places(rows.samples)),
        plots=(plots.divergence(curves),),
        findings=(f"{cells[-1][1]} along the tuned model's completions is {cells[-1][4]} nats a token.",)
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
    found = [(place, sample) for sample in samples for place in sample.extra.get("largest", ())]
    found.sort(key=lambda each: -each[0]["both"])
    return Table(
        title="Where the two policies disagree most",
        columns=("prompt", "completion of", "token", "written so far", "then", "start expects", "tuned expects", "KL"),
        rows=tuple(_place_row(place, sample) for place, sample in found[:LISTED]),
        note="The most likely next token of each model, with its probability. KL: the sum of both directions. "
        "Token 1 is the first of the completion.",
    )


def _place_row(place: dict[str, Any], sample: Sample) -> tuple[Cell, ...]:
    expected = (f"{place[name]!r} ({place[f'{name}_probability']:.2f})" for name in WRITERS)
    so_far, then = repr(place["before"]), repr(place["written"]) if place["written"] else "end of the completion"
    prompt = sample.extra["user_prompt"]
    short = prompt if len(prompt) <= 60 else f"{prompt[:59]}…"
    return (short, sample.extra["writer"], place["place"] + 1, so_far, then, *expected, round(place["both"], 3))


def _is_reference(before: Evaluation, after: Evaluation) -> bool:
    return after.reference == before.model


def _mean_interval(values: NDArray[np.float64]) -> tuple[float, float]:
    means = bootstrap_means(values, np.random.default_rng(0))
    low, high = np.quantile(means, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return float(low), float(high)


def _rounded(values: Sequence[float]) -> tuple[Cell, ...]:
    return tuple(round(float(value), 4) for value in values)


def _change(change: float, low: float, high: float) -> str:
    return f"{change:+.3f} ({low:+.3f} to {high:+.3f})"
