"""Training problems from datasets: where their rows are, which split a problem falls into, in what order they come."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pfh.errors import DataUnavailableError, UserError
from pfh.hooks.datasets import Dataset, DataSource
from pfh.hooks.domains import Problem, Split
from pfh.kit import workers

TEST_SHARE = 5
"""One problem in so many is a test problem."""


@dataclass(frozen=True)
class Source:
    """Where rows can be had, and how they name the question and its answer."""

    hub_id: str
    config: str = "default"
    split: str = "train"
    question: str = "problem"
    answer: str = "answer"


def load_first(sources: Sequence[Source], data: DataSource) -> tuple[Source, Dataset]:
    """Return the rows of the first source that can be had here, and which one it is.

    Raises:
        DataUnavailableError: none can be had; says so of the first.
    """
    first_error: DataUnavailableError | None = None
    for source in sources:
        try:
            return source, data.load(source.hub_id, source.config, source.split)
        except DataUnavailableError as error:
            first_error = first_error or error
    assert first_error is not None
    raise first_error


def digest(question: str) -> str:
    """Return the hash of a question by which it is named and falls into a split; white space does not count."""
    return hashlib.sha256(" ".join(question.split()).encode()).hexdigest()


def by_split(problems: Iterable[tuple[str, Problem]]) -> dict[Split, list[Problem]]:
    """Divide (digest, problem) pairs into splits; a problem that is there twice is taken once."""
    splits: dict[Split, dict[str, Problem]] = {"train": {}, "test": {}}
    for hashed, problem in problems:
        split: Split = "test" if int(hashed, 16) % TEST_SHARE == 0 else "train"
        splits[split].setdefault(problem.id, problem)
    return {split: list(found.values()) for split, found in splits.items()}


def draw(problems: Sequence[Problem], count: int, seed: int, described: str) -> tuple[Problem, ...]:
    """Return the first `count` of `problems` in an order that `seed` shuffles.

    Raises:
        UserError: there are fewer; `described` names them.
    """
    if count > len(problems):
        raise UserError(
            f"{described}: {len(problems)} problems under these options, and {count} were asked for. Ask for fewer "
            "(--problems), or loosen the limits on their length."
        )
    order = sorted(problems, key=lambda problem: hashlib.sha256(f"{seed}/{problem.id}".encode()).hexdigest())
    return tuple(order[:count])


def version_of(*parts: object) -> str:
    """Return a hash of `parts`, JSON values, and of the code that domains share, for `Domain.version`."""
    own, shared = Path(__file__).parent, Path(workers.__file__).parent
    files = (own / "sources.py", shared / "worker.py", shared / "workers.py", own / "cleaning.py")
    code = [file.read_text() for file in files]
    return hashlib.sha256(json.dumps([code, *parts], sort_keys=True).encode()).hexdigest()[:12]


def to_answer(references: Sequence[str]) -> str:
    """Return the references, any of which is right, as `Problem.answer`: one as it is, several as a JSON list."""
    return references[0] if len(references) == 1 else json.dumps(list(references), ensure_ascii=False)


def from_answer(answer: str) -> tuple[str, ...]:
    """Return what `to_answer` was given."""
    return tuple(json.loads(answer)) if answer.startswith('["') else (answer,)
