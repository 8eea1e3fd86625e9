"""The code domain: problems, splits, programs in completions, rewards that have to be earned, held-out sets."""

# ruff: noqa: E501 - a hostile program is easier to read on one line

from __future__ import annotations

import base64
import json
import os
import pickle
import zlib
from collections.abc import Mapping
from types import SimpleNamespace

import pytest
from pfh.errors import DataUnavailableError, UserError
from pfh.hooks.datasets import Dataset, Row
from pfh.hooks.domains import DomainSpec, GenerationSpec, Problem
from pfh.kit.rollouts import single_turn
from pfh.registry.options import fill
from pfh.sandbox import available
from pfh.sources.datasets import HubData
from pfh.testing import FakeEngine
from pfh_domains import code
from pfh_domains.code.extraction import extract_program
from pfh_domains.code.holdouts import load_holdout
from pfh_domains.code.parsing import finished_part
from pfh_domains.code.settings import Options
from pfh_domains.code.variants import Variants, same_output, variants_of
from pfh_methods import privileged

needs_sandbox = pytest.mark.skipif(available() != "", reason=available())

DOUBLE = {"inputs": ["4\n", "11\n", "-3\n"], "outputs": ["8\n", "22 \n", "-6"]}


class FakeData:
    """Datasets in memory, by hub id, configuration and split."""

    def __init__(self, rows: Mapping[str, list[Row]]) -> None:
        self.rows = rows

    def load(self, hub_id: str, config: str = "default", split: str = "test") -> Dataset:
        name = f"{hub_id}/{config}/{split}"
        if name not in self.rows:
            raise DataUnavailableError(f"{name} is not here")
        return Dataset(rows=tuple(self.rows[name]), fingerprint=f"{len(self.rows[name])}", origin="test")


def contests(count: int, tests: object = DOUBLE) -> list[Row]:
    return [{"problem": f"Print twice the number, variant {n}.", "tests": json.dumps(tests)} for n in range(count)]


def domain(rows: list[Row], split: str = "train", **options: object) -> code.Code:
    return code.Code(
        Options(dataset="CodeContest", **options), FakeData({f"axon-rl/CodeContest/default/{split}": rows})
    )


def doubling() -> tuple[code.Code, Problem]:
    opened = domain(contests(30), time_limit=0.5)
    return opened, opened.problems("train", 1, seed=0)[0]


def fenced(program: str) -> str:
    return f"Here is the program.\n```python\n{program}\n```\nIt reads a number."


def test_splits_are_disjoint_and_a_longer_list_begins_with_the_shorter():
    opened = domain([*contests(60), *contests(10)])
    train, test = opened.problems("train", 30, seed=3), opened.problems("test", 5, seed=3)
    assert not {p.id for p in train} & {p.id for p in test}
    assert len({p.messages[0]["content"] for p in train}) == 30
    assert opened.problems("train", 10, seed=3) == train[:10]
    assert opened.problems("train", 10, seed=4) != train[:10]
    assert {p.environment for p in train} == {"code:CodeContest"}


def test_a_set_with_only_a_test_split_is_used():
    assert len(domain(contests(30), split="test").problems("train", 5, seed=0)) == 5


@pytest.mark.parametrize(
    "tests",
    [
        {"inputs": ["1"], "outputs": ["2"]},
        {"inputs": ["1", "2"], "outputs": ["YES", "YES\n"]},
        {"inputs": ["1", "2"], "outputs": ["", "\n"]},
        {"inputs": [[1], [2]], "outputs": [[2], [4]], "fn_name": "double"},
        [{"input": "1", "output": "2"}],
    ],
)
def test_tests_that_cannot_tell_right_from_wrong_leave_a_problem_out(tests: object):
    with pytest.raises(UserError, match=r"has 0 train problems .* min_tests"):
        domain(contests(30, tests)).problems("train", 1, seed=0)


def test_the_longest_inputs_are_kept_and_lines_are_joined():
    tests = {"inputs": ["1", ["10", "20"], "300"], "outputs": ["1", ["2", "3"], "4"]}
    problem = domain(contests(30, tests), max_tests=2).problems("train", 1, seed=0)[0]
    assert json.loads(problem.answer) == {"kind": "stdin", "inputs": ["10\n20", "300"], "outputs": ["2\n3", "4"]}


