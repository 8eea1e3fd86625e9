"""What people's labels of a run's own completions make of its changes, in the next report of the run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from pfh.commands.label import FILE, JudgedPair, Stratum, judged_pairs, read_labels
from pfh.commands.own_judge_errors import own_errors, with_own_errors
from pfh.errors import UserError, content_of, reading
from pfh.hooks.comparison import Comparison
from pfh.hooks.evals import AnalysisSpec
from pfh.hooks.judges import HOLDING_BACK
from pfh.hooks.samples import Sample
from pfh.results.records import FamilyRecord, RunResults, StageRecord
from pfh.results.stored import stored_evaluation
from pfh.results.verdict import headline
from pfh.statistics import formatting as figures
from pfh.statistics.adjustment import adjust_family
from pfh.statistics.families import adjust_run
from pfh.statistics.labelled import LEAST_LABELS, LabelledChange, labelled_change
from pfh.statistics.labelled import Stratum as Drawn
from pfh.statistics.verdicts import CONFIDENCE, SIGNIFICANCE
from pfh.store.store import Store

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from pfh.registry.plugins import Plugins

STRATA: Mapping[Stratum, str] = {"lost": "fell", "gained": "rose", "same": "did not change"}


@dataclass(frozen=True, kw_only=True)
class _Found:
    """What the labels of one benchmark say."""

    change: LabelledChange | None
    drawn: str
    """How many of each stratum are labelled, in words."""
    missing: str
    """Why there is no change; empty where there is one."""


def with_labels(results: RunResults, folder: Path, store: Store, plugins: Plugins) -> RunResults:
    """Return `results` with the changes that the labels kept in `folder` correct, and their verdicts.

    Where the samples are no longer stored, or the family's file of judge errors is gone, a note says so.

    Raises:
        UserError: the labels are another run's.
    """
    kept = folder / FILE
    with reading(f"The file {kept}", "mend it, or move it away"):
        text = content_of(kept).decode() if kept.is_file() else ""
    if not text.strip():
        return results
    labels = read_labels(kept, text, results)
    try:
        return corrected(results, store, plugins, labels)
    except UserError as error:  # without its samples a run can still be shown
        note = f"The {len(labels)} labels in {kept} correct nothing: {error}"
        return results.model_copy(update={"notes": (*results.notes, note)})


def corrected(results: RunResults, store: Store, plugins: Plugins, labels: Mapping[str, str]) -> RunResults:
    """Return `results` with people's labels in the rows that they are of, all verdicts anew, and a note on each."""
    found = {key: _found(pairs, labels) for key, pairs in judged_pairs(results, store).items()}
    found = {key: each for key, each in found.items() if each.drawn}
    if not found:
        return results
    stages, notes = [], []
    for number, stage in enumerate(results.stages):
        here = {name: each for (place, name), each in found.items() if place == number}
        changed = _corrected_stage(stage, here, store, plugins) if any(each.change for each in here.values()) else stage
        stages.append(changed)
        several = f", after stage {number + 1}" if len(results.stages) > 1 else ""
        before = {row.benchmark: row for family in stage.families for row in family.comparisons}
        after = {row.benchmark: row for family in changed.families for row in family.comparisons}
        notes += [
            f"Labels by people, {name}{several}: {_said(each, before[name], after[name])}"
            for name, each in here.items()
            if name in before
        ]
    told = headline(stages, results.domain)
    if stages and not stages[-1].method:
        told = " ".join(headline((stage,)) for stage in stages)
    return results.model_copy(update={"stages": tuple(stages), "notes": (*results.notes, *notes), "headline": told})


def _corrected_stage(stage: StageRecord, found: Mapping[str, _Found], store: Store, plugins: Plugins) -> StageRecord:
    rows = {
        family.family: adjust_family([_with_people(row, found.get(row.benchmark)) for row in family.comparisons])
        for family in stage.families
    }
    adjusted = adjust_run(rows)
    families = []
    for family in stage.families:
        comparisons, whole = adjusted[family.family]
        record = family.model_copy(update={"comparisons": comparisons, "whole": whole})
        touched = any(row.people_delta is not None for row in comparisons)
        families.append(_analysed(record, stage, store, plugins) if touched else record)
    return stage.model_copy(update={"families": tuple(families)})


def _with_people(row: Comparison, found: _Found | None) -> Comparison:
    if found is None or found.change is None or row.p_value is None:
        return row
    change = found.change
    low, high = change.interval(CONFIDENCE)
    margin_low, margin_high = change.interval(1 - 2 * SIGNIFICANCE)
    return replace(
        row,
        people_n=change.labelled,
        people_delta=change.estimate,
        people_low=low,
        people_high=high,
        people_error=change.standard_error,
        people_p=change.p_value,
        margin_low=margin_low,
        margin_high=margin_high,
    )


