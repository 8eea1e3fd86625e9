"""The training problems and the held-out sets: GSM8K's test split, MATH-500 and Minerva."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from pfh.errors import DataUnavailableError
from pfh.hooks.datasets import Dataset, DataSource
from pfh.hooks.domains import Problem, Split

from pfh_domains.math.prompts import chat, written
from pfh_domains.math.settings import Options
from pfh_domains.sources import Source, by_split, digest, to_answer

_BOX = re.compile(r"\\(?:boxed|fbox)\{((?:[^{}]|\{(?:[^{}]|\{[^{}]*\})*\})*)\}")
"""The box around an answer inside a worked solution: what is taught has one box, at its end."""

MOST_PROBLEM_CHARS = 20_000
"""Held-out problems are never left out for their length; one longer than this is a damaged row."""


SOLUTIONS = {
    "Math12K": tuple(
        Source("EleutherAI/hendrycks_math", subject, split)
        for subject in (
            *("algebra", "counting_and_probability", "geometry", "intermediate_algebra", "number_theory"),
            *("prealgebra", "precalculus"),
        )
        for split in ("train", "test")
    )
}
"""Where the worked solutions of a set are that comes with bare answers. MATH-12k is Hendrycks' MATH (arXiv 2103.03874),
its train split and those of its test split that are not among the 500 held out."""


def worked_solutions(dataset: str, data: DataSource) -> tuple[dict[str, str], tuple[str, ...]]:
    """Return the worked solutions of a training set by the digest of their problem, and the fingerprints of their rows.

    Sources that cannot be had are left out: their problems keep a bare answer.
    """
    found: dict[str, str] = {}
    prints: list[str] = []
    for source in SOLUTIONS.get(dataset, ()):
        try:
            loaded = data.load(source.hub_id, source.config, source.split)
        except DataUnavailableError:
            continue
        prints.append(loaded.fingerprint)
        for row in loaded.rows:
            if worked := _reasoning(row):
                found[digest(str(row[source.question]))] = worked
    return found, tuple(prints)


def training_problems(
    options: Options, source: Source, dataset: Dataset, solutions: Mapping[str, str]
) -> dict[Split, list[Problem]]:
    """Return the problems that the options admit, by split; `solutions` are those of rows that bring none."""
    return by_split(_admitted(options, source, dataset, solutions))


def _admitted(
    options: Options, source: Source, dataset: Dataset, solutions: Mapping[str, str]
) -> Iterator[tuple[str, Problem]]:
    for row in dataset.rows:
        statement, answers = str(row[source.question]), references(row[source.answer])
        if answers and len(statement) <= options.max_prompt_chars:
            hashed = digest(statement)
            name = f"math-{options.dataset}-{hashed[:12]}"
            reasoning = _reasoning(row) or solutions.get(hashed)
            yield hashed, _problem(name, f"math:{options.dataset}", statement, answers, reasoning, options)


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


Rows = Iterator[tuple[str, tuple[str, ...], str | None]]


def _gsm8k(data: DataSource) -> Rows:
    """Cobbe et al. 2021, arXiv 2110.14168: the test split."""
    for row in data.load("openai/gsm8k", "main", "test").rows:
        yield row["question"], references(row["answer"]), _reasoning(row)


def _math500(data: DataSource) -> Rows:
    """Lightman et al. 2023, arXiv 2305.20050: 500 problems of Hendrycks' MATH test set."""
    for row in data.load("HuggingFaceH4/MATH-500", "default", "test").rows:
        yield row["problem"], references(row["answer"]), _reasoning(row)


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
        messages=chat(statement, options.answer_format, options.shots, tool=options.tool != ""),
        answer=to_answer(answers),
        solution=written(answers[0], options.answer_format, reasoning),
    )


def _bare(answer: str) -> str:
    """Cut off GSM8K's working and the dollar signs around an answer."""
    answer = answer.rpartition("#### ")[2].strip()
    quoted = re.fullmatch(r"\$([^$]+)\$\.?", answer)
    return quoted[1].strip() if quoted else answer


def _reasoning(row: Any) -> str | None:  # noqa: ANN401 - JSON
    """Return the working of a row: GSM8K's without its calculator marks, or a worked solution without its boxes."""
    working, marked, _ = str(row.get("answer", "")).rpartition("#### ")
    if marked:
        return re.sub(r"<<[^>]*>>", "", working).strip()
    return _BOX.sub(r"\1", str(row.get("solution") or "")).strip() or None