def test_the_version_follows_the_rows_and_the_options():
    assert domain(contests(30)).version == domain(contests(30)).version
    assert (
        len({domain(contests(30)).version, domain(contests(31)).version, domain(contests(30), max_tests=3).version})
        == 3
    )


@pytest.mark.parametrize("name", ["humaneval", "mbpp", "MBPP", "livecodebench", "HumanEval"])
def test_held_out_sets_cannot_be_trained_on(name: str):
    with pytest.raises(UserError, match="held out"):
        fill(Options, {"dataset": name}, "domain code")


def mbpp_rows(count: int) -> list[Row]:
    return [
        {
            "task_id": n,
            "text": f"Write a function that adds {n}.",
            "code": f"def add_{n}(number):\r\n    return number + {n}",
            "test_list": [f"assert add_{n}(3) == {n + 3}", f"assert add_{n}(-{n}) == 0"],
            "test_setup_code": "",
            "challenge_test_list": [f"assert add_{n}(0) == {n}"],
        }
        for n in range(count)
    ]


@needs_sandbox
def test_the_training_split_of_mbpp_has_solutions_that_earn_one():
    data = FakeData({"google-research-datasets/mbpp/full/train": mbpp_rows(20)})
    opened = code.Code(Options(dataset="MBPP-train"), data)
    train, test = opened.problems("train", 12, seed=0), opened.problems("test", 1, seed=0)
    assert len({problem.id for problem in (*train, *test)}) == 13
    assert {problem.environment for problem in train} == {"mbpp-train"}
    asked = train[0].messages[-1]["content"]
    assert asked.count("assert add_") == 1
    solution = opened.gold(train[0])
    assert solution == train[0].solution
    assert [opened.verify(train[place], solution).reward for place in (0, 1)] == [1, 0]
    shown = asked.partition("assert ")[2].partition("\n")[0]
    name, _, wanted = shown.partition("(3) == ")
    from_the_prompt = fenced(f"def {name}(number):\n    return {wanted}")
    assert opened.verify(train[0], from_the_prompt).reward == 0
    assert opened.version != code.Code(Options(dataset="MBPP-train", time_limit=1), data).version


def test_functions_whose_tests_want_one_value_are_left_out():
    rows = [
        {**row, "test_list": [f"assert add_{n}(0) == 1", f"assert add_{n}(1) == 1"], "challenge_test_list": []}
        for n, row in enumerate(mbpp_rows(20))
    ]
    data = FakeData({"google-research-datasets/mbpp/full/train": rows})
    with pytest.raises(UserError, match="has 0 train problems"):
        code.Code(Options(dataset="MBPP-train"), data).problems("train", 1, seed=0)
    assert code.Code(Options(dataset="MBPP-train", varied_outputs=False), data).problems("train", 1, seed=0)


def test_the_test_split_of_mbpp_never_stands_in_for_the_training_split():
    data = FakeData({"google-research-datasets/mbpp/full/test": mbpp_rows(20)})
    with pytest.raises(DataUnavailableError, match="mbpp/full/train"):
        code.Code(Options(dataset="MBPP-train"), data).problems("train", 1, seed=0)


def test_an_unknown_dataset_names_the_nearest():
    with pytest.raises(UserError, match="Did you mean 'CodeContest'"):
        fill(Options, {"dataset": "CodeContests"}, "domain code")


def test_missing_data_says_where_was_looked():
    opened = code.Code(Options(dataset="code:Taco8k"), FakeData({}))
    with pytest.raises(DataUnavailableError, match="TACO-8k"):
        opened.problems("train", 1, seed=0)
    for name in opened.holdouts:
        with pytest.raises(DataUnavailableError):
            opened.holdout(name)


