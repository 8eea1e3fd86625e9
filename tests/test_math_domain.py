"""The math domain: problems, splits, final answers, rewards that have to be earned, workers that may get stuck."""

from __future__ import annotations

import gc
import json
import os
import time
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pfh.errors import DataUnavailableError, StepFailedError, UserError
from pfh.hooks.datasets import Dataset, Row
from pfh.hooks.domains import DomainSpec, GenerationSpec, Problem, Verdict
from pfh.kit.rollouts import single_turn
from pfh.kit.workers import Workers
from pfh.registry.options import fill
from pfh.sources.datasets import HubData
from pfh.testing import FakeEngine
from pfh_domains import math
from pfh_domains.math.extraction import LONGEST_ANSWER, extract_answer
from pfh_domains.math.prompts import EXAMPLES
from pfh_domains.math.readings import readings
from pfh_domains.math.settings import Options

SMALL = {"dataset": "Math12K", "answer_format": "line", "shots": 4}
HUB_ID = "axon-rl/MATH-12k/default/train"


class FakeData:
    """Datasets in memory, by hub id, configuration and split."""

    def __init__(self, rows: Mapping[str, list[Row]]) -> None:
        self.rows = rows

    def load(self, hub_id: str, config: str = "default", split: str = "test") -> Dataset:
        name = f"{hub_id}/{config}/{split}"
        if name not in self.rows:
            raise DataUnavailableError(f"{name} is not here")
        return Dataset(rows=tuple(self.rows[name]), fingerprint=f"{len(self.rows[name])}", origin="test")


def sums(count: int) -> list[Row]:
    return [{"problem": f"What is ${n}$ plus ${n + 1}$?", "answer": str(2 * n + 1)} for n in range(count)]


def domain(rows: list[Row] | None = None, **options: object) -> math.Math:
    return math.Math(Options(**SMALL | options), FakeData({HUB_ID: sums(60) if rows is None else rows}))


@pytest.fixture(scope="module")
def boxed():
    opened = domain(answer_format="boxed", time_limit=2.0)
    yield opened
    opened.close()


def problem(answer: str, statement: str = "How much is it?") -> Problem:
    return Problem(
        id=answer, environment="math:test", messages=({"role": "user", "content": statement},), answer=answer
    )


def reward(opened: math.Math, gold: str, answer: str, statement: str = "How much is it?") -> float:
    return opened.verify(problem(gold, statement), f"So it is \\boxed{{{answer}}}.").reward


def test_splits_are_disjoint_and_a_longer_list_begins_with_the_shorter():
    opened = domain(sums(60) + sums(10))
    train, test = opened.problems("train", 30, seed=3), opened.problems("test", 5, seed=3)
    assert not {p.id for p in train} & {p.id for p in test}
    assert len({p.messages[-1]["content"] for p in train}) == 30
    assert opened.problems("train", 10, seed=3) == train[:10]
    assert opened.problems("train", 10, seed=4) != train[:10]
    assert {p.environment for p in train} == {"math:Math12K"}


def test_rows_without_an_answer_and_long_ones_are_left_out():
    rows = [{"problem": "What?", "answer": None}, {"problem": "x" * 2000, "answer": "1"}]
    with pytest.raises(UserError, match="train split: 0 problems"):
        domain(rows).problems("train", 1, seed=0)


def test_the_version_follows_the_rows_and_the_options():
    versions = {domain().version, domain(sums(61)).version, domain(shots=1).version, domain().version}
    assert len(versions) == 3


@pytest.mark.parametrize("name", ["gsm8k", "math500", "minerva", "eval:MATH500", "math:minerva"])
def test_held_out_sets_cannot_be_trained_on(name):
    with pytest.raises(UserError, match="held out"):
        fill(Options, {"dataset": name}, "domain math")


def test_any_set_of_gems_registry_is_known_and_a_wrong_name_gets_the_nearest():
    options = fill(Options, {"dataset": "math:Orz57K"}, "domain math")
    (source,) = options.sources
    assert (source.hub_id, source.question, source.answer) == ("axon-rl/ORZ-57k", "problem", "answer")
    with pytest.raises(UserError, match="Did you mean 'Math12K'"):
        fill(Options, {"dataset": "Math12k"}, "domain math")
    with pytest.raises(UserError, match="no dataset 'Geometry3K'"):  # a set of pictures
        fill(Options, {"dataset": "Geometry3K"}, "domain math")


