"""The held-out sets of the domain: HumanEval, HumanEval+, MBPP, MBPP+ and LiveCodeBench."""

from __future__ import annotations

import ast
import base64
import io
import json
import pickle
import textwrap
import zlib
from collections.abc import Callable
from typing import Any

from pfh.errors import DataUnavailableError
from pfh.hooks.datasets import DataSource, Row
from pfh.hooks.domains import Problem

from pfh_domains.code.checks import CallTests, Checks, StdinTests, to_answer
from pfh_domains.code.comparison import comparison_script
from pfh_domains.code.functional import JUDGE_IMPORTS, NODES, call, with_comparison
from pfh_domains.code.prompts import chat, contest_prompt, fenced
from pfh_domains.code.variants import variants_of

EVALPLUS_FILES = "evalplus_package_format"
"""Configuration under which a mirror may keep EvalPlus's own files: inputs and a reference, where the hub has tests."""


UNUSABLE: frozenset[object] = frozenset({106, 124, 580, 255, 599, "HumanEval/20", "HumanEval/25", "HumanEval/32"})
"""Tasks that the reference solution in EvalPlus's own files does not pass, so that no program could.

106, 124 and 580 take tuples or complex numbers, which JSON has lost; 255, 599 and HumanEval/25 take too long or too
much memory; the references of HumanEval/20 and HumanEval/32 are wrong.
"""


def load_holdout(name: str, data: DataSource) -> tuple[Problem, ...]:
    """Return the problems of one of `HOLDOUTS`, in the order of the dataset.

    Raises:
        DataUnavailableError: the set cannot be had here, or holds nothing that can be used.
    """
    return HOLDOUTS[name](data)


def _humaneval(data: DataSource) -> tuple[Problem, ...]:
    """Chen et al. 2021, arXiv 2107.03374."""
    rows = data.load("openai/openai_humaneval", "openai_humaneval", "test").rows
    return tuple(_completion_problem("humaneval", row, _own_script(row)) for row in rows)


def _humanevalplus(data: DataSource) -> tuple[Problem, ...]:
    """Liu et al. 2023, arXiv 2305.01210: HumanEval with many more inputs."""
    rows, inputs_only = _evalplus(data, "evalplus/humanevalplus")
    if not inputs_only:
        return tuple(_completion_problem("humanevalplus", row, _own_script(row)) for row in rows)
    return tuple(
        _completion_problem(
            "humanevalplus", row, f"{_own_script(row)}\n{comparison_script(row, reference=_whole(row))}"
        )
        for row in map(_with_contract, rows)
        if row["task_id"] not in UNUSABLE
    )


def _mbpp(data: DataSource) -> tuple[Problem, ...]:
    """Austin et al. 2021, arXiv 2108.07732: the 500 test problems; the prompt shows the tests, as theirs does."""
    rows = data.load("google-research-datasets/mbpp", "full", "test").rows
    return tuple(mbpp_problem("mbpp", row, _joined(row["test_setup_code"], *row["test_list"])) for row in rows)


def _mbppplus(data: DataSource) -> tuple[Problem, ...]:
    """Liu et al. 2023, arXiv 2305.01210: MBPP with many more inputs."""
    rows, inputs_only = _evalplus(data, "evalplus/mbppplus")
    if not inputs_only:
        return tuple(mbpp_problem("mbppplus", row, _joined(*row["test_imports"], row["test"])) for row in rows)
    return tuple(
        _function_problem(
            "mbppplus", row, comparison_script(row, reference=row["canonical_solution"], contract=row["contract"])
        )
        for row in rows
        if row["task_id"] not in UNUSABLE
    )


def _livecodebench(data: DataSource) -> tuple[Problem, ...]:
    """Jain et al. 2024, arXiv 2403.07974; with the hidden tests of the set."""
    rows = data.load("livecodebench/code_generation_lite", "release_latest", "test").rows
    problems = (_contest_problem("livecodebench", row) for row in rows)
    return tuple(problem for problem in problems if problem is not None)


HOLDOUTS: dict[str, Callable[[DataSource], tuple[Problem, ...]]] = {
    "humaneval": _humaneval,
    "humanevalplus": _humanevalplus,
    "mbpp": _mbpp,
    "mbppplus": _mbppplus,
    "livecodebench": _livecodebench,
}


def _evalplus(data: DataSource, hub_id: str) -> tuple[tuple[Row, ...], bool]:
    """Return the rows, and whether they hold inputs and a reference instead of tests."""
    try:
        return data.load(hub_id, "default", "test").rows, False
    except DataUnavailableError as error:
        try:
            return data.load(hub_id, EVALPLUS_FILES, "test").rows, True
        except DataUnavailableError:
            raise error from None


