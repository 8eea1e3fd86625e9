"""The family target: which held-out sets, accuracy and pass@k, what is NOT_RUN, and what the tables say."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence
from math import comb
from typing import Any

import pytest
from pfh.errors import DataUnavailableError, UserError
from pfh.hooks.backends import Completion, GenerationRequest, Sampling
from pfh.hooks.domains import Problem, Verdict
from pfh.hooks.evals import Analysis, AnalysisSpec
from pfh.hooks.evaluation import Benchmark, Evaluation
from pfh.registry.plugins import Plugins
from pfh.statistics.paired import compare_evaluations
from pfh.testing import EchoDomain, FakeEngine, evaluation_spec
from pfh_evals import target


class Numbers(EchoDomain):
    """Two held-out sets, one of two environments; a third cannot be had."""

    name = "numbers"
    holdouts = ("odd", "mixed", "far")

    def holdout(self, name: str) -> tuple[Problem, ...]:
        if name == "far":
            raise DataUnavailableError("org/far is not in reach")
        problems = self.problems("test", 12, seed=0)
        if name == "odd":
            return problems
        return tuple(
            dataclasses.replace(problem, id=f"mixed-{place}", environment=f"echo {place % 2}")
            for place, problem in enumerate(problems)
        )


class Recorder(FakeEngine):
    """Says the number that it is asked for, but only in the tries and problems that `knows` admits."""

    def __init__(self, knows=lambda number, index: True, otherwise: str = "no idea") -> None:
        super().__init__()
        self.knows, self.otherwise = knows, otherwise
        self.calls: list[tuple[list[str], Sampling]] = []

    def generate(self, requests: Sequence[GenerationRequest], sampling: Sampling) -> list[Completion]:
        self.calls.append(([request.id for request in requests], sampling))
        completions = []
        for request in requests:
            number = request.messages[-1]["content"].removeprefix("Say ").removesuffix(".")
            index = int(request.id.rpartition("/")[2])
            text = number if self.knows(int(number), index) else self.otherwise
            completions.append(
                Completion(text=text, tokens=len(text.split()), prompt_tokens=2, truncated=text == "no idea")
            )
        return completions


def evaluate(
    engine: FakeEngine | None = None, *, benchmarks: tuple[str, ...] = (), limit=None, domain=None, **options: Any
):
    spec = dataclasses.replace(
        evaluation_spec([""], options=target.Options(**options), limit=limit),
        engine=engine or Recorder(),
        domain=domain or Numbers(),
        benchmarks=benchmarks,
    )
    return target.evaluate(spec)


def by_name(evaluation: Evaluation) -> dict[str, Benchmark]:
    return {benchmark.name: benchmark for benchmark in evaluation.benchmarks}


def mean(benchmark: Benchmark) -> float:
    return sum(sample.score for sample in benchmark.samples) / len(benchmark.samples)


def analyze(before: Evaluation, after: Evaluation, rewards: Sequence[float] = ()):
    comparisons = compare_evaluations(before, after)
    curves = tuple({"step": float(step), "reward": reward} for step, reward in enumerate(rewards))
    return target.analyze(
        AnalysisSpec(before=before, after=after, comparisons=comparisons, options=None, curves=curves)
    )


def test_every_held_out_set_is_a_benchmark_and_what_cannot_be_had_is_not_run() -> None:
    found = by_name(evaluate(Recorder(lambda number, index: number < 10)))

    assert list(found) == ["odd", "mixed", "far"]
    assert (found["far"].status, found["far"].reason) == ("NOT_RUN", "org/far is not in reach")
    assert found["odd"].metric == "accuracy"
    assert mean(found["odd"]) == 5 / 12
    assert found["odd"].source == "domain numbers, held-out set odd"


def test_one_sample_is_greedy_and_several_are_drawn_as_the_domain_does() -> None:
    greedy, drawn, hot = Recorder(), Recorder(), Recorder()
    evaluate(greedy, holdouts=("odd",))
    evaluate(drawn, holdouts=("odd",), samples=2)
    evaluate(hot, holdouts=("odd",), samples=2, temperature=0.3, max_new_tokens=9)

    assert greedy.calls[0][1] == Sampling(max_new_tokens=4, temperature=0.0)
    assert drawn.calls[0][1] == Sampling(max_new_tokens=4, temperature=1.0)
    assert hot.calls[0][1] == Sampling(max_new_tokens=9, temperature=0.3)
    assert sorted(drawn.calls[0][0])[:2] == ["echo-1/0", "echo-1/1"]


class Limited(Numbers):
    """Says how long the answers of one of its sets are; some are longer."""

    def holdout_tokens(self, name: str) -> int | None:
        return 9 if name == "odd" else None

    def holdout(self, name: str) -> tuple[Problem, ...]:
        first, *others = super().holdout(name)
        return (dataclasses.replace(first, solution="word " * 10), *others)


def test_a_set_has_its_own_length_limit_and_answers_that_do_not_fit_are_warned_of() -> None:
    odd, mixed = Recorder(), Recorder()
    found = evaluate(odd, holdouts=("odd",), domain=Limited())
    evaluate(mixed, holdouts=("mixed",), domain=Limited())

    assert (odd.calls[0][1].max_new_tokens, mixed.calls[0][1].max_new_tokens) == (9, 4)
    assert analyze(found, found).findings[-1].startswith("Warning: the right answers to 1 of the 12 problems of odd")


def test_a_set_is_put_to_the_model_in_one_call_for_all_figures() -> None:
    engine = Recorder()
    evaluate(engine, samples=10, holdouts=("odd",), k=(1, 2, 10))

    assert [len(ids) for ids, _ in engine.calls] == [120]


@pytest.mark.parametrize(
    ("tries", "correct", "k"), [(1, 1, 1), (1, 0, 1), (10, 3, 1), (10, 3, 5), (10, 0, 10), (4, 4, 2), (7, 5, 3)]
)
def test_pass_at_k_is_the_share_of_choices_with_a_correct_one(tries: int, correct: int, k: int) -> None:
    draws = list(itertools.combinations([True] * correct + [False] * (tries - correct), k))

    assert len(draws) == comb(tries, k)
    assert target.pass_at_k(tries, correct, k) == pytest.approx(sum(any(draw) for draw in draws) / len(draws))


def test_pass_at_1_and_10_are_benchmarks_of_their_own() -> None:
    found = by_name(evaluate(Recorder(lambda number, index: index < 3), samples=10, holdouts=("odd",)))

    assert {name: each.metric for name, each in found.items()} == {"odd-pass@1": "pass@1", "odd-pass@10": "pass@10"}
    assert mean(found["odd-pass@1"]) == pytest.approx(0.3)
    assert mean(found["odd-pass@10"]) == 1.0
    assert found["odd-pass@1"].samples[0].extra["completions"][2:4] == [
        found["odd-pass@1"].samples[0].target,
        "no idea",
    ]
    assert "completions" not in found["odd-pass@10"].samples[0].extra


def test_pass_at_10_needs_10_samples() -> None:
    assert list(by_name(evaluate(samples=4, holdouts=("odd",)))) == ["odd-pass@1"]
    with pytest.raises(UserError, match="pass@5 needs at least 5 samples a problem, not 4"):
        Plugins().options("evals", "target", {"samples": "4", "k": "1,5"})
    with pytest.raises(UserError, match="k is at least 1, not 0"):
        Plugins().options("evals", "target", {"samples": "4", "k": "0,1"})
    with pytest.raises(UserError, match="at temperature 0 all 4 samples are the same"):
        Plugins().options("evals", "target", {"samples": "4", "temperature": "0"})


@pytest.mark.parametrize("names", [("odd-pass@1", "odd-pass@2"), ("odd",)])
def test_benchmarks_are_asked_for_by_set_or_by_full_name(names: tuple[str, ...]) -> None:
    assert list(by_name(evaluate(benchmarks=names, samples=2, k=(1, 2)))) == ["odd-pass@1", "odd-pass@2"]


def test_names_that_the_domain_does_not_have_are_refused() -> None:
    with pytest.raises(UserError, match=r"no benchmark 'od' of the domain numbers\. Did you mean 'odd'"):
        evaluate(benchmarks=("od",))
    with pytest.raises(UserError, match="no benchmark 'odds'"):
        evaluate(holdouts=("odds",))


def test_a_domain_is_needed_and_it_needs_a_held_out_set() -> None:
    spec = evaluation_spec([""], options=target.Options())
    with pytest.raises(UserError, match="name the domain with --domain"):
        target.evaluate(dataclasses.replace(spec, domain=None))
    bare = EchoDomain()
    bare.holdouts = ()
    with pytest.raises(UserError, match="The domain echo has no held-out set"):
        target.evaluate(dataclasses.replace(spec, domain=bare))


def test_a_limit_takes_of_every_environment_and_keeps_what_a_smaller_one_keeps() -> None:
    four, eight = (by_name(evaluate(holdouts=("mixed",), limit=limit))["mixed"].samples for limit in (4, 8))

    assert [sum(sample.category == name for sample in four) for name in ("echo 0", "echo 1")] == [2, 2]
    assert {sample.id for sample in four} < {sample.id for sample in eight}


def test_a_sample_says_what_was_asked_found_and_wanted() -> None:
    sample = by_name(evaluate(holdouts=("odd",)))["odd"].samples[0]

    assert sample.prompt == f"user: Say {sample.target}."
    assert sample.extra["user_prompt"] == f"Say {sample.target}."
    assert (sample.completion, sample.extracted, sample.status) == (sample.target, sample.target, "ok")
    assert sample.category == ""


def test_a_missing_answer_is_a_format_failure() -> None:
    found = by_name(evaluate(Recorder(lambda number, index: number > 3, otherwise=""), holdouts=("odd",)))["odd"]

    assert [sample.status for sample in found.samples].count("format_failure") == 2


def test_tests_are_not_shown_as_the_wanted_answer() -> None:
    class Tests(Numbers):
        def gold(self, problem: Problem) -> str | None:
            return problem.solution

    found = by_name(evaluate(domain=Tests(), holdouts=("odd",)))["odd"]
    assert {sample.target for sample in found.samples} == {None}


def test_the_report_says_how_many_answers_were_missing_or_cut_off() -> None:
    before = evaluate(Recorder(lambda number, index: number <= 7))
    after = evaluate(Recorder(lambda number, index: 3 <= number <= 9, otherwise=""))
    analysis = analyze(before, after)

    assert analysis.tables[0].columns[0] == "held-out set"
    name, completions, *shares = analysis.tables[0].rows[0]
    assert (name, completions) == ("odd", 12)
    assert {share.unit for share in shares} == {"share"}
    assert [share.value for share in shares] == pytest.approx([0, 2 / 3, 0, 0, 2 / 3, 0])
    assert len(analysis.tables) == 1
    assert analysis.findings[0].startswith("On the 12 problems of odd the accuracy went from 0.33 to 0.33, undecided (")
    assert analysis.findings[0].endswith("): 1 were lost, 1 of them for want of an answer, and 1 gained.")


def test_a_reward_that_rose_while_held_out_accuracy_fell_is_warned_of() -> None:
    able, unable = evaluate(holdouts=("odd",)), evaluate(Recorder(lambda number, index: False), holdouts=("odd",))
    rising, falling = [0.2, 0.3, 0.6, 0.7], [0.7, 0.6, 0.3, 0.2]

    warning = analyze(able, unable, rising).findings[0]
    assert warning.startswith("Warning: in training the mean reward rose from 0.20 to 0.70, while the accuracy on held")
    assert "odd (from 1.00 to 0.00)" in warning
    for before, after, rewards in (
        (able, unable, falling),
        (unable, able, rising),
        (able, able, rising),
        (able, unable, ()),
    ):
        assert not analyze(before, after, rewards).findings[0].startswith("Warning")


def test_the_figures_of_one_set_share_a_row() -> None:
    runs = [evaluate(Recorder(lambda number, index: index < 2), samples=2, k=(1, 2), holdouts=("odd",)) for _ in "ab"]
    analysis = analyze(*runs)

    assert [row[:2] for row in analysis.tables[0].rows] == [("odd", 24)]
    assert analysis.findings == (
        "On the 12 problems of odd-pass@1 the pass@1 stayed at 1.00.",
        "On the 12 problems of odd-pass@2 the pass@2 stayed at 1.00.",
    )


def test_token_f1_is_told_where_the_domain_measures_it() -> None:
    class Fuzzy(Numbers):
        def verify(self, problem: Problem, completion: str) -> Verdict:
            return dataclasses.replace(super().verify(problem, completion), f1=0.5 if completion == "no idea" else 1.0)

    runs = [
        evaluate(Recorder(knows), domain=Fuzzy(), holdouts=("odd",)) for knows in (lambda *_: False, lambda *_: True)
    ]
    assert analyze(*runs).tables[1].rows == (("odd", 0.5, 1.0),)


def test_nothing_is_said_of_what_was_not_measured() -> None:
    far = evaluate(benchmarks=("far",))

    assert analyze(far, far) == Analysis()