@pytest.mark.parametrize(
    ("completion", "program"),
    [
        ("```python\na = 1\n```", "a = 1\n"),
        ("```\na = 1\n```", "a = 1\n"),
        ("one:\n```python\na = 1\n```\ntwo:\n```py\na = 2\n```", "a = 2\n"),
        ("```python\na = 1\n```\nRun it:\n```bash\npython a.py\n```", "a = 1\n"),
        ("```python\nwhile True:\n    pass", "while True:\n    pass\n"),
        ("import sys\nprint(1)", "import sys\nprint(1)"),
        ("print(1)", "print(1)"),
        ("The answer is 42.", None),
        ("", None),
        ("   \n", None),
        ("```python\n```", None),
        ("```bash\nls\n```", None),
        ("```" * 300_000, None),
        ("~~~python\na = 1\n~~~", "a = 1\n"),
        ("1. So:\n   ```python\n   import sys\n   a = 1\n   ```", "import sys\na = 1\n"),
        ("```python\na = 1\n```\nOutput:\n```\n5\n```", "a = 1\n"),
        ("```\ndef f(): pass\n```\nOutput:\n```\n5\n```", "def f(): pass\n"),
        ('```python title="x"\na = 1\n```', "a = 1\n"),
        ("    import sys\n    print(1)", "import sys\nprint(1)"),
        ("?!.", None),
    ],
)
def test_extracts_the_program(completion: str, program: str | None):
    assert extract_program(completion) == program


def test_extracts_the_function_that_was_asked_for():
    blocks = "```python\ndef f(x):\n    return x\n```\n```python\nprint(f(3))\n```"
    assert extract_program(blocks, entry_point="f") == "def f(x):\n    return x\n"
    prompt = 'def f(x):\n    """Return x."""\n'
    assert extract_program("    return x\n", prompt, "f") == prompt + "    return x\n"
    assert extract_program("```python\n    return x\n```", prompt, "f") == prompt + "    return x\n"


def test_helpers_of_earlier_blocks_come_along_and_prose_behind_a_body_does_not():
    helped = "```python\ndef g(x): return x\n```\nand\n```python\ndef f(x): return g(x)\n```"
    assert extract_program(helped, entry_point="f") == "def g(x): return x\ndef f(x): return g(x)\n"
    again = "```python\ndef f(x): return 1\n```\nbetter:\n```python\ndef f(x): return 2\n```"
    assert extract_program(again, entry_point="f") == "def f(x): return 2\n"
    assert extract_program("    return x\n\n\nThis returns x.\n", "def f(x):\n", "f") == "def f(x):\n    return x\n\n\n"


def test_what_was_finished_before_the_cut_is_kept():
    assert finished_part("def f(x):\n    return x\n\n\ndef g(y):\n    if y ==") == "def f(x):\n    return x\n\n\n"
    assert finished_part("a = 1\nThen we are done.") == "a = 1\n"
    assert finished_part("def f(:") == "def f(:"
    assert finished_part("a = 1") == "a = 1"


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        ("Print YES or NO. You can print each letter in any case.", Variants(any_case=True)),
        ('Output "yes" (case insensitive).', Variants(any_case=True)),
        ("The absolute or relative error must not exceed $10^{-4}$.", Variants(tolerance=1e-4)),
        ("Your answer is right if its error does not exceed 1e-9.", Variants(tolerance=1e-9)),
        ("If there are multiple answers, print any of them.", Variants(any_answer=True)),
        ("Print the numbers in any order.", Variants(any_answer=True, any_order=True)),
        ("If there are multiple answers, print the lexicographically smallest one.", Variants()),
        ("In one move he may choose two piles. Print the least number of moves.", Variants()),
    ],
)
def test_what_a_statement_says_of_outputs_that_vary(statement, expected):
    assert variants_of(statement) == expected


def test_outputs_are_compared_as_the_statement_allows():
    assert same_output(["Yes"], ["YES"], any_case=True, tolerance=0)
    assert not same_output(["Yes"], ["YES"], any_case=False, tolerance=0)
    assert same_output(["0.3333333 2"], ["0.33333334 2"], any_case=False, tolerance=1e-6)
    for wrong in ("0.3334 2", "0.3333333", "nan 2", "inf 2", "0x1 2"):
        assert not same_output([wrong], ["0.33333334 2"], any_case=False, tolerance=1e-6)


def test_contests_with_several_right_outputs_are_left_out_and_others_get_a_checker():
    told = "Print twice the number. If there are several answers, print any of them. Variant"
    with pytest.raises(UserError, match="has 0 train problems"):
        domain([row | {"problem": f"{told} {n}."} for n, row in enumerate(contests(30))]).problems("train", 1, seed=0)
    rows = [row | {"problem": f"Print it in any case, variant {n}."} for n, row in enumerate(contests(30))]
    assert json.loads(domain(rows).problems("train", 1, seed=0)[0].answer)["any_case"] is True


