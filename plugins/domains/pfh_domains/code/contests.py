"""The training problems: programs that read standard input, with tests, as GEM's code environments hold them."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from pfh.data import Dataset, DataSource
from pfh.domain import Problem, Split
from pfh.errors import DataUnavailableError

from pfh_domains.code.checks import StdinTests, lines, to_answer
from pfh_domains.code.prompts import chat, contest_prompt
from pfh_domains.code.settings import TRAINING_SETS, Options

TEST_SHARE = 5
"""One problem in so many is a test problem."""


def load_contests(options: Options, data: DataSource) -> Dataset:
    """Return the rows of GEM's training split, or of the test split where only that is there.

    Raises:
        DataUnavailableError: neither can be had here.
    """
    hub_id = TRAINING_SETS[options.dataset].hub_id
    try:
        return data.load(hub_id, "default", "train")
    except DataUnavailableError as error:
        try:
            return data.load(hub_id, "default", "test")
        except DataUnavailableError:
            raise error from None


def contest_problems(options: Options, dataset: Dataset) -> dict[Split, list[Problem]]:
    """Return the problems that the options admit, by split; a problem that is there twice is taken once."""
    environment = TRAINING_SETS[options.dataset].environment
    splits: dict[Split, dict[str, Problem]] = {"train": {}, "test": {}}
    for row in dataset.rows:
        statement, tests = row["problem"], row["tests"]
        checks = _chosen(json.loads(tests) if isinstance(tests, str) else tests, options)
        if checks is None or len(statement) > options.max_prompt_chars:
            continue
        digest = hashlib.sha256(" ".join(statement.split()).encode()).hexdigest()
        split: Split = "test" if int(digest, 16) % TEST_SHARE == 0 else "train"
        problem = Problem(
            id=f"code-{options.dataset}-{digest[:12]}",
            environment=environment,
            messages=chat(contest_prompt(statement)),
            answer=to_answer(checks),
        )
        splits[split].setdefault(problem.id, problem)
    return {split: list(problems.values()) for split, problems in splits.items()}


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
