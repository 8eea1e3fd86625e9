"""The training problems and the held-out sets: GSM8K's test split, MATH-500 and Minerva."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from pfh.data import Dataset, DataSource
from pfh.domain import Problem, Split
from pfh.errors import DataUnavailableError

from pfh_domains.math.prompts import chat, written
from pfh_domains.math.settings import Options, Source

TEST_SHARE = 5
"""One problem in so many is a test problem."""
MOST_PROBLEM_CHARS = 20_000
"""Held-out problems are never left out for their length; one longer than this is a damaged row."""


def load_training(options: Options, data: DataSource) -> tuple[Source, Dataset]:
    """Return the rows of the training set from the first of its sources that has them.

    Raises:
        DataUnavailableError: none has them here.
    """
    first_error: DataUnavailableError | None = None
    for source in options.sources:
        try:
            return source, data.load(source.hub_id, source.config, source.split)
        except DataUnavailableError as error:
            first_error = first_error or error
    assert first_error is not None
    raise first_error


def training_problems(options: Options, source: Source, dataset: Dataset) -> dict[Split, list[Problem]]:
    """Return the problems by split, which a problem's text decides; one that is there twice is taken once."""
    splits: dict[Split, dict[str, Problem]] = {"train": {}, "test": {}}
    for row in dataset.rows:
        statement, answers = str(row[source.problem]), references(row[source.answer])
        if not answers or len(statement) > options.max_prompt_chars:
            continue
        digest = hashlib.sha256(" ".join(statement.split()).encode()).hexdigest()
        split: Split = "test" if int(digest, 16) % TEST_SHARE == 0 else "train"
        name = f"math-{options.dataset}-{digest[:12]}"
        problem = _problem(name, f"math:{options.dataset}", statement, answers, _reasoning(row), options)
        splits[split].setdefault(problem.id, problem)
    return {split: list(problems.values()) for split, problems in splits.items()}


def load_holdout(name: str, options: Options, data: DataSource) -> tuple[Problem, ...]:
    """Return the problems of one of `HOLDOUTS`, in the order of the dataset.

    Raises:
        DataUnavailableError: the set cannot be had here.
    """
    return tuple(
        _problem(f"math-{name}-{number}", name, statement, answers, reasoning, options)
        for number, (statement, answers, reasoning) in enumerate(HOLDOUTS[name](data))
        if answers and len(statement) <= MOST_PROBLEM_CHARS
    )


def references(value: Any) -> tuple[str, ...]:  # noqa: ANN401 - JSON
    """Return the reference answers that a row gives: a string, GSM8K's solution, or a list of which any is right."""
    values = value if isinstance(value, list) else [value]
    answers = (_bare(str(one)) for one in values if one is not None)
    return tuple(dict.fromkeys(answer for answer in answers if answer))


def to_answer(answers: Sequence[str]) -> str:
    """Return the references as `Problem.answer`: the only one as it is, several as a JSON list."""
    return answers[0] if len(answers) == 1 else json.dumps(list(answers))


def from_answer(answer: str) -> tuple[str, ...]:
    """Return what `to_answer` was given."""
    return tuple(json.loads(answer)) if answer.startswith('["') else (answer,)


Rows = Iterator[tuple[str, tuple[str, ...], str | None]]


def _gsm8k(data: DataSource) -> Rows:
    """Cobbe et al. 2021, arXiv 2110.14168: the test split."""
    for row in data.load("openai/gsm8k", "main", "test").rows:
        yield row["question"], references(row["answer"]), _reasoning(row)


def _math500(data: DataSource) -> Rows:
    """Lightman et al. 2023, arXiv 2305.20050: 500 problems of Hendrycks' MATH test set."""
    for row in data.load("HuggingFaceH4/MATH-500", "default", "test").rows:
        yield row["problem"], references(row["answer"]), row["solution"]


def _minerva(data: DataSource) -> Rows:
    """Lewkowycz et al. 2022, arXiv 2206.14858: problems from MIT's OpenCourseWare, as GEM's eval:Minerva has them."""
    for row in data.load("axon-rl/math-eval", "default", "minerva").rows:
        yield row["problem"], references(row["answer"]), None


HOLDOUTS: dict[str, Callable[[DataSource], Rows]] = {"gsm8k": _gsm8k, "math500": _math500, "minerva": _minerva}


def _problem(
    identity: str,
    environment: str,
    statement: str,
    answers: Sequence[str],
    reasoning: str | None,
    options: Options,
) -> Problem:
    return Problem(
        id=identity,
        environment=environment,
        messages=chat(statement, options.answer_format, options.shots),
        answer=to_answer(answers),
        solution=written(answers[0], options.answer_format, reasoning),
    )


def _bare(answer: str) -> str:
    """Cut off GSM8K's working and the dollar signs around an answer."""
    answer = answer.rpartition("#### ")[2].strip()
    quoted = re.fullmatch(r"\$([^$]+)\$\.?", answer)
    return quoted[1].strip() if quoted else answer


def _reasoning(row: Any) -> str | None:  # noqa: ANN401 - JSON
    """Return the working of a GSM8K row, without its calculator marks; None for other rows."""
    working, marked, _ = str(row.get("answer", "")).rpartition("#### ")
    return re.sub(r"<<[^>]*>>", "", working).strip() if marked else None
