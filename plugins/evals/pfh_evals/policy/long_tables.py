"""The single values behind the family's tables and plots, for notebooks: docs/how-to/policy.md says what each holds."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain

from pfh.hooks.evals import AnalysisSpec
from pfh.hooks.samples import Sample
from pfh.hooks.tables import LongTable, Value

from pfh_evals.policy import calibration
from pfh_evals.policy.completions import stored_completions
from pfh_evals.policy.divergence import WRITERS
from pfh_evals.policy.formats import format_of
from pfh_evals.policy.measures import CALIBRATION, DIVERGENCE, MEASURES
from pfh_evals.policy.pairing import divergence_samples, is_reference, pairs_of

SIDES = ("before", "after")
Rows = Iterator[tuple[Value, ...]]
BY_PROMPT = ("measure", "category", "prompt_id", "prompt", "before", "after")
BY_COMPLETION = ("model", "category", "prompt_id", "prompt", "number", "completion", "format", "ended")
BY_VALUE = ("model", "measure", "category", "prompt_id", "number", "value")
BY_QUESTION = ("model", "benchmark", "category", "question", "confidence", "right", "brier")
BY_PLACE = ("writer", "direction", "category", "prompt_id", "number", "place", "kl")
LARGEST = ("writer", "prompt", "place", "written_before", "written", *(f"{name}_expects" for name in WRITERS))
LARGEST += (*(f"{name}_probability" for name in WRITERS), "kl_both")


def long_tables(spec: AnalysisSpec, questions: calibration.QuestionPairs) -> tuple[LongTable, ...]:
    """Return a table for each kind of value that was measured both times; the divergence as it is."""
    of_divergence = divergence_samples(spec) if is_reference(spec) else ()
    tables = (
        LongTable.of_rows("prompts", BY_PROMPT, _by_prompt(spec)),
        LongTable.of_rows("completions", BY_COMPLETION, _by_completion(spec)),
        LongTable.of_rows("completion-values", BY_VALUE, _by_value(spec)),
        LongTable.of_rows("calibration", BY_QUESTION, _by_question(questions)),
        LongTable.of_rows("divergence", BY_PLACE, chain.from_iterable(map(_by_place, of_divergence))),
        LongTable.of_rows("disagreements", LARGEST, chain.from_iterable(map(_largest, of_divergence))),
    )
    return tuple(table for table in tables if any(table.columns.values()))


def _by_prompt(spec: AnalysisSpec) -> Rows:
    for measure in MEASURES:
        if measure.name in (*CALIBRATION, DIVERGENCE):
            continue
        for before, after in pairs_of(spec, measure.name):
            extra = before.extra
            told = (before.category, extra["prompt_id"], extra["user_prompt"])
            yield (measure.name, *told, before.score, after.score)


def _by_completion(spec: AnalysisSpec) -> Rows:
    for side, evaluation in zip(SIDES, (spec.before, spec.after), strict=True):
        for sample in stored_completions(evaluation):
            extra = sample.extra
            told = (side, sample.category, extra["prompt_id"], extra["user_prompt"])
            for number, (text, ended) in enumerate(zip(extra["completions"], extra["ended"], strict=True)):
                yield (*told, number, text, format_of(text), ended)


def _by_value(spec: AnalysisSpec) -> Rows:
    for measure in MEASURES:
        for pair in pairs_of(spec, measure.name):
            for side, sample in zip(SIDES, pair, strict=True):
                for number, value in enumerate(sample.extra.get("values", ())):
                    yield (side, measure.name, sample.category, sample.extra["prompt_id"], number, value)


def _by_question(questions: calibration.QuestionPairs) -> Rows:
    for pair in questions:
        for side, each in zip(SIDES, pair, strict=True):
            told = (each.benchmark or "built in", each.category, each.question)
            yield (side, *told, each.confidence, each.right, each.brier)


def _by_place(sample: Sample) -> Rows:
    extra = sample.extra
    for direction in ("start_to_tuned", "tuned_to_start"):
        for place, value in enumerate(extra[direction], start=1):
            yield (extra["writer"], direction, sample.category, extra["prompt_id"], extra["number"], place, value)


def _largest(sample: Sample) -> Rows:
    extra = sample.extra
    for each in extra["largest"]:
        expected = (each[name] for name in WRITERS)
        probabilities = (each[f"{name}_probability"] for name in WRITERS)
        told = (extra["writer"], extra["user_prompt"], each["place"] + 1, each["before"], each["written"])
        yield (*told, *expected, *probabilities, each["both"])
