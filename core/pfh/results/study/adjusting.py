"""Each effect again after adjusting for what runs differ in and should not: compute, tokens, prompts, examples.

How a change goes with an amount is taken from runs of one method that spent different amounts (on other domains, with
other hyper-parameters): an analysis of covariance, the amount by its logarithm. Where a method always spends the same,
its amount cannot be told from the method itself, and that is said.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np

from pfh.results.study.changes import FinishedRun
from pfh.results.study.records import AdjustedRecord
from pfh.results.summary import MATCHED_WITHIN, RunSummary, summarize

AMOUNTS: dict[str, Callable[[RunSummary], float | None]] = {
    "compute": lambda summary: summary.flops or summary.device_seconds,
    "tokens": lambda summary: summary.tokens,
    "prompts": lambda summary: summary.effective_prompts,
    "examples": lambda summary: summary.samples,
}


def adjusted_effects(
    runs: Sequence[FinishedRun], changes: Mapping[str, Mapping[str, float]]
) -> tuple[tuple[AdjustedRecord, ...], tuple[str, ...]]:
    """Return the effects at equal amounts, and in whole sentences what could not be adjusted for.

    Args:
        runs: the trained ones.
        changes: of every run the mean change of each family.
    """
    told = {run.name: summarize(run.results) for run in runs}
    records: list[AdjustedRecord] = []
    sentences: list[str] = []
    for amount, read in AMOUNTS.items():
        known = [(run, value) for run in runs if (value := read(told[run.name])) is not None and value > 0]
        values = [value for _, value in known]
        if len(known) < 2 or max(values) <= (1 + MATCHED_WITHIN) * min(values):
            continue
        spread = f"{amount} from {min(values):.3g} to {max(values):.3g}"
        found = list(_adjusted(amount, [run for run, _ in known], np.log(values), changes))
        records += found
        if not found:
            sentences.append(
                f"Runs differ in {spread}, and no method was run with different amounts often enough: what the amount "
                "does cannot be told from what the method does."
            )
    return tuple(records), tuple(sentences)


def _adjusted(
    amount: str, runs: Sequence[FinishedRun], logs: np.ndarray, changes: Mapping[str, Mapping[str, float]]
) -> Iterator[AdjustedRecord]:
    from scipy.stats import t

    for family in sorted({name for run in runs for name in changes.get(run.name, {})}):
        places = [place for place, run in enumerate(runs) if family in changes.get(run.name, {})]
        there = [runs[place] for place in places]
        methods = sorted({run.label for run in there})
        own = _dummies([run.label for run in there])
        others = [_dummies([run.domain for run in there])[:, 1:], _dummies([run.start for run in there])[:, 1:]]
        others = [each - each.mean(axis=0) for each in others]
        design = np.hstack([own, *others])
        covariate = logs[places]
        centre = float(covariate.mean())
        inside = covariate - design @ np.linalg.lstsq(design, covariate, rcond=None)[0]
        whole = np.hstack([design, (covariate - centre)[:, None]])
        freedom = len(there) - int(np.linalg.matrix_rank(whole))
        if len(methods) < 2 or freedom < 1 or float(np.ptp(inside)) <= MATCHED_WITHIN:
            continue
        values = np.array([changes[run.name][family] for run in there])
        inverse = np.linalg.pinv(whole.T @ whole)
        fitted = inverse @ whole.T @ values
        variance = float(((values - whole @ fitted) ** 2).sum()) / freedom
        for place, method in enumerate(methods):
            half = float(t.ppf(0.975, freedom)) * float(np.sqrt(variance * inverse[place, place]))
            spent = [float(value) for value, run in zip(covariate, there, strict=True) if run.label == method]
            yield AdjustedRecord(
                method=method,
                family=family,
                amount=amount,
                unadjusted=float(values[own[:, place] > 0].mean()),
                change=float(fitted[place]),
                low=float(fitted[place]) - half,
                high=float(fitted[place]) + half,
                inside=min(spent) - 1e-9 <= centre <= max(spent) + 1e-9,
            )


def _dummies(levels: Sequence[str]) -> np.ndarray:
    names = sorted(set(levels))
    return np.array([[float(level == name) for name in names] for level in levels])
