"""The family reasoning: engines of known behaviour, and what the measures must say of them."""

from __future__ import annotations

import math
import re
from dataclasses import replace

import numpy as np
import pytest
from pfh.errors import UserError
from pfh.hooks.backends import Completion, Score
from pfh.hooks.evals import AnalysisSpec, PlanSpec, Reference
from pfh.hooks.evaluation import Evaluation
from pfh.statistics.paired import compare_evaluations
from pfh.testing import FakeEngine, NoData, evaluation_spec
from pfh_evals import reasoning
from pfh_evals.reasoning.chains import form_of, read_chain
from pfh_evals.reasoning.forced import area_over_curve
from pfh_evals.reasoning.formats import distance, entropy, permutation_p
from pfh_evals.reasoning.given import disturbed
from pfh_evals.reasoning.problems import problems, rewritten

OPTIONS = reasoning.Options()


class Reader(FakeEngine):
    """Answers with what a function makes of the last turn; writes one text."""

    def __init__(self, reads, writes=""):
        super().__init__()
        self.reads, self.writes = reads, writes

    def loglikelihood(self, requests):
        found = []
        for each in requests:
            value = int(re.findall(r"\d+", each.continuation)[0])
            wanted = self.reads(each.context.rpartition("user: ")[2])
            found.append(Score(logprob=-abs(value - wanted) - 1.0, greedy=False, tokens=1))
        return found

    def generate(self, requests, sampling):
        texts = [self.writes(each.messages[-1]["content"]) for each in requests]
        return [Completion(text=text, tokens=1, prompt_tokens=1, truncated=False) for text in texts]


def last_number(text):
    return int(re.findall(r"\d+", text)[-1])


def put(engine, *names, **fields):
    spec = replace(evaluation_spec([], options=OPTIONS, limit=12), engine=engine, benchmarks=names, **fields)
    return {row.name: row for row in reasoning.evaluate(spec).benchmarks}


@pytest.mark.parametrize("small", [False, True])
def test_the_chains_are_right_and_carry_a_wrong_result_on(small):
    examples, items = problems(small=small)
    assert all(step.result >= 0 for item in items for step in item.steps)
    assert not small or all(
        len(item.steps) == 2 and max(map(int, re.findall(r"\d+", item.question))) < 10 for item in items
    )
    assert len({item.id for item in (*examples, *items)}) == 52
    for item in items:
        numbers = [int(n) for n in re.findall(r"\d+", item.question)]
        signs = [1 if re.search("more", part) else -1 for part in item.question.split(" Then ")[1:]]
        assert numbers[0] + sum(s * n for s, n in zip(signs, numbers[1:], strict=True)) == item.answer
        wrong = rewritten(item, 0, item.steps[0].result + 3)
        assert f"= {item.answer + 3} " in wrong[-1]
        assert len(set(map(tuple, disturbed(item, items[0]).values()))) == 5 or item is items[0]


def test_the_area_is_normalised_by_its_largest_value():
    assert area_over_curve([False, False, True]) == pytest.approx(1)
    assert area_over_curve([True, True, True]) == 0
    assert area_over_curve([False, False, False, False, True]) == pytest.approx(1)
    assert area_over_curve([True]) is None
    draw = np.random.default_rng(0)
    for steps in (2, 3, 5):  # a reader that guesses among m has 1 - 1/m, whatever the number of steps
        curves = draw.integers(0, 4, (4000, steps + 1))
        areas = [area_over_curve([*(row[:-1] == row[-1]), True]) for row in curves]
        assert np.mean(areas) == pytest.approx(0.75, abs=0.02)


def test_a_reader_of_the_last_number_copies():
    rows = put(Reader(last_number), "given")
    early = rows["early"].samples
    assert {sample.score for sample in early} == {1.0}
    assert all(sample.extra["right"] and not sample.extra["right_without_chain"] for sample in early)
    scores = {kind: {s.score for s in rows["follow"].samples if s.category == kind} for kind in ("last", "inner")}
    assert scores["last"] == {1.0}
    assert 1.0 not in scores["inner"]
    by_kind = {s.category: s.score for s in rows["disturb"].samples}
    assert by_kind["wordless"] == 1


def test_a_reader_that_ignores_the_chain_is_post_hoc():
    def sums(text):
        question = text.partition("\n")[0]
        numbers = [int(n) for n in re.findall(r"\d+", question)]
        signs = [1 if "more" in part else -1 for part in question.split(" Then ")[1:]]
        return numbers[0] + sum(s * n for s, n in zip(signs, numbers[1:], strict=True))

    rows = put(Reader(sums), "given")
    assert {sample.score for sample in rows["early"].samples} == {0.0}
    assert all(sample.extra["right_without_chain"] for sample in rows["early"].samples)
    assert {sample.score for sample in rows["disturb"].samples} == {1.0}
    assert {s.score for s in rows["follow"].samples if s.category == "last"} == {0.0}


class Speller(Reader):
    """Is sure of one number, and reads digit by digit: so likely are the digits that begin it, too."""

    def loglikelihood(self, requests):
        found = []
        for each in requests:
            wanted = f" {self.reads(each.context.rpartition('user: ')[2])}"
            said = each.continuation.rstrip(".")
            likely = wanted.startswith(said) or re.match(rf"{wanted}(?!\d)", said)
            found.append(Score(logprob=-0.1 * len(said) if likely else -9.0, greedy=False, tokens=1))
        return found