def test_gsm8k_is_taken_from_its_own_repository_where_gems_copy_is_missing():
    rows = [{"question": f"{n} and {n}?", "answer": f"Add: {n}+{n}=<<{n}+{n}=0>>0\n#### {2 * n:,}"} for n in range(600)]
    opened = math.Math(
        Options(dataset="GSM8K", answer_format="boxed", shots=4), FakeData({"openai/gsm8k/main/train": rows})
    )
    found = {p.answer: p for p in opened.problems("train", 400, seed=0)}
    assert "1,000" in found or "998" in found
    one = next(iter(found.values()))
    assert "<<" not in one.solution
    assert one.solution.endswith(f"\\boxed{{{one.answer}}}")
    assert one.solution.startswith("Add: ")


def test_the_worked_solutions_of_math_12k_are_joined_by_problem_where_the_prompts_ask_to_reason():
    worked = {"problem": "What is  $3$ plus $4$?", "solution": "Count on from 3: $3 + 4 = \\boxed{7}$."}
    rows = {HUB_ID: sums(60), "EleutherAI/hendrycks_math/algebra/train": [worked]}
    opened = math.Math(Options(dataset="Math12K"), FakeData(rows))
    solutions = {problem.answer: problem.solution for problem in opened.every_problem()}
    assert solutions["7"] == "Count on from 3: $3 + 4 = 7$.\n\\boxed{7}"
    assert solutions["9"] == "\\boxed{9}"
    assert opened.version != math.Math(Options(dataset="Math12K"), FakeData({HUB_ID: sums(60)})).version
    in_a_line = math.Math(Options(**SMALL), FakeData(rows))
    assert {problem.solution for problem in in_a_line.every_problem() if problem.answer == "7"} == {"$7$"}


def test_missing_data_says_where_was_looked():
    with pytest.raises(DataUnavailableError, match="MATH-12k"):
        math.Math(Options(**SMALL), FakeData({})).problems("train", 1, seed=0)


@pytest.mark.parametrize("answer_format", ["line", "boxed"])
def test_solutions_and_worked_examples_are_completions_that_would_earn_one(answer_format):
    opened = domain(answer_format=answer_format)
    for one in opened.problems("train", 20, seed=0):
        assert opened.verify(one, one.solution).reward == 1
        shown = [turn["content"] for turn in one.messages if turn["role"] == "assistant"]
        assert [extract_answer(text, answer_format) for text in shown] == [answer for _, _, answer in EXAMPLES]


def test_a_held_out_set_keeps_every_reference():
    rows = [
        {"problem": "Angle?", "answer": ["0.01\n", "1 \\times 10^{-2}\n"]},
        {"problem": "?", "answer": [" 2\n", "2"]},
    ]
    opened = math.Math(Options(**SMALL), FakeData({"axon-rl/math-eval/default/minerva": rows}))
    first, second = opened.holdout("minerva")
    assert (first.answer, second.answer) == ('["0.01", "1 \\\\times 10^{-2}"]', "2")
    assert [opened.verify(first, text).reward for text in ("0.01", "1e-2", "0.02")] == [1, 1, 0]


