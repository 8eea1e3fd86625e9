"""The scores of a log by what gave them: each scorer, each key of its value, each way to reduce its epochs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from pfh.hooks.samples import Sample

from pfh_readers.inspect.archive import InspectFile, Json
from pfh_readers.inspect.reducers import reduced_score
from pfh_readers.inspect.samples import Scorer, graded, read_scored
from pfh_readers.lines import Skipped
from pfh_readers.values import listed, mapping

Epochs = dict[Scorer, dict[str, list[Sample]]]
"""Scorer to sample id to its epochs."""

MEAN = "mean"


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What a log measures by one scorer."""

    scorer: str
    name: str
    """Of the scorer, without its package where no other scorer is called so."""
    key: str
    """Of the scorer's value; empty where that is one score."""
    reducer: str
    """How epochs become one score."""
    samples: tuple[Sample, ...]
    metrics: Mapping[str, object]
    """Figures of the log, by the name of the metric."""


def read_epochs(log: InspectFile, skipped: Skipped) -> tuple[Epochs, int]:
    """Return every scored sample by its scorer, and how many samples there are with or without a score."""
    found: Epochs = {}
    places: dict[tuple[str, str], str] = {}
    only = next((name for name, _, _, _ in _figures(log.header)), "score")
    samples = set()
    for place, row in log.samples:
        if not isinstance(row, Mapping) or row.get("id") is None:
            skipped.at(log.file, place, "has no id, so it cannot be paired")
            continue
        key = (str(row["id"]), str(row.get("epoch", 1)))
        if key in places:
            skipped.at(log.file, place, f"repeats sample {key[0][:80]}, epoch {key[1][:20]}, of {places[key]}")
            continue
        places[key] = place
        samples.add(key[0])
        for scorer, sample in read_scored(row, only):
            found.setdefault(scorer, {}).setdefault(sample.id, []).append(sample)
    return found, len(samples)


def measured(log: InspectFile, epochs: Epochs) -> list[Measured]:
    """Return what the log measures, in the order of its results."""
    figures = _figures(log.header)
    several = max((len(samples) for by_id in epochs.values() for samples in by_id.values()), default=1) > 1
    short = Counter(scorer.rpartition("/")[2] for scorer in {scorer for scorer, _ in epochs})
    rows = []
    for (scorer, key), by_id in epochs.items():
        alone = short[scorer.rpartition("/")[2]] == 1
        for reduction in _reductions(log, scorer) if several else [{}]:
            reducer = str(reduction.get("reducer") or MEAN)
            values = _reduced_values(reduction, key)
            samples = tuple(_reduced(each, values, reducer) for each in by_id.values())
            metrics = _metrics(figures, scorer, key, reducer if several else "", only=len(epochs) == 1)
            name = scorer.rpartition("/")[2] if alone else scorer
            rows.append(Measured(scorer=scorer, name=name, key=key, reducer=reducer, samples=samples, metrics=metrics))
    order = [(name, key) for name, key, _, _ in figures]
    return sorted(rows, key=lambda row: _place(row, order))


def _reductions(log: InspectFile, scorer: str) -> list[Json]:
    """Return how a scorer's epochs were reduced, with the reduced scores where the log holds them.

    Newer versions keep those as a part of its own, 0.3.25 within the results; a log that broke off has none.
    """
    held = log.reductions or tuple(map(mapping, listed(mapping(log.header.get("results")).get("sample_reductions"))))
    of_scorer = [each for each in held if str(each.get("scorer", scorer)) == scorer]
    asked = mapping(mapping(log.header.get("eval")).get("config")).get("epochs_reducer")
    names = [asked] if isinstance(asked, str) else listed(asked)
    return of_scorer or [{"reducer": name} for name in names if isinstance(name, str)] or [{}]


def _place(row: Measured, order: Sequence[Scorer]) -> int:
    for place, (scorer, key) in enumerate(order):
        if scorer == row.scorer and key in (row.key, row.scorer):
            return place
    return len(order)


def _reduced_values(reduction: Json, key: str) -> dict[str, float | None]:
    found = {}
    for row in listed(reduction.get("samples")):
        if isinstance(row, Mapping) and row.get("sample_id") is not None:
            found[str(row["sample_id"])] = dict(graded(row.get("value"))).get(key)
    return found


def _reduced(epochs: Sequence[Sample], values: Mapping[str, float | None], reducer: str) -> Sample:
    """Return a sample's first epoch with its score over all: the log's own, else by the same rule."""
    if epochs[0].id in values:
        return replace(epochs[0], score=values[epochs[0].id])
    if len(epochs) == 1 and reducer == MEAN:
        return epochs[0]
    return replace(epochs[0], score=reduced_score(reducer, [sample.score for sample in epochs]))


def _figures(header: Json) -> list[tuple[str, str, str, Json]]:
    """Return (scorer, name, reducer, metrics) of the results, whatever version wrote them."""
    results = mapping(header.get("results"))
    scores = results.get("scores")
    if not isinstance(scores, list):  # the first version had one scorer
        scores = [{**results, "name": mapping(results.get("scorer")).get("name"), "scorer": None}]
    found = []
    for each in scores:
        if isinstance(each, Mapping) and isinstance(each.get("metrics"), Mapping):
            name, scorer = each.get("name"), each.get("scorer")
            owner = scorer if isinstance(scorer, str) else name
            found.append((str(owner), str(name), str(each.get("reducer") or MEAN), each["metrics"]))
    return found


def _metrics(
    figures: Sequence[tuple[str, str, str, Json]], scorer: str, key: str, reducer: str, *, only: bool
) -> dict[str, object]:
    """Return the figures of a scorer, or of one key of it."""
    named = [each for each in figures if each[0] == scorer and each[1] in ((key, scorer) if key else (scorer,))]
    named = named or [each for each in figures if each[0] == scorer and not key]
    named = named or (list(figures[:1]) if only else [])
    exact = [each for each in named if each[2] == reducer and (not key or each[1] == key)]
    exact = exact or [each for each in named if not key or each[1] == key] or named
    metrics = exact[0][3] if exact else {}
    return {str(name): value.get("value") if isinstance(value, Mapping) else value for name, value in metrics.items()}