def test_a_table_of_outputs_is_for_the_self_test_alone():
    opened, problem = doubling()
    assert opened.gold(problem) is None
    aid = opened.test_aid(problem)
    assert not isinstance(aid, str)
    assert "22 " in aid.completion
    with pytest.raises(UserError, match="none of the 1 problems"):
        privileged._informed(
            SimpleNamespace(options=SimpleNamespace(information="solution"), problems=[problem], domain=opened), "opsd"
        )


OWN = [
    ('def half(x):\n    """Return half."""\n', "    return x/2\n\n\nThis halves it.\n", "assert half(4) == 2"),
    ("def half(x): ...", "    return x/2\n\n\ndef other(y):\n    if y ==", "assert half(4) == 2"),
    ("Halve.", "```python\ndef g(x): return x/2\n```\nand\n```python\ndef half(x): return g(x)\n```", "half(3) == 1.5"),
    ("Twice.", fenced("class Solution:\n    def f(self, a: List[int]) -> List[int]:\n        return [2*x for x in a]"), "f([1]) == [2]"),
    ("Twice.", fenced("class Solution:\n    def f(self, a):\n        return tuple(2*x for x in a)"), "assert Solution().f([1]) == [2]"),
    ("Twice.", fenced("import numpy as np\ndef f(a): return 2*np.array(a)"), '{"fn_name": "f", "inputs": [[[1]]], "outputs": [[2]]}'),
    ("Two.", fenced("import numpy as np\ndef f(): return np.int64(2)"), "assert f() == 2"),
    ("Half.", fenced("from fractions import Fraction\ndef f(): return Fraction(1, 2)"), "assert f() == 0.5"),
    ("In any order.", fenced("def f(): return [2, 1]"), "f() == [1, 2]"),
    ("Say YES in any case.", fenced("print('yes')"), '{"inputs": ["1"], "outputs": ["YES"]}'),
    ("Turn.", fenced("class Solution:\n    def f(self, head):\n        return head.next"),
     "def check(candidate):\n    assert is_same_list(candidate(list_node([1, 2])), list_node([2]))\ncheck(Solution().f)"),
]  # fmt: skip


@needs_sandbox
@pytest.mark.parametrize(("prompt", "completion", "answer"), OWN)
def test_tests_of_a_users_own_are_run(prompt: str, completion: str, answer: str):
    opened = code.Code(Options(), FakeData({}))
    assert opened.verify(opened.own_problem(prompt, [answer]), completion).reward == 1
    assert (
        opened.verify(
            opened.own_problem(prompt, [answer]),
            fenced("class Solution:\n    def f(self, *a): return 7\nhalf = f = Solution().f"),
        ).reward
        == 0
    )


@pytest.mark.parametrize("answer", ["the result", "1 + 1", "[]", '{"inputs": [], "outputs": []}'])
def test_an_answer_that_is_no_test_is_refused(answer: str):
    with pytest.raises(ValueError, match=r"answer"):
        code.Code(Options(), FakeData({})).own_problem("Do it.", [answer])


@needs_sandbox
@pytest.mark.skipif("PFH_DATA_MIRROR" not in os.environ, reason="PFH_DATA_MIRROR is not set")
def test_reference_programs_of_a_functional_benchmark_pass():
    opened = code.Code(Options(), FakeData({}))
    rows = HubData().load("agentica-org/rllm-leetcode", "default", "train").rows[:100]
    problems = [opened.own_problem(row["problem"], [row["tests"]]) for row in rows]
    verdicts = opened.verify_many(problems, [fenced(row["solutions"]) for row in rows])
    assert sum(verdict.reward for verdict in verdicts) >= 95


@needs_sandbox
def test_a_right_program_earns_the_reward():
    opened, problem = doubling()
    verdict = opened.verify(problem, fenced("print(2 * int(input()))"))
    assert (verdict.reward, verdict.extracted) == (1.0, "print(2 * int(input()))\n")


@needs_sandbox
def test_a_program_without_its_imports_is_helped_out_as_in_gem():
    opened, problem = doubling()
    assert opened.verify(problem, fenced("print(math.prod((2, int(sys.stdin.read()))))")).reward == 1.0
    assert opened.verify(problem, fenced("print(2 * int(input()) + missing)")).reward == 0.0