@pytest.mark.parametrize(
    ("completion", "answer_format", "expected"),
    [
        ("First 3. So \\boxed{5}.", "boxed", "5"),
        ("\\boxed{5} and again \\boxed{ 5 }", "boxed", "5"),
        ("\\boxed{\\frac{1}{2}}", "boxed", "\\frac{1}{2}"),
        ("\\boxed{\\{1, 2\\}}", "boxed", "\\{1, 2\\}"),
        ("\\boxed{$7$.}", "boxed", "7"),
        ("The answer is 5", "boxed", None),
        ("\\boxed{5} or \\boxed{6}", "boxed", None),
        ("\\boxed{\\boxed{5}}", "boxed", None),
        ("\\boxed{5", "boxed", None),
        ("\\boxed{5} and \\boxed{6", "boxed", None),
        ("\\boxed{}", "boxed", None),
        ("\\boxed{" + " " * 400 + "5}", "boxed", None),
        ("\\boxed{5" + " " * 400 + "6}", "boxed", None),
        ("5", "line", "5"),
        ("\n 5. \n", "line", "5"),
        ("$5$", "line", "5"),
        ("\\(x^2\\)", "line", "x^2"),
        ("5\n6", "line", None),
        ("", "line", None),
        (" \n", "line", None),
        ("9" * (LONGEST_ANSWER + 1), "line", None),
    ],
)
def test_one_final_answer_is_found_or_none(completion, answer_format, expected):
    assert extract_answer(completion, answer_format) == expected


def test_finding_the_answer_takes_linear_time():
    started = time.process_time()
    assert extract_answer("\\boxed{" * 150_000 + "5" + "}" * 150_000, "boxed") is None
    assert extract_answer("{" * 500_000 + "\\boxed{5}" + "}" * 500_000, "boxed") == "5"
    assert time.process_time() - started < 30


@pytest.mark.parametrize(
    ("gold", "answer"),
    [
        ("5", "x = 5"),
        ("x=5", "5"),
        ("5", "5 \\text{ cm}"),
        ("90^\\circ", "90"),
        ("\\$1500", "1500"),
        ("1000", "1,000"),
        ("10,\\!080", "10080"),
        ("-\\frac 32", "-1.5"),
        ("\\frac12", "\\dfrac{2}{4}"),
        ("4.5e33", "4.5 \\times 10^{33}"),
        ("\\text{Evelyn}", "evelyn"),
        ("\\text{(A)}", "A"),
        ("x^2-9", "(x-3)(x+3)"),
        ("3\\sqrt{2}", "\\sqrt{18}"),
        ("1 \\pm \\sqrt{19}", "1+\\sqrt{19}, 1-\\sqrt{19}"),
        ("2, 3, \\text{ and } 4", "4,3,2"),
        ("\\begin{pmatrix} 1 \\\\ 2 \\end{pmatrix}", "\\begin{pmatrix}1\\\\2\\end{pmatrix}"),
        ("(0,1]", "(0, 1]"),
        ("5^{12}", "244140625"),
    ],
)
def test_another_writing_of_the_answer_earns_one(boxed, gold, answer):
    assert reward(boxed, gold, answer) == 1


@pytest.mark.parametrize(
    ("gold", "answer"),
    [
        ("5", "5 or 6"),
        ("5", "5 \\text{ or } 6"),
        ("5", "5, 5"),
        ("5", "5;6"),
        ("5", "5\\quad 6"),
        ("5", "5 $ or $ 6"),
        ("5", "\\text{either } 5 \\text{ maybe } 6"),
        ("5", "5 \\text{ 6}"),
        ("5", "5 \\\\ 6"),
        ("3", "1 2"),
        ("6", "5 = 6"),
        ("5", "1=2=3=4=5"),
        ("5", "x = 4 = 5"),
        ("5", "5 \\pm 0"),
        ("5", "５"),
        ("25", "5²"),
        ("5", "\\boxed{5}"),
        ("0.05", "5 % 100"),
        ("156", "12 \\cdot 13"),
        ("13", "156/12"),
        ("120", "5!"),
        ("\\frac{\\sqrt{3}}{2}", "\\sin 60"),
        ("\\text{Evelyn}", "Enylev"),
        ("\\text{east}", "east or west"),
        ("(1,2)", "2,1"),
        ("(1,2)", "(2,1)"),
        ("(0,1)", "[0,1]"),
        ("\\frac{1}{3}", "0.333333"),
        ("m", "M"),
        ("x", "y"),
        ("\\infty", "\\infty \\infty"),
        ("1", "0.9999999999"),
    ],
)
def test_several_answers_and_unfinished_ones_earn_nothing(boxed, gold, answer):
    assert reward(boxed, gold, answer) == 0


FORMS = json.loads((Path(__file__).parent / "cases" / "math_forms.json").read_text())


