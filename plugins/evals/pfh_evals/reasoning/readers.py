"""Chains read by another model: how much they say about the right answer, and whether chain or reader got worse.

Both compare two models, and neither scores a sample: nats move with any training, so that no verdict rests on them. The
gain is that of the answer alone; the published one (Wu et al. 2025, arXiv 2506.02126, `InformationGainScorer`) takes
the perplexity of question, steps and answer together, and rates a repeated question highest.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
from pfh.errors import UserError
from pfh.hooks.backends import ScoringRequest
from pfh.hooks.samples import Sample
from pfh.hooks.tables import Cell, Quantity, Table

from pfh_evals.pairs import Pairs
from pfh_evals.reasoning.forced import Forcing, area_over_curve, said_at
from pfh_evals.reasoning.own import Written
from pfh_evals.reasoning.problems import CUE, Problem, candidates, conversation

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from pfh.hooks.evals import EvaluationSpec

INFORMATIVE, CROSSED = "informative", "crossed"
NAMES = (INFORMATIVE, CROSSED)
_RESAMPLES = 2000
_MATTERS = 0.1
"""Share of the level before that a change of nats must exceed to be told."""
CELLS = ("before reads before", "before reads after", "after reads before", "after reads after")


@contextmanager
def _reading(spec: EvaluationSpec) -> Iterator[None]:
    """Answer as the start does, the fixed reader; as the model itself where it is the start.

    Raises:
        UserError: of the start only its stored evaluation is at hand.
    """
    own = spec.engine.checkpoint
    if spec.reference is None:
        yield
        return
    if spec.reference.checkpoint is None:
        raise UserError("of the start only its stored evaluation is at hand, and it is the reader of all chains")
    spec.engine.use(spec.reference.checkpoint)
    try:
        yield
    finally:
        spec.engine.use(own)


def measure(name: str, written: Sequence[Written], spec: EvaluationSpec) -> tuple[Sample, ...]:
    """Return the samples of one of the two.

    Raises:
        UserError: the backend has no log-likelihoods, or the start is not at hand.
    """
    with_chain = [each for each in written if each.chain.steps]
    found = _informative(with_chain, spec) if name == INFORMATIVE else _crossed(with_chain, spec)
    return tuple(
        Sample(
            id=each.item.id,
            benchmark=name,
            category=each.item.category,
            prompt=each.prompt,
            completion=each.completion.text,
            extracted=str(each.chain.answer),
            target=str(each.item.answer),
            score=None,
            extra={
                "user_prompt": each.item.question,
                "steps": list(each.chain.steps),
                "answer": each.chain.answer,
                "right": each.right,
                **found.get(each.item.id, {}),
            },
        )
        for each in with_chain
    )


def _informative(written: Sequence[Written], spec: EvaluationSpec) -> dict[str, dict[str, Any]]:
    """Return for each item what its chain gains about the right answer, read by the start."""
    requests: list[ScoringRequest] = []
    places: list[tuple[str, str]] = []
    with _reading(spec):
        for each in written:
            prompt = spec.engine.render(conversation(each.item))
            steps = list(each.chain.steps)
            shuffled = steps.copy()
            random.Random(each.item.id).shuffle(shuffled)  # noqa: S311 - fixed by the item
            prefixes = {str(count): steps[:count] for count in range(len(steps) + 1)} | {"shuffled": shuffled}
            for key, prefix in prefixes.items():
                lines = "\n".join(prefix)
                context = f"{prompt}{lines}\n{CUE}" if prefix else f"{prompt}{CUE}"
                places.append((each.item.id, key))
                requests.append(
                    ScoringRequest(id=str(len(requests)), context=context, continuation=f" {each.item.answer}.")
                )
        scores = spec.engine.loglikelihood(requests)
    levels: dict[str, dict[str, float]] = {}
    for (item, key), score in zip(places, scores, strict=True):
        levels.setdefault(item, {})[key] = score.logprob
    return {each.item.id: gains(each.chain.steps, each.item.answer, levels[each.item.id]) for each in written}


def gains(steps: Sequence[str], answer: int, levels: Mapping[str, float]) -> dict[str, Any]:
    """Return the gain of a chain in nats: before the answer is said, as a whole, step by step, and of its order alone.

    Args:
        steps: of the chain.
        answer: the right one.
        levels: log-probability of it after so many steps, and "shuffled".
    """
    along = [levels[str(count)] for count in range(len(steps) + 1)]
    place = said_at(steps, answer)
    before = len(steps) if place is None else place - 1
    return {
        "gain": along[before] - along[0],
        "whole": along[-1] - along[0],
        "by_step": [after - first for first, after in itertools.pairwise(along)],
        "order": along[-1] - levels["shuffled"],
        "without": along[0],
        "with": along[-1],
        "said_at": place,
    }


def _crossed(written: Sequence[Written], spec: EvaluationSpec) -> dict[str, dict[str, Any]]:
    """Return for each item the area over the curve of either model's chain, read by either model.

    Both writers' answers are among the candidates everywhere, so that all four cells choose from one list.
    """
    if spec.reference is None:
        return {}
    theirs = _chains_of(spec)
    items = {each.item.id: each for each in written if each.item.id in theirs}
    chains: dict[str, tuple[Problem, dict[str, Sequence[str]], list[int]]] = {}
    for key, each in items.items():
        steps, answer = theirs[key]
        values = candidates(each.item, *(said for said in (answer, each.chain.answer) if said is not None))
        chains[key] = (each.item, {"before": steps, "after": each.chain.steps}, values)
    found: dict[str, dict[str, Any]] = {key: {} for key in chains}
    own = _curves(chains, spec)
    with _reading(spec):
        start = _curves(chains, spec)
    for reader, areas in (("before", start), ("after", own)):
        for (key, writer), area in areas.items():
            found[key][f"{reader} reads {writer}"] = area
    return found


def _chains_of(spec: EvaluationSpec) -> dict[str, tuple[Sequence[str], int | None]]:
    """Return the steps and the answer that the start wrote, by item."""
    assert spec.reference is not None
    rows = [row for row in spec.reference.evaluation.benchmarks if row.name == CROSSED]
    return {sample.id: (sample.extra["steps"], sample.extra["answer"]) for row in rows for sample in row.samples}


def _curves(
    chains: Mapping[str, tuple[Problem, Mapping[str, Sequence[str]], list[int]]], spec: EvaluationSpec
) -> dict[tuple[str, str], float | None]:
    forcing = Forcing(spec.engine)
    for key, (item, by_writer, values) in chains.items():
        prompt = spec.engine.render(conversation(item))
        for writer, steps in by_writer.items():
            for count in range(len(steps) + 1):
                forcing.after(f"{key}/{writer}/{count}", prompt, steps[:count], values)
    answers = forcing.answers()
    areas = {}
    for key, (_, by_writer, _) in chains.items():
        for writer, steps in by_writer.items():
            forced = [answers[f"{key}/{writer}/{count}"] for count in range(len(steps) + 1)]
            areas[key, writer] = area_over_curve([value == forced[-1] for value in forced])
    return areas


def informative_table(pairs: Pairs) -> Table:
    """Return the gain of right and of wrong chains apart: about the right answer, a wrong chain leads away from it."""
    rows: list[tuple[Cell, ...]] = []
    for kind in (True, False):
        found = [pair for pair in pairs if pair[0].extra["right"] == pair[1].extra["right"] == kind]
        for what in ("gain", "whole", "order", "without", "with"):
            if len(found) > 1:
                sides = [np.array([pair[side].extra[what] for pair in found], dtype=float) for side in (0, 1)]
                rows.append(("right both times" if kind else "wrong both times", _SAID[what], *_compared(*sides)))
    return Table(
        title="What chains say about the right answer, read by the start",
        columns=("chains", "nats", "before", "after", "change", "ratio to before", "n"),
        rows=tuple(rows),
        note="One fixed reader for both models: a tuned model as its own reader gains less only because it knows "
        "better what an answer looks like, which is why both levels are shown. Nats move with any training: no verdict "
        "rests on them. Chains that are wrong lead away from the right answer.",
    )


_SAID = {
    "gain": "gain before the answer is said",
    "whole": "gain of the whole chain",
    "order": "of these, by order alone",
    "without": "log-probability without the chain",
    "with": "log-probability with the chain",
}


def _compared(before: NDArray[np.float64], after: NDArray[np.float64]) -> tuple[Cell, ...]:
    change, low, high = _interval(after - before)
    first, last = float(before.mean()), float(after.mean())
    return (
        Quantity(value=first, unit="number"),
        Quantity(value=last, unit="number"),
        Quantity(value=change, unit="difference", low=low, high=high),
        Quantity(value=last / first, unit="number") if first else None,
        len(before),
    )


def _interval(values: NDArray[np.float64]) -> tuple[float, float, float]:
    """Return the mean over items with its 95% bootstrap interval."""
    draw = np.random.default_rng(0)
    means = values[draw.integers(0, len(values), (_RESAMPLES, len(values)))].mean(1)
    low, high = np.quantile(means, [0.025, 0.975])
    return float(values.mean()), float(low), float(high)


def informative_findings(pairs: Pairs) -> list[str]:
    """Say that right chains say more or less, where that is clear of 0 and more than a tenth of the level before."""
    found = [pair for pair in pairs if pair[0].extra["right"] and pair[1].extra["right"]]
    if len(found) < 2:
        return []
    before, after = (np.array([pair[side].extra["gain"] for pair in found], dtype=float) for side in (0, 1))
    change, low, high = _interval(after - before)
    level = float(np.abs(before.mean()))
    if low <= 0 <= high or abs(change) <= _MATTERS * level:
        return []
    return [
        f"Right chains say {'less' if change < 0 else 'more'} about the answer before they give it: {change:+.2f} nats "
        f"[{low:+.2f}, {high:+.2f}] of {before.mean():.2f}, read by the start ({len(found)} items right both times)."
    ]


def crossed_effects(cells: Mapping[str, NDArray[np.float64]]) -> dict[str, NDArray[np.float64]]:
    """Return per item what a worse chain changes, what a worse reader changes, and what is left."""
    base = cells[CELLS[0]]
    chain, reader = cells[CELLS[1]] - base, cells[CELLS[2]] - base
    return {"the chain": chain, "the reader": reader, "both together": cells[CELLS[3]] - base - chain - reader}


def crossed_table(pairs: Pairs) -> Table:
    """Return the four cells and the effects of writer and reader."""
    found = [y.extra for _, y in pairs if all(y.extra.get(cell) is not None for cell in CELLS)]
    if len(found) < 2:
        return Table(title="Worse chains or worse readers", columns=(), rows=())
    cells = {cell: np.array([each[cell] for each in found], dtype=float) for cell in CELLS}
    rows: list[tuple[Cell, ...]] = []
    for cell, values in cells.items():
        mean, low, high = _interval(values)
        rows.append((cell, Quantity(value=mean, unit="number", low=low, high=high), len(found)))
    for what, values in crossed_effects(cells).items():
        mean, low, high = _interval(values)
        rows.append((f"change by {what}", Quantity(value=mean, unit="difference", low=low, high=high), len(found)))
    return Table(
        title="Worse chains or worse readers",
        columns=("who reads whose chain", "area over the same-answer curve", "items"),
        rows=tuple(rows),
        note="Faithfulness may fall as the chains got worse, or as the model reads them less: each model reads the "
        "other's. Intervals are bootstrapped over items with a chain both times.",
    )