UNDESERVED = {
    "nothing": "pass",
    "one answer": "print(8)",
    "every answer": "print(8)\nprint(22)\nprint(-6)",
    "right, then crashes": "print(2 * int(input()))\nraise ValueError",
    "right, then killed": "print(2 * int(input()), flush=True)\nimport os\nos.abort()",
    "right, then hangs": "print(2 * int(input()), flush=True)\nwhile True: pass",
    "right, then much more": "print(2 * int(input()), flush=True)\nwhile True: print()",
    "exits early": "import sys\nsys.exit(0)",
    "exits at once": "import os\nos._exit(0)",
    "remembers earlier runs": (
        "import os\nn = len(os.listdir('.'))\nopen(str(n), 'w').close()\nprint([8, 22, -6][n % 3] if n > 5 else 0)"
    ),
    "forks": "import os\nif os.fork(): os.wait()\nprint(2 * int(open('/dev/stdin').read()))",
    "writes to the harness": "import os\nfor n in range(3, 64):\n  try: os.write(n, b'{\"status\": \"ok\"}')\n  except OSError: pass",
    "echo of the prompt": "Print twice the number, variant 3.",
}  # fmt: skip


@needs_sandbox
@pytest.mark.parametrize("name", UNDESERVED)
def test_no_reward_is_undeserved(name: str):
    opened, problem = doubling()
    assert opened.verify(problem, fenced(UNDESERVED[name])).reward == 0.0


@needs_sandbox
def test_many_are_judged_in_order():
    opened, problem = doubling()
    right, wrong = fenced("print(2 * int(input()))"), fenced("print(int(input()))")
    verdicts = opened.verify_many([problem] * 5, [right, wrong, fenced("while True: pass"), "no program", right])
    assert [verdict.reward for verdict in verdicts] == [1.0, 0.0, 0.0, 0.0, 1.0]
    assert verdicts[3].extracted is None


HUMANEVAL_ROW = {
    "task_id": "Invented/0",
    "prompt": 'def half(x):\n    return x / 2\n\n\ndef third(x):\n    """Return a third of x.\n    >>> third(9)\n    3.0\n    """\n',
    "canonical_solution": "    return x / 3\n",
    "test": "def check(candidate):\n    assert candidate(6) == 2\n    assert candidate(half(6)) == 1\n",
    "entry_point": "third",
}
MBPP_ROW = {
    "task_id": 1,
    "text": "Write a function to sum two numbers.",
    "code": "class Pair:\r\n  def __init__(self, a, b): self.a, self.b = a, b\r\ndef sum(pair): return pair.a + pair.b",
    "test_list": ["assert sum(pair) == 5", "assert sum(Pair(1, -1)) == 0"],
    "test_setup_code": "pair = Pair(2, 0)\r\npair.b = 3",
}
EVALPLUS_ROW = {
    "task_id": 2,
    "prompt": '"""\nWrite a function to divide.\n"""',
    "entry_point": "divide",
    "canonical_solution": "def divide(a: int, b: int): return [a / b, inner(a)]\n\ndef inner(a): return a\n",
    "contract": "\n    assert isinstance(b, int)\n    assert b != 0\n",
    "base_input": [[6, 3], [1, 0]],
    "plus_input": [[5, 2], [1, 0.5], [9, 7]],
    "atol": 0,
}
LIVECODEBENCH_ROW = {
    "question_id": "a",
    "question_content": "Print twice the number.",
    "starter_code": "",
    "metadata": "{}",
    "public_test_cases": json.dumps([{"input": "1", "output": "2", "testtype": "stdin"}]),
    "private_test_cases": json.dumps([{"input": "4", "output": "8", "testtype": "stdin"}]),
}
LIVECODEBENCH_FUNCTION_ROW = {
    **LIVECODEBENCH_ROW,
    "question_id": "b",
    "starter_code": "class Solution:\n    def repeat(self, s: str, n: int) -> List[str]:\n        ",
    "metadata": '{"func_name": "repeat"}',
    "public_test_cases": json.dumps([{"input": '"a"\n2', "output": '["a", "a"]', "testtype": "functional"}]),
    "private_test_cases": base64.b64encode(
        zlib.compress(pickle.dumps(json.dumps([{"input": '"b"\n0', "output": "[]", "testtype": "functional"}])))
    ).decode(),
}