def judged(opened: math.Math, forms: list[list[str]]) -> list[Verdict]:
    problems = [problem(gold) for gold, _ in forms]
    return opened.verify_many(problems, [f"So it is \\boxed{{{answer}}}." for _, answer in forms])


def test_evaluation_accepts_the_valid_forms_of_an_answer(boxed):
    forms = FORMS["valid"]
    assert len(forms) >= 203
    verdicts = judged(boxed, forms)
    refused = [form for form, verdict in zip(forms, verdicts, strict=True) if verdict.score != 1]
    assert len(refused) <= 0.03 * len(forms), refused
    assert all(verdict.score == 1 for verdict in verdicts if verdict.reward == 1)


def test_neither_reward_nor_score_accepts_the_wrong_forms(boxed):
    forms = FORMS["wrong"]
    assert len(forms) >= 70
    verdicts = judged(boxed, forms)
    assert [form for form, verdict in zip(forms, verdicts, strict=True) if verdict.reward] == []
    assert sum(verdict.score for verdict in verdicts) <= 2


@pytest.mark.parametrize(
    ("completion", "gold"),
    [
        ("I put it in \\boxed{}. It is \\boxed{5}.", "5"),
        ("\\boxed{0.5}, that is \\boxed{\\frac12}", "0.5"),
        ("First \\boxed{4}.\n\nThe solutions are \\boxed{2} and \\boxed{3}.", "2,3"),
        ("\\boxed 5", "5"),
        ("The answer is 5.", "5"),
        ("**Answer:** 5", "5"),
        ("2 + 3 = 5\n#### 5", "5"),
        (": 5", "5"),
        ("So Tom pays 12 dollars in all.", "12"),
        ("<think>\\boxed{7}? No.</think>\\boxed{5} \\boxed{5}", "5"),
    ],
)
def test_evaluation_finds_an_answer_in_another_form(boxed, completion, gold):
    verdict = boxed.verify(problem(gold), completion)
    assert verdict.score == verdict.counted == 1
    assert verdict.format_failure == (verdict.reward == 0)


@pytest.mark.parametrize(
    ("completion", "gold"),
    [("\\boxed{5} \\boxed{6}", "5"), ("It is 5 or 6.", "6"), ("<think>\\boxed{5}", "5"), ("not 5", "5"), ("5\n6", "5")],
)
def test_evaluation_takes_the_last_answer_and_no_alternatives(boxed, completion, gold):
    assert boxed.verify(problem(gold), completion).counted == 0


@pytest.mark.parametrize("text", ["5 " + "a" * 290 + "!", "5 " + "a " * 140 + "!", "\\text{" + "m^2" * 90, "x=" * 149])
def test_reading_an_answer_in_other_ways_takes_linear_time(text):
    started = time.process_time()
    readings("5", text, "x" * 1000)
    assert time.process_time() - started < 1


def test_an_expression_copied_from_the_problem_earns_nothing(boxed):
    statement = "Expand $(x+1)^2$ and give $\\frac{2}{4}$ in lowest terms."
    assert reward(boxed, "x^2+2x+1", "(x+1)^2", statement) == 0
    assert reward(boxed, "x^2+2x+1", "1+2x+x^2", statement) == 1
    assert reward(boxed, "\\frac{1}{2}", "\\frac{2}{4}", statement) == 0


@pytest.mark.parametrize("answer", ["9^9^9^9", "9^{9^{9^9}}", "x^{999999999}", "10000000!", "((((9!)!)!)!)!"])
def test_huge_numbers_are_not_computed(boxed, answer):
    assert reward(boxed, "x^2", answer) == 0


@pytest.mark.parametrize("nest", ["(", "\\frac{1}{", "\\sqrt{", "{", "\\left(", "-"])
def test_deep_nesting_neither_hangs_nor_earns(boxed, nest):
    close = {"(": ")", "\\left(": "\\right)", "-": ""}.get(nest, "}")
    assert reward(boxed, "x^2", nest * 30 + "x" + close * 30) == 0


