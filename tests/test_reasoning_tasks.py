"""The domain `reasoning` beyond its own tasks: all of the collection, levels, the held-out set, other scorers."""

from __future__ import annotations

import json

import pytest
from pfh.errors import UserError
from pfh.registry.options import fill
from pfh_domains.reasoning import Options, Reasoning
from pfh_domains.reasoning.tasks import COMPUTING, EXACT, TASKS, WITHOUT_REFERENCE, all_tasks


def boxed(*tasks: str, **options: object) -> Reasoning:
    return Reasoning(Options(tasks=tasks, answer_format="boxed", shots=1, small=True, **options))


@pytest.fixture(scope="module")
def countdown():
    domain = boxed("countdown", "puzzle24", time_limit=2.0)
    yield domain
    domain.close()


def test_every_task_of_the_collection_can_be_named():
    named = fill(Options, {"tasks": ",".join(f"rg:{task}" for task in all_tasks())}, "domain reasoning")
    assert named.tasks == all_tasks()
    assert len(all_tasks()) > 95
    assert set(TASKS) | set(COMPUTING) | EXACT <= set(all_tasks())
    with pytest.raises(UserError, match="Did you mean 'countdown'"):
        fill(Options, {"tasks": "rg:count_down"}, "domain reasoning")
    for task in WITHOUT_REFERENCE:
        with pytest.raises(UserError, match="without right answers"):
            fill(Options, {"tasks": task}, "domain reasoning")


@pytest.mark.parametrize("task", ["maze", "self_reference", "graph_color", "figlet_font"])
def test_other_tasks_keep_the_contract(task):
    domain = boxed(task)
    train = domain.problems("train", 6, seed=2)
    assert domain.problems("train", 3, seed=2) == train[:3]
    assert not {p.messages[-1]["content"] for p in train} & {
        p.messages[-1]["content"] for p in domain.problems("test", 2, seed=3)
    }
    for one in train:
        assert domain.verify(one, one.solution).reward == 1
        for nothing in ("", "\\boxed{}", one.messages[-1]["content"], "\\boxed{?}", "\\boxed{\x00}"):
            assert domain.verify(one, nothing).reward == 0
    domain.close()


def test_answers_of_several_lines_need_a_box():
    with pytest.raises(UserError, match="answer_format=boxed"):
        Reasoning(Options(tasks=("sudoku",), answer_format="line"))


def test_a_level_makes_problems_harder_and_keeps_own_settings():
    easy, hard = (boxed("gcd", level=level, difficulty={"gcd": {"max_numbers": 3}}) for level in (0, 3))
    assert easy.settings["gcd"]["max_value"] < hard.settings["gcd"]["max_value"]
    assert easy.settings["gcd"]["max_numbers"] == hard.settings["gcd"]["max_numbers"] == 3
    assert easy.version != hard.version
    with pytest.raises(UserError, match="acre has no levels"):
        boxed("acre", level=1)


def test_the_held_out_set_is_of_the_test_split_and_stays():
    domain = boxed("gcd", "lcm")
    held_out = {one.id for one in domain.holdout("test")}
    assert held_out == {one.id for one in boxed("gcd", "lcm").holdout("test")}
    assert not held_out & {one.id for seed in range(3) for one in domain.problems("train", 60, seed)}
    with pytest.raises(UserError, match="no held-out set 'gsm8k'"):
        domain.holdout("gsm8k")


def test_a_right_answer_that_is_not_the_reference_earns_one(countdown):
    one = next(one for one in countdown.problems("train", 6, seed=0) if one.environment == "rg:countdown")
    expression = json.loads(one.answer)["answer"]
    other = f"(({expression}))"
    assert countdown.verify(one, f"\\boxed{{{other}}}").reward == 1
    assert countdown.verify(one, f"\\boxed{{{expression} + 1}}").reward == 0


def test_scorers_that_compute_are_given_nothing_but_formulas(countdown, monkeypatch):
    asked = []
    monkeypatch.setattr(countdown._workers, "call_many", lambda items: asked.extend(items) or [None] * len(items))
    (one,) = countdown.problems("train", 1, seed=0)
    hostile = ["__import__('os').system('id')", "9**9**9**9", "exit()", "().__class__", "1;2", "x", "len([])"]
    for text in hostile:
        assert countdown.verify(one, f"\\boxed{{{text}}}").reward == 0
    assert asked == []
    assert countdown.verify(one, "\\boxed{1+1}").reward == 0
    assert len(asked) == 1
    formula = COMPUTING["simple_integration"]
    assert formula.fullmatch("3*x**2 + sin(x)*exp(2*x)/4 + C")
    for text in (*hostile[:1], *hostile[2:5], "sin.x", "x.y", "lambda: 0", "open(x)", "xx", "f'x'"):
        assert not formula.fullmatch(text)


def test_an_answer_that_takes_too_long_fails_alone():
    domain = boxed("simple_integration", time_limit=1.0)
    first, second = domain.problems("train", 2, seed=0)
    verdicts = domain.verify_many([first, second], ["\\boxed{9**9**9**9**9}", second.solution])
    assert [verdict.reward for verdict in verdicts] == [0, 1]
    domain.close()


def test_many_are_judged_as_one_by_one(countdown):
    problems = countdown.problems("train", 4, seed=0)
    texts = [problems[0].solution, "\\boxed{1+1}", "nothing", problems[3].solution]
    verdicts = countdown.verify_many(problems, texts)
    assert [verdict.reward for verdict in verdicts] == [1, 0, 0, 1]
    assert verdicts == [countdown.verify(one, text) for one, text in zip(problems, texts, strict=True)]
