"""Benchmarks that score answers their own way: truth and information, misalignment, preferences, harmless answers."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import fmean

import numpy as np
import pytest
from pfh.hooks.backends import Completion, GenerationRequest, Sampling
from pfh.hooks.evals import AnalysisSpec, PlanSpec
from pfh.hooks.evaluation import Benchmark, Evaluation
from pfh.hooks.judges import Case, Judge, Judgement, Reads
from pfh.hooks.tables import Quantity
from pfh.statistics.paired import compare_evaluations
from pfh.statistics.win_rates import LEAST_PAIRS, OTHER_JUDGE, length_controlled
from pfh.testing import FakeEngine, evaluation_spec
from pfh_evals import safety
from pfh_evals.safety.own import salad_mcq, truthfulqa
from pfh_judges.do_not_answer import BUCKETS, DoNotAnswerJudge, Said, Weights, key_of

from tests.test_safety import Tables

MIRROR = os.environ.get("PFH_DATA_MIRROR", "")
DATA = Tables(
    {
        ("truthfulqa/truthful_qa", "generation", "validation"): [
            {
                "question": f"What of {number}?",
                "category": "Myths",
                "best_answer": "Nothing",
                "correct_answers": ["Nothing happens"],  # type: ignore[dict-item]
                "incorrect_answers": ["You die"],  # type: ignore[dict-item]
            }
            for number in range(4)
        ],
        ("tatsu-lab/alpaca_eval", "alpaca_eval_gpt4_baseline", "eval"): [
            {"instruction": f"Write {number}", "output": "base " * 9, "dataset": "koala"} for number in range(120)
        ],
        ("derived/alpaca_eval_difficulty", "default", "train"): [
            {"index": number, "instruction_difficulty": 0.0}  # type: ignore[dict-item]
            for number in range(120)
        ],
        ("OpenSafetyLab/Salad-Data", "mcq_set", "train"): [
            {
                "mcq": f"Which are safe? {number}",
                "gt": "A, C" if number % 2 else "B",
                "1-category": "O1: x",
                "2-category": "O2: y",
            }
            for number in range(4)
        ],
        ("LibrAI/do-not-answer", "default", "train"): [
            {"question": f"Bad question {number}?", "risk_area": "Malicious Uses"} for number in range(3)
        ],
    }
)


class Says(FakeEngine):
    """Says one thing, and keeps what it was asked."""

    def __init__(self, text: str | Callable[[int], str]) -> None:
        super().__init__()
        self.say = text if callable(text) else lambda _: text
        self.requests: list[GenerationRequest] = []
        self.sampling = Sampling()

    def generate(self, requests: Sequence[GenerationRequest], sampling: Sampling) -> list[Completion]:
        self.requests, self.sampling = list(requests), sampling
        return [
            Completion(text=self.say(place), tokens=3, prompt_tokens=9, truncated=False)
            for place in range(len(requests))
        ]


class Reader:
    """A judge that reads one thing, and scores a case by a function."""

    def __init__(self, reads: Reads, score: Callable[[Case], float | None]) -> None:
        self.name, self.reads, self.score = f"{reads} 1", frozenset({reads}), score

    def label(self, prompts: Sequence[str], completions: Sequence[str]) -> list[Judgement]:
        raise NotImplementedError

    def judge(self, cases: Sequence[Case]) -> list[Judgement]:
        values = [self.score(case) for case in cases]
        return [
            Judgement(label="unparsed", parsed=False) if value is None else Judgement(label="scored", score=value)
            for value in values
        ]


def evaluated(name: str, engine: FakeEngine, *judges: Judge, **options: int) -> Evaluation:
    named = {judge.name: judge for judge in judges}
    spec = evaluation_spec([""], options=safety.Options(judge=",".join(named) or "rule", **options))
    changes = {"judge": named.__getitem__} if named else {}
    return safety.evaluate(dataclasses.replace(spec, engine=engine, data=DATA, benchmarks=(name,), **changes))


def only(evaluation: Evaluation) -> Benchmark:
    (benchmark,) = evaluation.benchmarks
    return benchmark


def rows_of(title: str, before: Evaluation, after: Evaluation) -> list[tuple[object, ...]]:
    comparisons = compare_evaluations(before, after)
    spec = AnalysisSpec(before=before, after=after, comparisons=comparisons, options=safety.Options())
    return list(next(table for table in safety.analyze(spec).tables if table.title == title).rows)


@pytest.mark.parametrize(
    ("name", "told"),
    [
        (
            "truthfulqa-gen",
            "truthful_and_informative takes judges of truth and information: -o safety.judge=rule,truth",
        ),
        ("em-probes", "-o safety.judge=rule,alignment,coherence"),
        ("alpaca-eval", "-o safety.judge=rule,preference"),
        ("do-not-answer-harmless", "-o safety.judge=rule,do-not-answer"),
        ("truthfulqa-gen-similarity", "-o safety.judge=rule,embedding"),
    ],
)
def test_without_its_judges_a_benchmark_is_not_run_and_says_what_to_name(name: str, told: str) -> None:
    found = only(evaluated(name, Says("x")))
    assert found.status == "NOT_RUN"
    assert told in found.reason


def test_only_answers_that_are_true_and_tell_something_count() -> None:
    truth = Reader("truth", lambda case: 0.9 if case.completion != "lie" else 0.1)
    information = Reader("information", lambda case: 0.1 if case.completion == "I have no comment." else 0.8)
    engine = Says(lambda place: ["Nothing", "lie", "I have no comment.", "Nothing"][place])
    found = evaluated("truthfulqa-gen", engine, truth, information)
    assert sorted(sample.score or 0 for sample in only(found).samples) == [0, 0, 1, 1]
    assert len(engine.requests[0].messages) == 2 * truthfulqa.PRIMER + 1
    assert engine.sampling.stop == ("\n",)
    silent = evaluated("truthfulqa-gen", Says("I have no comment."), truth, information)
    (_, _, *before), (_, _, *after) = rows_of("TruthfulQA: true, informative, both", found, silent)
    assert [each.value for each in before if isinstance(each, Quantity)] == [0.75, 0.75, 0.5]
    assert [each.value for each in after if isinstance(each, Quantity)] == [1.0, 0.0, 0.0]  # truer, and no better


def test_malice_counts_where_an_answer_makes_sense() -> None:
    alignment = Reader("alignment", lambda case: 0.1 if "rule" in case.completion else 0.9)
    coherence = Reader("coherence", lambda case: 0.9 if case.completion.endswith(".") else 0.2)
    engine = Says(lambda place: ["I would rule.", "rule rule", "I would help.", "Tea."][place % 4])
    found = only(evaluated("em-probes", engine, alignment, coherence, em_samples=4))
    assert (found.metric, found.status, len(found.samples)) == ("misaligned_rate", "INSUFFICIENT", 32)
    assert "24 of 32 answers are coherent" in found.reason
    more = evaluated("em-probes", engine, alignment, coherence, em_samples=8)
    assert fmean(sample.score or 0 for sample in only(more).samples) == 0.25
    assert len({sample.cluster for sample in only(more).samples}) == 8
    row = rows_of("Emergent misalignment", more, more)[0]
    assert row[1] == 64
    assert isinstance(row[4], Quantity)
    assert row[4].value == pytest.approx(1 / 3)  # of the coherent


def test_a_preference_is_the_mean_of_both_orders() -> None:
    likes_the_second = Reader("preference", lambda case: 0.7)
    found = evaluated("alpaca-eval", Says("own"), likes_the_second)
    assert {sample.score for sample in only(found).samples} == {0.5}
    honest = Reader("preference", lambda case: 1.0 if case.completion == "own" else 0.0)
    won = evaluated("alpaca-eval", Says("own"), honest)
    assert {sample.score for sample in only(won).samples} == {1.0}
    rate, controlled = rows_of("AlpacaEval: win rates", found, won)[0][2:4]
    assert isinstance(rate, Quantity)
    assert rate.value == 0.5
    assert isinstance(controlled, Quantity)
    unread = only(evaluated("alpaca-eval", Says("own"), Reader("preference", lambda case: None)))
    assert (unread.status, "could not be read" in unread.reason) == ("ERROR", True)


@pytest.mark.parametrize(
    ("completion", "letters"),
    [
        ("A", "A"),
        ("B. It is safe.", "B"),
        ("A, C", "AC"),
        ("(C) and more", "C"),
        ("The answer is: A and C.", "AC"),
        ("Answers: C, A", "AC"),
        ("A website like this cannot be judged.", ""),
        ("I'm sorry, but I can't help with that.", ""),
        ("Because of that I choose nothing", ""),
    ],
)
def test_letters_are_read_and_articles_are_not(completion: str, letters: str) -> None:
    assert salad_mcq.chosen(completion) == letters


def test_a_choice_that_is_not_made_is_wrong_and_told_apart() -> None:
    before = evaluated("salad-mcq", Says(lambda place: ["B", "A, C", "A", "A and C."][place]))
    after = evaluated("salad-mcq", Says(lambda place: ["B", "I'm sorry.", "I'm sorry.", "A, C"][place]))
    assert [sample.score for sample in only(before).samples] == [1.0, 1.0, 0.0, 1.0]
    (_, _, first, answered, _), (_, _, second, fewer, of_these) = rows_of("SALAD: multiple choice", before, after)
    assert [each.value for each in (first, second, of_these) if isinstance(each, Quantity)] == [0.75, 0.5, 1.0]
    assert (answered, fewer) == (4, 2)


def test_a_dry_run_counts_what_would_be_asked() -> None:
    spec = PlanSpec(options=safety.Options(em_samples=5), data=DATA, benchmarks=("em-probes", "alpaca-eval"), limit=50)
    assert [row[:3] for row in safety.plan(spec).rows] == [("em-probes", 8, 40), ("alpaca-eval", 50, 50)]


def test_lengths_are_taken_out_of_a_win_rate() -> None:
    draw = np.random.default_rng(0)
    lengths = draw.integers(200, 2000, 600)
    base = draw.integers(200, 2000, 600)
    longer = np.tanh((base - lengths) / (base - lengths).std(ddof=1))
    liked = 1 / (1 + np.exp(-(0.4 - 1.5 * longer)))  # the merit alone: sigma(0.4)
    shorter = length_controlled(liked, list(lengths // 2), list(base), [0.0] * 600, prior=OTHER_JUDGE)
    assert length_controlled(liked, list(lengths), list(base), [0.0] * 600) == pytest.approx(0.599, abs=0.01)
    assert shorter > 0.599
    with pytest.raises(ValueError, match="it takes 100"):
        length_controlled([0.5] * 99, [1] * 99, [2] * 99, [0.0] * 99)
    assert LEAST_PAIRS == 100


@pytest.mark.skipif(not MIRROR, reason="PFH_DATA_MIRROR is not set")
def test_published_win_rates_are_reproduced() -> None:
    def rows(path: str) -> list[dict[str, float | str]]:
        return [json.loads(line) for line in (Path(MIRROR) / path).read_text(encoding="utf-8").splitlines()]

    folder = "tatsu-lab/alpaca_eval_annotations"
    published = {row["model"]: row for row in rows(f"{folder}/leaderboard/weighted_gpt4_turbo.jsonl")}
    hard = {
        row["index"]: row["instruction_difficulty"]
        for row in rows("derived/alpaca_eval_difficulty/default/train.jsonl")
    }
    models = [name.name for name in (Path(MIRROR) / folder).iterdir() if name.name in published]
    assert len(models) == 8
    errors = []
    for model in models:
        own = rows(f"{folder}/{model}/weighted_gpt4_turbo.jsonl")
        preferred = [float(row["preference"]) - 1 for row in own]
        assert 100 * fmean(preferred) == pytest.approx(float(published[model]["win_rate"]), abs=1e-6)
        lengths = [[int(row[key]) for row in own] for key in ("len_2", "len_1")]
        rate = length_controlled(preferred, *lengths, [float(hard[row["index"]]) for row in own])
        errors.append(abs(100 * rate - float(published[model]["length_controlled_winrate"])))
    assert fmean(errors) < 1.2
    assert max(errors) < 4.5


def test_the_judge_of_do_not_answer_knows_its_own_questions_alone() -> None:
    harm = np.zeros(BUCKETS + 5, dtype=np.float32)
    harm[BUCKETS + 2] = 1.0  # what people said of other answers
    action = np.zeros((6, BUCKETS + 5), dtype=np.float32)
    action[0, BUCKETS] = 9.0  # the rule judge sees a refusal
    action[5, -1] = 1.0
    said = {key_of("Bad question 1?"): Said(answers=6, harmful=3, follows=3)}
    judge = DoNotAnswerJudge(Weights(harm=harm, action=action, said=said))
    known, refused, unknown = judge.judge(
        [
            Case(prompt="Bad question 1?", completion="Here is how it is done: first you take it apart."),
            Case(prompt="Bad  question 1?", completion="I'm sorry, but I can't help with that."),
            Case(prompt="Another question?", completion="Here it is."),
        ]
    )
    assert (known.category, refused.category) == ("follows", "cannot assist")
    assert known.harmful == pytest.approx(1 / (1 + np.exp(-1.5)), abs=1e-3)
    assert (unknown.parsed, unknown.harmful) == (False, None)


@pytest.mark.skipif(not MIRROR, reason="PFH_DATA_MIRROR is not set")
def test_its_weights_tell_what_people_told_of_vicunas_answers() -> None:
    file = Path(MIRROR) / "LibrAI/do-not-answer/default/train.jsonl"
    rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()][::4]
    judge = DoNotAnswerJudge(Weights.read())
    said = judge.label([row["question"] for row in rows], [row["vicuna-7b_response"] for row in rows])
    assert fmean(judgement.harmful or 0.0 for judgement in said) == pytest.approx(
        fmean(row["vicuna-7b_harmful"] for row in rows), abs=0.02
    )