def test_many_are_judged_as_one_by_one_and_in_order(boxed):
    golds, answers = ["x^2", "5", "y+1", "7"], ["x \\cdot x", "5", "1+y", "8"]
    problems, texts = [problem(gold) for gold in golds], [f"\\boxed{{{answer}}}" for answer in answers]
    verdicts = boxed.verify_many(problems, texts)
    assert [verdict.reward for verdict in verdicts] == [1, 1, 1, 0]
    assert verdicts == [boxed.verify(one, text) for one, text in zip(problems, texts, strict=True)]


def test_rollouts_are_judged(boxed):
    (one,) = boxed.problems("train", 1, seed=0)
    engine = FakeEngine(answers=[one.solution, "\\boxed{no}", "none"])
    spec = GenerationSpec(domain=boxed, engine=engine, problems=[one], samples=3, sampling=boxed.sampling)
    assert [rollout.verdict.reward for rollout in single_turn(spec).rollouts] == [1, 0, 0]


def test_a_stuck_item_fails_alone_and_its_worker_is_replaced():
    workers = Workers("time:sleep", cpu_seconds=60)
    assert workers._idle == []  # nothing runs before it is asked
    workers._wall_seconds = 1.0
    assert workers.call_many([[30], [0], [0]]) == [None, None, None]  # sleep returns None, which is no verdict
    workers.close()
    burning = Workers("builtins:eval", cpu_seconds=0.5)
    assert burning.call_many([["2+2"], ["9**9**9**9"], ["2+3"], ["1/0"], ["[0]*10**12"], ["2+4"]]) == [
        4,
        None,
        5,
        None,
        None,
        6,
    ]
    burning.close()


def test_workers_end_with_their_owner():
    workers = Workers("builtins:len", cpu_seconds=5)
    assert workers.call("four") == 4
    process = workers._idle[0]._process
    del workers
    gc.collect()
    assert process.poll() is not None


def test_a_worker_that_cannot_start_stops_the_run(capfd):
    with pytest.raises(StepFailedError, match="did not start"):
        Workers("pfh_domains.nothing:here", cpu_seconds=1).call(1)
    assert "pfh_domains.nothing" in capfd.readouterr().err


ALPHABET = st.sampled_from(
    ["5", "6", "0", "x", " ", ",", ";", "=", "+", "-", "*", "^", "/", "(", ")", "[", "]", "{", "}", "|", "!", "%", "$",
     "\\frac", "\\sqrt", "\\text{", "\\boxed{", "\\pm", "\\cdot", "\\quad", "\\\\", "\\begin{pmatrix}", "or", "and",
     "５", "²", "٣", "\u202e", "\x00", "\ud800", "<b>", "\\input{/etc/passwd}", "__import__('os')", "9^9^9^9", "\n"]
)  # fmt: skip


@settings(max_examples=300, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(
    st.lists(ALPHABET, min_size=1, max_size=12).map("".join), st.sampled_from(["\\boxed{%s}", "%s", "so \\boxed{%s"])
)
def test_odd_answers_never_raise_and_never_earn(boxed, inner, around):
    """The reference is an answer that the alphabet cannot write, so whatever earns is undeserved."""
    verdict = boxed.verify(problem("-\\frac{17}{31}"), around.replace("%s", inner))
    assert verdict.reward == 0


def test_a_completion_of_a_megabyte_is_no_answer(boxed):
    for text in ("5" * 10**6, "\\boxed{" + "5" * 10**6 + "}", "}" * 10**6, "$" * 10**6, "\\" * 10**6):
        assert boxed.verify(problem("5"), text).counted == 0


@pytest.mark.skipif("PFH_DATA_MIRROR" not in os.environ, reason="PFH_DATA_MIRROR is not set")
def test_gold_answers_of_the_mirror_earn_one():
    opened = math.open_domain(DomainSpec(options=Options(answer_format="boxed"), data=HubData()))
    problems = [*opened.problems("train", 200, seed=0), *(p for name in opened.holdouts for p in opened.holdout(name))]
    verdicts = opened.verify_many(problems, [one.solution for one in problems])
    assert sum(verdict.reward for verdict in verdicts) >= 0.995 * len(problems)
