"""The domain `reasoning`: problems by seed, and a verifier that nothing but the right answer gets past."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pfh.errors import UserError
from pfh.registry.options import fill
from pfh_domains.reasoning import DEFAULT_TASKS, TASKS, Options, Reasoning, extract_answer

SMALL = {"answer_format": "line", "shots": 2, "small": True}


@pytest.fixture(scope="module")
def domain() -> Reasoning:
    return Reasoning(Options(**SMALL))


@pytest.fixture(scope="module")
def each_task() -> dict[str, Reasoning]:
    return {task: Reasoning(Options(tasks=(task,), **SMALL)) for task in TASKS}


def question(problem) -> str:
    return problem.messages[-1]["content"]


def test_a_longer_list_begins_with_the_shorter(domain):
    assert domain.problems("train", 40, seed=3)[:15] == domain.problems("train", 15, seed=3)


def test_the_seed_decides_the_problems_and_nothing_else_does(domain):
    random.seed(1)
    first = domain.problems("train", 12, seed=5)
    random.seed(2)
    assert Reasoning(Options(**SMALL)).problems("train", 12, seed=5) == first
    assert domain.problems("train", 12, seed=6) != first


def test_train_and_test_share_no_question_whatever_the_seeds(domain):
    train = {question(problem) for seed in range(4) for problem in domain.problems("train", 60, seed)}
    test = {question(problem) for seed in range(4) for problem in domain.problems("test", 30, seed)}
    shown = {turn["content"] for problem in domain.problems("train", 60, 0) for turn in problem.messages[:-1]}
    assert len(train) > 60
    assert len(test) > 20
    assert not train & test
    assert not shown & (train | test)


def test_the_problems_of_a_list_differ_and_the_tasks_take_turns(domain):
    problems = domain.problems("train", 40, seed=0)
    assert len({problem.id for problem in problems}) == 40
    environments = [f"rg:{task}" for task in DEFAULT_TASKS]
    assert [problem.environment for problem in problems[: len(environments)]] == environments
    counts = [sum(problem.environment == environment for problem in problems) for environment in environments]
    assert max(counts) - min(counts) <= 1


def test_worked_examples_are_earlier_turns_with_different_answers():
    (problem,) = Reasoning(Options(tasks=("gcd",), **SMALL | {"shots": 3})).problems("train", 1, 0)
    assert [turn["role"] for turn in problem.messages] == ["user", "assistant"] * 3 + ["user"]
    assert len({turn["content"] for turn in problem.messages if turn["role"] == "assistant"}) == 3


def test_more_problems_than_there_are_is_the_users_mistake():
    with pytest.raises(UserError, match="has only"):
        Reasoning(Options(tasks=("count_bits",), difficulty={"count_bits": {"max_n": 9}}, **SMALL)).problems(
            "train", 50, 0
        )


@pytest.mark.parametrize("task", TASKS)
def test_the_right_answer_earns_one_and_adversarial_ones_nothing(task, each_task):
    domain = each_task[task]
    options = TASKS[task].choices
    for problem in domain.problems("train", 4, seed=0):
        for right in (problem.answer, f"  {problem.answer}.\n", f"<answer>{problem.answer}</answer>"):
            assert domain.verify(problem, right).reward == 1
        asked = question(problem)
        wrong = [
            "",
            " \n\t",
            "...",
            "?!,;",
            "\x00",
            asked,
            "".join(turn["content"] for turn in problem.messages),
            "\n".join(f"{turn['role']}: {turn['content']}" for turn in problem.messages),
            "\\boxed{}",
            "\\boxed{" * 10_000,
            "<answer></answer>",
            "</answer><answer>" * 5_000,
            f"The answer is {problem.answer}, or not.",
            " ".join(options or [str(number) for number in range(100)]),
            "\n".join(options) if options else ", ".join(str(number) for number in range(100)),
            "\n".join(reversed(options)) if options else "0 or 1 or 2",
            problem.answer * 40 + "!",
            "9" * 100_000,
            f"{problem.answer} " * (100_000 // (len(problem.answer) + 1)),
            "1e999999999",
            "NaN",
            "×".join(["3"] * 30_000),
        ]
        for completion in wrong:
            assert domain.verify(problem, completion).reward == 0, completion[:80]


@pytest.mark.parametrize("task", TASKS)
@settings(max_examples=30, deadline=None)
@given(completion=st.text(max_size=300))
def test_the_verifier_never_raises_and_gives_all_or_nothing(task, each_task, completion):
    problem = each_task[task].problems("train", 1, seed=0)[0]
    assert each_task[task].verify(problem, completion).reward in (0.0, 1.0)


def test_partial_credit_of_reasoning_gym_is_not_given(each_task):
    import reasoning_gym

    problem = next(
        one for one in each_task["prime_factorization"].problems("train", 20, 0) if one.answer.count("×") == 1
    )
    first, second = (int(factor) for factor in problem.answer.split("×"))
    product_alone = str(first * second)
    scorer = reasoning_gym.create_dataset("prime_factorization", size=1, seed=0)
    assert scorer.score_answer(product_alone, {"answer": problem.answer}) == 0.5
    assert each_task["prime_factorization"].verify(problem, product_alone).reward == 0


@pytest.mark.parametrize("task", TASKS)
def test_problems_are_those_of_gems_environment(task):
    gem = pytest.importorskip("gem.envs.registration")
    domain = Reasoning(Options(tasks=(task,), **SMALL))
    generator = domain._generator(task, 0)
    environment = gem.make(f"rg:{task}", size=5, seed=generator.seed).unwrapped
    plain = type(generator)(type(generator.config)(seed=generator.seed, size=5))
    assert [environment.ds[index] for index in range(5)] == [plain[index] for index in range(5)]


@pytest.mark.parametrize(
    ("completion", "answer"),
    [
        ("12", "12"),
        ("\n 12. \nbecause", "12"),
        ("so \\boxed{\\frac{1}{2}} and then", "\\frac{1}{2}"),
        ("\\boxed{1} no, \\boxed{2}", "2"),
        ("<answer> 7 </answer>", "7"),
        ("", None),
        ("x" * 201, None),
    ],
)
def test_extraction_from_a_line(completion, answer):
    assert extract_answer(completion) == answer


def test_boxed_answers_are_asked_for_shown_and_needed():
    domain = Reasoning(Options(tasks=("gcd",), answer_format="boxed", shots=1, small=True))
    problem = domain.problems("train", 1, 0)[0]
    assert "\\boxed{}" in question(problem)
    assert problem.messages[1]["content"].startswith("\\boxed{")
    assert domain.verify(problem, f"Let me think.\nIt is \\boxed{{{problem.answer}}}.").reward == 1
    bare = domain.verify(problem, problem.answer)
    assert (bare.reward, bare.counted, bare.format_failure) == (0, 1, True)
    assert domain.sampling.stop == ()


def test_naming_two_choices_is_no_answer():
    assert extract_answer("Yes\nNo", choices=("Yes", "No")) is None
    assert extract_answer("yes", choices=("Yes", "No")) == "yes"
    assert extract_answer("Yes, I know", choices=("Yes", "No")) == "Yes, I know"


def test_the_version_follows_what_decides_problems_and_rewards():
    versions = [
        Reasoning(Options(**SMALL | changes)).version
        for changes in (
            {},
            {"tasks": ("gcd",)},
            {"tasks": ("gcd",), "difficulty": {"gcd": {"max_value": 9}}},
            {"shots": 1},
            {"answer_format": "boxed"},
        )
    ]
    assert len(set(versions)) == len(versions)
    assert Reasoning(Options(temperature=0.7, **SMALL)).version == versions[0]


def test_options_from_the_command_line():
    chosen = fill(Options, {"tasks": "rg:gcd,lcm", "difficulty": '{"gcd": {"max_value": 9}}'}, "domains:reasoning")
    assert chosen.tasks == ("gcd", "lcm")
    assert chosen.difficulty == {"gcd": {"max_value": 9}}
    with pytest.raises(UserError, match="Did you mean 'gcd'"):
        fill(Options, {"tasks": "gdc"}, "domains:reasoning")
    with pytest.raises(UserError, match="not JSON"):
        fill(Options, {"difficulty": "{gcd"}, "domains:reasoning")
    with pytest.raises(UserError, match="does not suit gcd"):
        Reasoning(Options(tasks=("gcd",), difficulty={"gcd": {"max_valeu": 9}})).problems("train", 1, 0)
    with pytest.raises(UserError, match="not among the tasks"):
        Reasoning(Options(tasks=("gcd",), difficulty={"lcm": {}}))


@pytest.mark.parametrize(
    "said", ["The answer is {}.", "Let me see.\n\nAnswer: **{}**", "<think>no</think>The answer is {}"]
)
def test_evaluation_finds_an_answer_in_a_sentence_that_earns_no_reward(said: str) -> None:
    domain = Reasoning(Options(tasks=("count_bits", "gcd")))
    problem = domain.problems("train", 1, seed=0)[0]
    verdict = domain.verify(problem, said.format(problem.answer))
    assert (verdict.reward, verdict.counted, verdict.format_failure) == (0, 1, True)
    other = domain.verify(problem, said.format("99999"))
    assert (other.reward, other.counted) == (0, 0)
    assert domain.verify(problem, f"The answer is {problem.answer} or 1000.").counted == 0