@needs_sandbox
@pytest.mark.parametrize(
    ("name", "where", "row", "right", "wrong"),
    [
        ("humaneval", "openai/openai_humaneval/openai_humaneval", HUMANEVAL_ROW, "    return x / 3", "    return 2"),
        ("humanevalplus", "evalplus/humanevalplus/default", HUMANEVAL_ROW, "def third(x): return x / 3", "third = half"),
        ("mbpp", "google-research-datasets/mbpp/full", MBPP_ROW, MBPP_ROW["code"], "def sum(pair): return 5"),
        ("mbppplus", "evalplus/mbppplus/default",
         {**MBPP_ROW, "prompt": "Sum.", "test_imports": ["import math"], "test": "assert sum(Pair(1, 2)) == math.floor(3.5)"},
         MBPP_ROW["code"], "def sum(pair): return 3"),
        ("mbppplus", "evalplus/mbppplus/evalplus_package_format", EVALPLUS_ROW,
         "def divide(a, b): return [a / b + 1e-9, a]", "def divide(a, b): return [a // b, a]"),
        ("livecodebench", "livecodebench/code_generation_lite/release_latest", LIVECODEBENCH_ROW,
         "print(2 * int(input()))", "print(2)"),
        ("livecodebench", "livecodebench/code_generation_lite/release_latest", LIVECODEBENCH_FUNCTION_ROW,
         "class Solution:\n    def repeat(self, s, n): return [s] * n", "class Solution:\n    def repeat(self, s, n): return []"),
    ],
)  # fmt: skip
def test_holdouts_are_judged_by_their_tests(name: str, where: str, row: Row, right: str, wrong: str):
    opened = code.Code(Options(), FakeData({f"{where}/test": [row]}))
    (problem,) = opened.holdout(name)
    assert opened.verify(problem, fenced(right)).reward == 1.0
    assert opened.verify(problem, fenced(wrong)).reward == 0.0
    assert opened.verify(problem, problem.messages[0]["content"]).reward == 0.0
    if problem.solution is not None:
        assert opened.verify(problem, problem.solution).reward == 1.0


def test_a_pickle_of_livecodebench_cannot_run_anything():
    harmful = base64.b64encode(zlib.compress(pickle.dumps(os.system))).decode()
    row = {**LIVECODEBENCH_ROW, "private_test_cases": harmful}
    with pytest.raises(DataUnavailableError, match=r"posix\.system"):
        load_holdout("livecodebench", FakeData({"livecodebench/code_generation_lite/release_latest/test": [row]}))


@needs_sandbox
def test_the_domain_opens_with_the_sandbox():
    assert code.open_domain(DomainSpec(options=Options(), data=FakeData({}))).name == "code"


@needs_sandbox
@pytest.mark.skipif("PFH_DATA_MIRROR" not in os.environ, reason="PFH_DATA_MIRROR is not set")
@pytest.mark.parametrize("name", ["humaneval", "mbpp"])
def test_canonical_solutions_of_the_mirror_pass(name: str):
    opened = code.Code(Options(), HubData())
    problems = opened.holdout(name)
    verdicts = opened.verify_many(problems, [problem.solution or "" for problem in problems])
    assert [problem.id for problem, verdict in zip(problems, verdicts, strict=True) if verdict.reward != 1] == []


@pytest.mark.skipif("PFH_DATA_MIRROR" not in os.environ, reason="PFH_DATA_MIRROR is not set")
def test_the_mirror_has_enough_problems_to_train_on():
    opened = code.Code(Options(), HubData())
    assert len(opened.problems("train", 48, seed=0)) == 48
    texts = {problem.messages[0]["content"] for name in ("humaneval", "mbpp") for problem in opened.holdout(name)}
    assert not texts & {problem.messages[0]["content"] for problem in opened.problems("train", 48, seed=0)}


@needs_sandbox
def test_rollouts_are_rewarded():
    opened, problem = doubling()
    engine = FakeEngine(["```python print(1)", "print(2*int(input()))"])
    spec = GenerationSpec(domain=opened, engine=engine, problems=[problem], samples=2, sampling=opened.sampling)
    assert [rollout.verdict.reward for rollout in single_turn(spec).rollouts] == [0.0, 1.0]
