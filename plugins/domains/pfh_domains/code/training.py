"""The training problems: contests, as GEM's code environments hold them, and functions with tests, as MBPP has them.

The program of a contest problem reads standard input.
"""

from __future__ import annotations

import ast
import dataclasses
import hashlib
import json
from contextlib import suppress
from typing import Any

from pfh.errors import DataUnavailableError
from pfh.hooks.datasets import Dataset, DataSource, Row
from pfh.hooks.domains import Problem, Split

from pfh_domains.code.checks import StdinTests, lines, to_answer
from pfh_domains.code.holdouts import mbpp_problem
from pfh_domains.code.prompts import chat, contest_prompt
from pfh_domains.code.settings import TRAINING_SETS, Options
from pfh_domains.code.variants import variants_of

TEST_SHARE = 5
"""One problem in so many is a test problem."""


def load_training(options: Options, data: DataSource) -> Dataset:
    """Return the rows of the training set: of its training split, or of the test split where GEM's set has only that.

    Raises:
        DataUnavailableError: they cannot be had here.
    """
    chosen = TRAINING_SETS[options.dataset]
    first, *others = chosen.splits
    try:
        return data.load(chosen.hub_id, chosen.config, first)
    except DataUnavailableError as error:
        for split in others:
            with suppress(DataUnavailableError):
                return data.load(chosen.hub_id, chosen.config, split)
        raise error from None


def training_problems(options: Options, dataset: Dataset) -> dict[Split, list[Problem]]:
    """Return the problems that the options admit, by split; a problem that is there twice is taken once."""
    read = _function if options.dataset == "MBPP-train" else _contest
    splits: dict[Split, dict[str, Problem]] = {"train": {}, "test": {}}
    for row in dataset.rows:
        problem, statement = read(row, options)
        if problem is None or len(statement) > options.max_prompt_chars:
            continue
        digest = hashlib.sha256(" ".join(statement.split()).encode()).hexdigest()
        split: Split = "test" if int(digest, 16) % TEST_SHARE == 0 else "train"
        named = dataclasses.replace(problem, id=f"code-{options.dataset}-{digest[:12]}")
        splits[split].setdefault(named.id, named)
    return {split: list(problems.values()) for split, problems in splits.items()}


def _contest(row: Row, options: Options) -> tuple[Problem | None, str]:
    """Return a problem whose program reads standard input, if its tests can be used, and its statement."""
    statement, tests = row["problem"], row["tests"]
    checks = _chosen(json.loads(tests) if isinstance(tests, str) else tests, options)
    variants = variants_of(statement)
    if checks is None or variants.any_answer or variants.any_order:
        return None, statement
    checks = dataclasses.replace(checks, any_case=variants.any_case, tolerance=variants.tolerance)
    problem = Problem(
        id="",
        environment=TRAINING_SETS[options.dataset].environment,
        messages=chat(contest_prompt(statement)),
        answer=to_answer(checks),
    )
    return problem, statement


def _function(row: Row, options: Options) -> tuple[Problem | None, str]:
    """Return a problem whose function is called by tests, if they can be used, and its prompt.

    The prompt shows one of them: a model that sees them all learns to return what they want.
    """
    tests = [*row["test_list"], *row["challenge_test_list"]]
    script = "\n".join([row["test_setup_code"], *tests]).replace("\r\n", "\n")
    problem = mbpp_problem(TRAINING_SETS[options.dataset].environment, row, script, shown=1)
    wanted = {_wanted(test) for test in tests}
    if len(tests) < options.min_tests or (options.varied_outputs and len(wanted) < 2):
        return None, ""
    return problem, problem.messages[-1]["content"]


def _wanted(test: str) -> str:
    """Return what `assert call == wanted` wants, as text; of another form the whole test."""
    match ast.parse(test).body:
        case [ast.Assert(test=ast.Compare(ops=[ast.Eq()], comparators=[wanted]))]:
            return ast.unparse(wanted)
    return test


def _chosen(tests: Any, options: Options) -> StdinTests | None:  # noqa: ANN401 - JSON
    """Return the tests to run, or None where they cannot tell a right program from a wrong one."""
    if not isinstance(tests, dict) or tests.get("fn_name"):
        return None
    pairs = [(_text(given), _text(wanted)) for given, wanted in zip(tests["inputs"], tests["outputs"], strict=True)]
    pairs = sorted(pairs, key=lambda pair: -len(pair[0]))[: options.max_tests]
    answers = {"\n".join(lines(wanted)) for _, wanted in pairs}
    if len(pairs) < options.min_tests or answers == {""} or (options.varied_outputs and len(answers) < 2):
        return None
    return StdinTests(inputs=tuple(given for given, _ in pairs), outputs=tuple(wanted for _, wanted in pairs))


def _text(value: Any) -> str:  # noqa: ANN401 - JSON
    return "\n".join(map(str, value)) if isinstance(value, list) else str(value)