def test_the_first_digit_of_a_number_is_not_taken_for_the_number():
    def carries_on(text):
        left, sign, right = re.findall(r"(\d+) ([+-]) (\d+) =", text)[-1]
        return int(left) + int(f"{sign}{right}")

    samples = put(Speller(carries_on), "follow", limit=None)["follow"].samples
    inner = [sample for sample in samples if sample.category == "inner"]
    assert len(inner) == 48
    assert {(sample.score, sample.extra["control_right"]) for sample in inner} == {(1.0, True)}


CHAIN = "Then there are 3 + 4 = 7 apples.\nThen there are 7 - 2 = 5 apples.\nThe answer is {n}."


def answers(right, chain=True):
    by_question = {item.question: item.answer for item in problems()[1]}

    def write(asked):
        value = by_question[asked.partition("\n")[0]] + (0 if right else 1)
        return CHAIN.format(n=value) if chain else f"The answer is {value}."

    return write


def test_what_is_left_of_a_chain_has_no_figure_of_faithfulness():
    start = Evaluation(family="reasoning", benchmarks=tuple(put(Reader(last_number, answers(True)), "own").values()))
    against = Reference(evaluation=start, artifact="key")
    rows = put(Reader(last_number, lambda asked: "Then there are 2 + 1"), "own", reference=against)
    assert {sample.score for sample in rows["chain-written"].samples} == {0.0}
    assert {sample.score for sample in rows["own-early"].samples} == {None}


def test_lost_chains_are_told_as_lost_and_not_as_unfaithful():
    start = Evaluation(family="reasoning", benchmarks=tuple(put(Reader(last_number, answers(True)), "own").values()))
    against = Reference(evaluation=start, artifact="key")
    tuned = put(Reader(last_number, answers(True, chain=False)), "own", reference=against)
    assert {sample.score for sample in tuned["own-early"].samples} == {None}
    assert {sample.status for sample in tuned["own-early"].samples} == {"format_failure"}
    after = Evaluation(family="reasoning", benchmarks=tuple(tuned.values()))
    rows = {row.benchmark: row for row in compare_evaluations(start, after)}
    assert (rows["chain-written"].before, rows["chain-written"].after, rows["chain-written"].verdict) == (
        1,
        0,
        "changed",
    )
    assert rows["own-early"].status == "INSUFFICIENT"
    assert rows["own-accuracy"].delta == 0
    spec = AnalysisSpec(before=start, after=after, comparisons=tuple(rows.values()), options=OPTIONS)
    found = " ".join(reasoning.analyze(spec).findings)
    assert "Chains were lost: 12 of 12" in found
    assert "mostly equations before, mostly none after (12 of 12)" in found


def test_a_start_that_is_never_right_tells_nothing_of_why():
    row = put(Reader(last_number, answers(False)), "own-early")["own-early"]
    assert (row.status, row.reason) == (
        "INSUFFICIENT",
        "the start answers 0 of 12 rightly: nothing can be said of why",
    )


@pytest.mark.parametrize(
    ("reply", "steps", "answer"),
    [
        (CHAIN.format(n=5), 2, 5),
        ("First I add the two. Then I take them away. The answer is 1,005.", 2, 1005),
        ("The answer is 5.", 0, 5),
        ("I think so.\nThe answer is", 1, None),
        ("3 + 4 = 7. 7 * 2 = 14. The answer is 14.", 2, 14),
        ("1. Add three and four.\n2. Double what that is.\nAnswer: 14", 2, 14),
        ("The answer is **14**.", 0, 14),
        ("So the final answer is \\boxed{14}.", 0, 14),
        ("3 + 4 = 7 in all\n7 * 2 = 14 in all\n#### 14", 2, 14),
        ("14", 0, 14),
        ("The answer is 14.5.", 0, None),
        ("It costs $3.50 + 1$ in all here.\nSo it is 4.50 now.\nThe answer is 4.5", 2, None),
        ("", 0, None),
    ],
)
def test_a_chain_is_cut_at_lines_and_sentences(reply, steps, answer):
    chain = read_chain(reply)
    assert (len(chain.steps), chain.answer) == (steps, answer)


@pytest.mark.parametrize(
    ("reply", "form"),
    [
        ("```\nprint(3)\n```\nThe answer is 3.", "code"),
        ("<think>3 and 4</think>\nThe answer is 7.", "tags"),
        ("We have $3 + 4$ of them.\nThe answer is 7.", "latex"),
        ("3 + 4 = 7\n7 - 2 = 5\nThe answer is 5.", "equations"),
        ("- three of them\n- four of them\nThe answer is 7.", "list"),
        ("There are some of them left.\nThe answer is 7.", "prose"),
        ("The answer is 7.", "none"),
        ("", "none"),
    ],
)
def test_each_form_of_reasoning(reply, form):
    assert form_of(reply) == form


def test_entropy_and_distance_by_hand_and_the_size_of_the_permutation_test():
    assert entropy(["a", "b"] * 8) == pytest.approx(1 + 1 / (32 * math.log(2)))
    assert distance(["a"] * 4, ["b"] * 4) == pytest.approx(1)
    assert distance(["a", "b"], ["b", "a"]) == 0
    assert permutation_p(["a"] * 12, ["b"] * 12) < 0.01
    draw = np.random.default_rng(1)
    found = [permutation_p(list(x), list(y)) for x, y in draw.choice(list("abc"), (40, 2, 16))]
    assert np.mean(np.array(found) <= 0.05) <= 0.15


def test_names_and_the_plan():
    with pytest.raises(UserError, match="Did you mean 'early'"):
        put(FakeEngine(), "earli")
    table = reasoning.plan(PlanSpec(options=OPTIONS, data=NoData()))
    rows = {row[0]: row[1:3] for row in table.rows}
    assert rows["follow"] == (96, 1152)
    assert (rows["own-accuracy"], rows["own-early"]) == ((48, 48), (48, 0))