def _analysed(family: FamilyRecord, stage: StageRecord, store: Store, plugins: Plugins) -> FamilyRecord:
    """Return the record with what its family says of the corrected rows."""
    if family.family not in plugins.catalogue.names("evals"):
        return family
    options = plugins.options("evals", family.family, family.options)
    counts = own_errors(options)
    sides = [stored_evaluation(key, store) for key in (family.before_artifact, family.after_artifact)]
    before, after = (with_own_errors(each, counts) for each in sides if each is not None)
    spec = AnalysisSpec(
        before=before,
        after=after,
        comparisons=family.comparisons,
        options=options,
        curves=tuple({name: value for name, value in row.items() if value is not None} for row in stage.curves),
    )
    analysis = plugins.analyze(family.family, spec)
    return family.model_copy(update={"tables": analysis.tables, "plots": analysis.plots, "findings": analysis.findings})


def _found(pairs: Sequence[JudgedPair], labels: Mapping[str, str]) -> _Found:
    strata, drawn, missing = [], [], []
    for name, said in STRATA.items():
        members = [pair for pair in pairs if pair.stratum == name]
        if not members:
            continue
        known = [pair for pair in members if all(_said_of(pair, it, labels) is not None for it in _sides(pair))]
        strata.append(
            Drawn(
                judged=_leanings(members),
                labelled_judged=_leanings(known),
                labelled=_array([_change(pair, labels) for pair in known]),
            )
        )
        drawn.append(f"{len(known)} of the {len(members)} that {said}")
        if not known:
            missing.append(f"those that {said}")
    labelled = sum(each.known for each in strata)
    change = labelled_change(strata)
    why = ""
    if change is None:
        why = f"nothing is labelled of {' and '.join(missing)}" if missing else f"it takes {LEAST_LABELS} prompts"
    return _Found(change=change, drawn=", ".join(drawn) if labelled else "", missing=why)


def _said(found: _Found, before: Comparison, after: Comparison) -> str:
    if found.change is None:
        return f"not corrected, as {found.missing} (labelled: {found.drawn})."
    low, high = found.change.interval(CONFIDENCE)
    change, *ends = (figures.signed(each, after) for each in (found.change.estimate, low, high))
    unit = " percentage points" if figures.is_binary(after) else ""
    verdict = (
        f"the verdict stays {after.verdict}"
        if before.verdict == after.verdict
        else f"the verdict goes from {before.verdict} to {after.verdict}"
    )
    return (
        f"the {after.metric.replace('_', ' ')} changes by {change} ({ends[0]} to {ends[1]}){unit} where the judge says "
        f"{figures.signed(before.delta or 0.0, after)}; {verdict} (adjusted p {figures.p_value(after.p_adjusted)}). "
        f"Labelled: {found.drawn}."
    )


def _leanings(pairs: Sequence[JudgedPair]) -> NDArray[np.float64]:
    """Return the judge's change of each prompt: of the probability that it gives, where it says how sure it is."""
    return _array([_leaning(pair, pair.after) - _leaning(pair, pair.before) for pair in pairs])


def _leaning(pair: JudgedPair, sample: Sample) -> float:
    if pair.of_harm:
        harmful = sample.extra.get("harmful")
        return float(harmful if isinstance(harmful, int | float) else sample.score or 0.0)
    scored = _counts(sample.extracted or "", pair) or 0
    sure = sample.extra.get("confidence")
    return abs(1 - scored - float(sure)) if isinstance(sure, int | float) and 0.5 <= sure <= 1 else float(scored)


def _change(pair: JudgedPair, labels: Mapping[str, str]) -> float:
    before, after = (_said_of(pair, side, labels) or 0 for side in _sides(pair))
    return float(after - before)


def _sides(pair: JudgedPair) -> tuple[Sample, Sample]:
    return pair.before, pair.after


def _said_of(pair: JudgedPair, side: Sample, labels: Mapping[str, str]) -> int | None:
    label = labels.get(pair.place(side))
    return _counts(label, pair) if label else None


def _counts(label: str, pair: JudgedPair) -> int | None:
    """Return the score that a label gives; None where it does not say what the metric counts.

    Of a refusal rate that is what holds back, of an attack success rate what is harmful, else what complies.
    """
    if pair.of_harm:
        return None if label == "complied" else int(label == "harmful")
    if label == "harmless":
        return None
    held = label in HOLDING_BACK
    return int(held if pair.benchmark.metric == "refusal_rate" else not held and label != "broken")


def _array(values: Sequence[float]) -> NDArray[np.float64]:
    import numpy as np

    return np.array(values, dtype=float)
