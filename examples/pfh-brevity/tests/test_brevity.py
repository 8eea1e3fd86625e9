"""The checkers, the family over a fake engine, and the domain's verifier."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from typing import Any

import pytest
from pfh import testing as fakes
from pfh.errors import UserError
from pfh.hooks.datasets import Dataset, DataSource
from pfh.hooks.domains import Domain, DomainSpec
from pfh.hooks.evals import AnalysisSpec
from pfh.hooks.evaluation import Evaluation
from pfh.statistics.paired import compare_evaluations
from pfh.testing import Plugins
from pfh_brevity.checkers import count_words, json_list
from pfh_brevity.concise import SUBJECTS
from pfh_brevity.documents import SUBJECTS as EVALUATED


class Rows:
    """A source that has one dataset."""

    def __init__(self, rows: tuple[Mapping[str, Any], ...]) -> None:
        self.rows = rows

    def load(self, hub_id: str, config: str = "default", split: str = "test") -> Dataset:
        """Return the rows, whatever is asked for."""
        return Dataset(rows=self.rows, fingerprint="0", origin="test")


def evaluate(
    answers: list[str], *benchmarks: str, data: DataSource | None = None, limit: int | None = None
) -> Evaluation:
    """Put the family to an engine that gives `answers`."""
    plugins = Plugins()
    spec = fakes.evaluation_spec(answers, options=plugins.options("evals", "brevity", {}), limit=limit)
    return plugins.evaluate("brevity", dataclasses.replace(spec, benchmarks=benchmarks, data=data or fakes.NoData()))


@pytest.mark.parametrize(
    ("text", "words"),
    [("", 0), ("Lisbon.", 1), ("don't", 1), ("a well-known 3.14!", 3), ("日本 語", 2), ("** **", 0)],
)
def test_words_are_counted(text: str, words: int) -> None:
    assert count_words(text) == words


@pytest.mark.parametrize(
    ("text", "items"),
    [
        ('["a", "b"]', ["a", "b"]),
        ('```json\n["a"]\n```', ["a"]),
        ('Here: ["a"]', None),
        ("[1, 2]", None),
        ('{"a": 1}', None),
        ("[" * 5000, None),
        ("", None),
    ],
)
def test_only_a_list_of_strings_and_nothing_else_is_a_list(text: str, items: list[str] | None) -> None:
    assert json_list(text, fenced=True) == items


def test_a_fence_is_refused_where_the_options_say_so() -> None:
    assert json_list('```json\n["a"]\n```', fenced=False) is None


def test_scores_categories_and_statuses() -> None:
    (benchmark,) = evaluate(["Lisbon", "It is Lisbon", ""], "one-word", limit=8).benchmarks

    assert [sample.score for sample in benchmark.samples[:3]] == [1.0, 0.0, 0.0]
    assert [sample.status for sample in benchmark.samples[:3]] == ["ok", "ok", "format_failure"]
    assert {sample.category for sample in benchmark.samples} == {"places", "nature", "language", "numbers"}
    assert len({sample.id for sample in benchmark.samples}) == 8


def test_a_dataset_that_cannot_be_had_is_not_run_and_costs_the_others_nothing() -> None:
    statuses = {row.name: (row.status, row.reason) for row in evaluate(["yes"]).benchmarks}

    assert {name: status for name, (status, _) in statuses.items()} == {
        "one-word": "MEASURED",
        "word-count": "MEASURED",
        "json-list": "MEASURED",
        "length": "NOT_RUN",
    }
    assert "HuggingFaceH4/mt_bench_prompts" in statuses["length"][1]


def test_free_answers_are_measured_in_words_without_a_good_direction() -> None:
    rows = (
        {"prompt": ["What is tea?", "And coffee?"], "category": "stem"},
        {"prompt": ["Write a poem about tea."], "category": "writing"},
    )

    (benchmark,) = evaluate(["a hot drink"], "length", data=Rows(rows)).benchmarks

    assert (benchmark.metric, benchmark.higher_is_better) == ("words", None)
    assert [(sample.category, sample.score) for sample in benchmark.samples] == [("stem", 3.0), ("writing", 3.0)]


def test_an_unknown_benchmark_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(UserError, match="Did you mean 'one-word'"):
        evaluate(["yes"], "one-wrod")


def test_analysis_says_how_answers_miss_the_form() -> None:
    before, after = evaluate(["one"], "one-word", "json-list"), evaluate(["one two three"], "one-word", "json-list")
    spec = AnalysisSpec(before=before, after=after, comparisons=compare_evaluations(before, after), options=None)

    analysis = Plugins().analyze("brevity", spec)

    assert analysis.findings == ("one-word: 24 more of 24 answers are too long after training.",)
    assert analysis.tables[0].rows[0] == ("one-word", 24, 0, 0, 0, 24, 0, 0)


def concise(**given: str) -> Domain:
    """Open the domain."""
    plugins = Plugins()
    options = plugins.options("domains", "concise", given)
    return plugins.open_domain("concise", DomainSpec(options=options, data=fakes.NoData()))


@pytest.mark.parametrize(
    ("completion", "reward"), [("It keeps dry.", 1.0), ("a b c d e f", 0.0), ("", 0.0), ("!", 0.0)]
)
def test_the_verifier_counts(completion: str, reward: float) -> None:
    domain = concise(words="5")

    assert domain.verify(domain.problems("train", 1, seed=0)[0], completion).reward == reward


def test_problems_are_stable_and_the_splits_are_apart() -> None:
    domain = concise()
    train, test = domain.problems("train", 40, seed=3), domain.problems("test", 40, seed=3)

    assert domain.problems("train", 8, seed=3) == train[:8]
    assert not {problem.id for problem in train} & {problem.id for problem in test}
    assert not {*SUBJECTS["train"], *SUBJECTS["test"]} & set(EVALUATED)
    assert json.dumps([problem.messages for problem in train])


def test_too_many_problems_are_refused() -> None:
    with pytest.raises(UserError, match="lower --problems"):
        concise().problems("test", 1000, seed=0)
