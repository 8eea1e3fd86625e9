"""Margins, target likelihoods and depths: the figures against a hand count, and what the report makes of them."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from pfh.errors import NotNumbersError, UserError
from pfh.hooks.backends import Completion, GenerationRequest, Sampling, Score, ScoringRequest
from pfh.hooks.evals import Analysis, AnalysisSpec
from pfh.hooks.evaluation import Benchmark, Evaluation
from pfh.hooks.judges import Case, Judgement
from pfh.kit import refusal_margin
from pfh.statistics.paired import compare_evaluations
from pfh.testing import FakeEngine, evaluation_spec
from pfh_evals import safety
from pfh_evals.safety.asks import asks_of
from pfh_evals.safety.documents import Document
from pfh_evals.safety.latent_benchmarks import DEFAULT_TARGET, LATENT_BY_NAME, choose
from pfh_evals.safety.latent_depth import depths


class Wavering(FakeEngine):
    """Opens a refusal with a set probability; gives in after so many words of a prefill."""

    def __init__(self, refuses: float, *, gives_in: int = 2) -> None:
        super().__init__()
        self.refuses, self.gives_in = refuses, gives_in
        self.letters: dict[int, str] = {}

    def encode(self, text: str) -> list[int]:
        codes = [sum(ord(letter) << 8 * place for place, letter in enumerate(word)) for word in text.split()]
        self.letters |= dict(zip(codes, text.split(), strict=True))
        return codes

    def decode(self, tokens: Sequence[int]) -> str:
        return " ".join(self.letters[token] for token in tokens)

    def loglikelihood(self, requests: Sequence[ScoringRequest]) -> list[Score]:
        openings = len(refusal_margin.OPENINGS) * 2  # each with and without a space: no rendered prompt ends in one
        return [
            Score(
                logprob=-2.0 * len(request.continuation.split())
                if request.continuation.strip() == DEFAULT_TARGET
                else math.log(self.refuses / openings),
                greedy=False,
                tokens=1,
            )
            for request in requests
        ]

    def generate(self, requests: Sequence[GenerationRequest], sampling: Sampling) -> list[Completion]:
        texts = []
        for request in requests:
            _, opened, more = (request.prompt or "").partition("Sure,")
            prefilled = len(more.split()) + 1 if opened else 0
            texts.append("Here you are" if self.refuses < 0.5 or prefilled >= self.gives_in else "Sorry, no.")
        return [Completion(text=text, tokens=3, prompt_tokens=9, truncated=False) for text in texts]


def evaluate(engine: FakeEngine, benchmarks: tuple[str, ...] = ("probes",), **options: Any) -> Evaluation:
    spec = evaluation_spec([""], options=safety.Options(**options))
    return safety.evaluate(dataclasses.replace(spec, engine=engine, benchmarks=benchmarks))


def named(evaluation: Evaluation, name: str) -> Benchmark:
    return next(benchmark for benchmark in evaluation.benchmarks if benchmark.name == name)


def analysis_of(before: Evaluation, after: Evaluation) -> Analysis:
    return safety.analyze(
        AnalysisSpec(
            before=before, after=after, comparisons=compare_evaluations(before, after), options=safety.Options()
        )
    )


def test_a_margin_is_the_log_odds_of_all_openings_together() -> None:
    assert refusal_margin.margin([math.log(0.2), math.log(0.3)]) == pytest.approx(0)
    assert refusal_margin.margin([math.log(0.25)]) == pytest.approx(math.log(1 / 3))
    assert refusal_margin.margin([0.0]) == pytest.approx(math.log((1 - 1e-6) / 1e-6))  # certain, and finite
    assert refusal_margin.margin([-1000.0]) == pytest.approx(-math.log((1 - 1e-6) / 1e-6))
    found = refusal_margin.refusal_margins(Wavering(0.8), ["user: a", "user: b"])
    assert found == pytest.approx(np.full(2, math.log(4)))


def test_an_opening_that_begins_with_another_counts_once() -> None:
    assert refusal_margin.distinct(["I'm sorry", "I'm", "Sorry", "Sorry"]) == ("I'm", "Sorry")
    assert refusal_margin.distinct(refusal_margin.OPENINGS) == refusal_margin.OPENINGS


def test_both_forms_of_an_opening_are_scored_where_no_space_ends_the_prompt() -> None:
    assert [it.continuation for it in refusal_margin.opening_requests("k", "a:", ["No"])] == ["No", " No"]
    assert [it.continuation for it in refusal_margin.opening_requests("k", "a:\n", ["No"])] == ["\n", "\nNo"]
    # What the space itself costs is taken off: P(No | a:, newline) = P(newline, No) / P(newline).
    assert refusal_margin.opened_margin("a:\n", [math.log(0.1), math.log(0.05)]) == pytest.approx(0)


def test_the_probes_get_margin_target_and_depth() -> None:
    evaluation = evaluate(Wavering(0.8))
    assert [it.name for it in evaluation.benchmarks] == [
        "probes-harmful",
        "probes-benign",
        "probes-harmful-margin",
        "probes-harmful-target",
        "probes-harmful-depth",
        "probes-benign-margin",
    ]
    margin, target, depth = (named(evaluation, f"probes-harmful-{kind}") for kind in ("margin", "target", "depth"))
    assert {round(it.score or 0, 6) for it in margin.samples} == {round(math.log(4), 6)}
    assert {it.score for it in target.samples} == {-2.0}  # each of its words costs two nats
    assert {it.score for it in depth.samples} == {2.0}
    assert depth.samples[0].prompt.endswith("Sure, here")
    assert depth.samples[0].completion == "Here you are"
    assert depth.sensitive
    assert (margin.higher_is_better, target.higher_is_better, depth.higher_is_better) == (None, None, True)
    assert named(evaluation, "probes-benign-margin").higher_is_better is None
    assert {it.same_documents_as for it in (margin, target, depth)} == {"probes-harmful"}


def test_a_prompt_that_is_answered_has_depth_0_and_one_that_never_is_counts_more_than_the_longest() -> None:
    answered = named(evaluate(Wavering(0.1)), "probes-harmful-depth")
    assert {it.score for it in answered.samples} == {0.0}
    never = named(evaluate(Wavering(0.9, gives_in=99), depths="1,2"), "probes-harmful-depth")
    assert {(it.score, it.extracted) for it in never.samples} == {(3.0, "more than 2")}


def test_a_measure_can_be_asked_for_alone() -> None:
    (depth,) = evaluate(Wavering(0.9), ("probes-harmful-depth",)).benchmarks
    assert {it.score for it in depth.samples} == {2.0}
    assert depth.same_documents_as == ""
    with pytest.raises(UserError, match="Did you mean 'probes-benign-margin'"):
        choose(("probes-benign-margn",))


def test_a_vocabulary_without_the_openings_is_insufficient() -> None:
    class Mute(Wavering):
        def decode(self, tokens: Sequence[int]) -> str:
            return "?"

    margin = named(evaluate(Mute(0.8)), "probes-harmful-margin")
    assert margin.status == "INSUFFICIENT"
    assert "0 of the openings" in margin.reason


def test_a_backend_without_probabilities_is_not_run_and_nan_is_an_error() -> None:
    class Closed(Wavering):
        def loglikelihood(self, requests: Sequence[ScoringRequest]) -> list[Score]:
            raise UserError("the endpoint has no log-likelihoods")

    class Broken(Wavering):
        def loglikelihood(self, requests: Sequence[ScoringRequest]) -> list[Score]:
            raise NotNumbersError

    closed = evaluate(Closed(0.8))
    assert named(closed, "probes-harmful").status == "MEASURED"
    assert named(closed, "probes-harmful-margin").status == "NOT_RUN"
    assert "no log-likelihoods" in named(closed, "probes-harmful-margin").reason
    assert named(closed, "probes-harmful-depth").status == "MEASURED"
    assert named(evaluate(Broken(0.8)), "probes-harmful-margin").status == "ERROR"


def test_a_margin_that_moves_alone_is_an_early_warning_and_not_harm() -> None:
    before, after = evaluate(Wavering(0.9)), evaluate(Wavering(0.6))
    rows = {row.benchmark: row for row in compare_evaluations(before, after)}
    assert rows["probes-harmful"].verdict not in ("worse", "better")
    findings = analysis_of(before, after).findings
    warned = [text for text in findings if text.startswith("Early warning, not harm: on the 40 prompts")]
    assert len(warned) == 1
    assert "fell from +2.20 to +0.41 nats" in warned[0]
    assert any("the shift is broad" in text for text in findings)


class OfHarm:
    """Sees harm alone, and none."""

    name, reads = "of harm", frozenset({"harm"})

    def label(self, prompts: Sequence[str], completions: Sequence[str]) -> list[Judgement]:
        return [Judgement(label="harmless", harmful=0.0) for _ in completions]

    def judge(self, cases: Sequence[Case]) -> list[Judgement]:
        return self.label([], [case.completion for case in cases])


def test_a_depth_takes_a_judge_of_refusals() -> None:
    spec = evaluation_spec([""], options=safety.Options(judge="harm,rule"))
    spec = dataclasses.replace(spec, engine=Wavering(0.9), benchmarks=("probes-harmful-depth",))
    (alone,) = safety.evaluate(dataclasses.replace(spec, judge=lambda name: OfHarm())).benchmarks
    assert (alone.status, "sees harm alone" in alone.reason) == ("NOT_RUN", True)
    refusals = spec.judge
    (beside,) = safety.evaluate(
        dataclasses.replace(spec, judge=lambda name: OfHarm() if name == "harm" else refusals(name))
    ).benchmarks
    assert {it.score for it in beside.samples} == {2.0}


def test_a_judge_of_harm_says_nothing_of_the_depth_of_a_refusal() -> None:
    latent = LATENT_BY_NAME["probes-harmful-depth"]
    document = Document(prompt="Do it.", category="a")
    asks = asks_of(latent.of, (document,), None)
    spec = dataclasses.replace(evaluation_spec([""], options=safety.Options()), engine=Wavering(0.9))
    found = depths(latent, asks, {asks[0].id: "harmless"}, spec.judge("rule"), spec)
    assert [it.score for it in found] == [2.0]


def test_tables_give_the_curve_of_depths_and_the_calibration_of_refusals() -> None:
    before, after = evaluate(Wavering(0.9, gives_in=3)), evaluate(Wavering(0.9, gives_in=1))
    tables = {table.title: table for table in analysis_of(before, after).tables}
    depth = tables["How deep refusals go"]
    assert [(row[1], row[2], row[-1]) for row in depth.rows] == [("before", 16, 3.0), ("after", 16, 1.0)]
    columns = dict(zip(depth.columns, depth.rows[0], strict=True))
    assert (columns["0 tokens"].value, columns["2 tokens"].value, columns["3 tokens"].value) == (0, 0, 1)
    row = tables["Calibration of refusals"].rows[0]
    assert row[1].value == pytest.approx(0)  # it refuses everything: nothing is told apart
    assert row[3].value < -2  # and the criterion is low: it refuses at the least


def test_a_start_without_alignment_is_said_so() -> None:
    evaluation = evaluate(Wavering(0.1))
    assert any("there is no alignment to erode" in text for text in analysis_of(evaluation, evaluation).findings)


def test_margins_and_depths_read_no_more_prompts_than_are_enough() -> None:
    def counts(**options: int) -> dict[str, int]:
        found = evaluate(Wavering(0.9, gives_in=1), **options)
        return {each.metric: len(each.samples) for each in found.benchmarks if each.name.startswith("probes-harmful-")}

    assert counts() == {"refusal_margin": 40, "target_loglik": 40, "alignment_depth": 16}
    assert counts(margin_prompts=8, depth_prompts=0) == {
        "refusal_margin": 8, "target_loglik": 8, "alignment_depth": 40
    }  # fmt: skip
    assert counts(depth_prompts=100)["alignment_depth"] == 16  # a third would be too few to test a change on
    depth = LATENT_BY_NAME["probes-harmful-depth"]
    assert [depth.enough(safety.Options(depth_prompts=100), asked) for asked in (8, 24, 60, 400)] == [8, 16, 20, 100]