def _completion_problem(environment: str, row: Row, script: str) -> Problem:
    prompt, entry_point = row["prompt"], row["entry_point"]
    checks = CallTests(script=script, names=(entry_point,), setup=prompt, prelude=prompt, prompt=prompt)
    asked = (
        f"Complete this Python function. Reply with the whole function in one Python code block.\n\n{fenced(prompt)}"
    )
    return _problem(environment, row["task_id"], asked, checks, solution=_whole(row))


def _with_contract(row: Row) -> Row:
    """Put the contract before the reference solution, which may use its variables; cut off tests that follow it."""
    return {**row, "canonical_solution": row["contract"] + row["canonical_solution"].partition("\ndef check(")[0]}


def _whole(row: Row) -> str:
    return f"{row['prompt']}{row['canonical_solution']}"


def _own_script(row: Row) -> str:
    return f"{row['test']}\ncheck({row['entry_point']})"


def mbpp_problem(environment: str, row: Row, script: str, shown: int | None = None) -> Problem:
    """Return a problem whose prompt shows the first `shown` tests of the row, or all of them; `script` judges."""
    tests = row["test_list"][:shown]
    asked = (
        f"{row.get('text') or row['prompt']}\nThe code must pass {'this test' if len(tests) == 1 else 'these tests'}:"
        f"\n\n{fenced(_joined(*tests))}\nReply with the code in one Python code block."
    )
    checks = CallTests(script=script, names=_names_under_test(row["code"], script))
    return _problem(environment, row["task_id"], asked, checks, solution=row["code"])


def _function_problem(environment: str, row: Row, script: str) -> Problem:
    asked = (
        f"{row['prompt'].strip().strip(chr(39) + chr(34)).strip()}\nThe function is called {row['entry_point']}. Reply "
        "with the code in one Python code block."
    )
    checks = CallTests(script=script, names=(row["entry_point"],))
    return _problem(environment, row["task_id"], asked, checks, solution=row["canonical_solution"])


def _names_under_test(code: str, script: str) -> tuple[str, ...]:
    """Return what the reference solution defines and the tests name."""
    definitions = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    defined = {node.name for node in ast.parse(code).body if isinstance(node, definitions)}
    used = {node.id for node in ast.walk(ast.parse(script)) if isinstance(node, ast.Name)}
    return tuple(sorted(defined & used))


def _contest_problem(environment: str, row: Row) -> Problem | None:
    """Return a problem; None where its statement allows answers that no comparison can tell."""
    tests = json.loads(row["public_test_cases"]) + _hidden_tests(row["private_test_cases"])
    checks: Checks
    if tests[0]["testtype"] == "stdin":
        inputs, outputs = (tuple(test[side] for test in tests) for side in ("input", "output"))
        variants = variants_of(row["question_content"])
        if variants.any_answer or variants.any_order:
            return None
        checks = StdinTests(inputs=inputs, outputs=outputs, any_case=variants.any_case, tolerance=variants.tolerance)
        return _problem(environment, row["question_id"], contest_prompt(row["question_content"]), checks, solution=None)
    function = json.loads(row["metadata"])["func_name"]
    calls = [_call(function, test) for test in tests]
    any_order = variants_of(row["question_content"]).any_order
    checks = CallTests(
        script=with_comparison("\n".join(calls), any_order=any_order),
        names=("Solution",),
        prelude=JUDGE_IMPORTS + NODES,
    )
    asked = (
        f"{row['question_content']}\n\nComplete this class. Reply with all of it in one Python code block.\n\n"
        f"{fenced(row['starter_code'])}"
    )
    return _problem(environment, row["question_id"], asked, checks, solution=None)


def _call(function: str, test: dict[str, str]) -> str:
    arguments = [json.loads(line) for line in test["input"].split("\n")]
    return call(f"Solution().{function}", arguments, json.loads(test["output"]))


def _hidden_tests(encoded: str) -> list[dict[str, str]]:
    """Read LiveCodeBench's hidden tests: JSON, or JSON in a pickled string that was compressed."""
    try:
        return json.loads(encoded)  # type: ignore[no-any-return]
    except json.JSONDecodeError:
        packed = zlib.decompress(base64.b64decode(encoded))
        return json.loads(_PlainUnpickler(io.BytesIO(packed)).load())  # type: ignore[no-any-return]


class _PlainUnpickler(pickle.Unpickler):
    """Reads a string; a pickle that names any class or function is refused."""

    def find_class(self, module: str, name: str) -> Any:  # noqa: ANN401 - never returns
        raise DataUnavailableError(f"a pickle of LiveCodeBench names {module}.{name}, which is not loaded")


def _problem(environment: str, number: object, asked: str, checks: Checks, solution: str | None) -> Problem:
    return Problem(
        id=f"code-{environment}-{number}",
        environment=environment,
        messages=chat(asked),
        answer=to_answer(checks),
        solution=None if solution is None else fenced(solution),
    )


def _joined(*parts: str) -> str:
    return textwrap.dedent("\n".join(part for part in parts if part).replace("\r\n", "\n"))
