"""Data of a user's own: a file or a dataset of the hub, in the forms that people have."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

from pfh import hookimpl
from pfh.errors import DataUnavailableError, UserError
from pfh.hooks.backends import Sampling
from pfh.hooks.datasets import DataSource
from pfh.hooks.domains import DomainSpec, Problem, Split, Verdict
from pydantic import BaseModel

from pfh_domains.data.collection import Collection, collect, kept_answers
from pfh_domains.data.settings import VERIFIERS, Options
from pfh_domains.data.verifiers import OfFunction, Verifier, open_verifier
from pfh_domains.sources import digest, draw, version_of

VERSION = "1"
HELD_OUT = "held_out"
"""Name of the held-out set."""


@hookimpl
def options() -> type[BaseModel]:
    """Return the options of the domain."""
    return Options


@hookimpl
def open_domain(spec: DomainSpec) -> OwnData:
    """Return the domain, its rows read, so that whatever is wrong with them is said before anything is measured.

    Raises:
        UserError: the rows cannot be read or used.
        DataUnavailableError: a dataset of the hub cannot be had here.
    """
    chosen: Options = spec.options
    compares = chosen.verifier in ("", *VERIFIERS[:5])
    domain = (OwnData if compares else CheckedData)(chosen, spec.data)
    if chosen.dataset:
        domain.collection  # noqa: B018 - reads the rows
    return domain


class OwnData:
    """A user's prompts, with their completions, their answers, or pairs of completions."""

    name = "data"
    holdouts = (HELD_OUT,)

    def __init__(self, options: Options, data: DataSource) -> None:
        self.options = options
        self._data = data
        self.asks_to_reason = options.answer_format in ("boxed", "tagged")
        line = options.answer_format == "line"
        self.sampling = Sampling(
            max_new_tokens=options.max_new_tokens or (16 if line else 2048),
            temperature=options.temperature,
            stop=("\n",) if line else (),
        )

    @cached_property
    def collection(self) -> Collection:
        """The rows as problems.

        Raises:
            UserError: they cannot be read or used, or no dataset was named.
            DataUnavailableError: a dataset of the hub cannot be had here.
        """
        if not self.options.dataset:
            raise UserError("The domain data needs your data: name a file or a dataset with -o data.dataset=FILE.")
        return collect(self.options, self._data)

    @property
    def description(self) -> tuple[str, ...]:
        """What was read, and how.

        Raises:
            UserError: no dataset was named.
        """
        return self.collection.description

    @property
    def no_verifier(self) -> str:
        """Say that nothing judges, and how that changes; empty where a verifier does."""
        if self._verifier is not None:
            return ""
        named = "|".join(VERIFIERS[1:])
        return f"the domain data has no verifier: choose one with -o data.verifier={named}|module:function"

    @cached_property
    def version(self) -> str:
        """Name the rules, the options and the rows."""
        code = self._verifier.code if isinstance(self._verifier, OfFunction) else ""
        rows = self.collection.rows.fingerprint if self.options.dataset else ""
        return version_of(VERSION, rows, code, self.options.model_dump(mode="json"))

    def problems(self, split: Split, count: int, seed: int) -> tuple[Problem, ...]:
        """Return `count` problems, or all where there are fewer, in an order that `seed` shuffles.

        Raises:
            UserError: there is none in this split.
        """
        found = self.collection.problems[split]
        if not found:
            raise UserError(
                f"{self.collection.rows.origin}: all of its rows are held out, and none is left to train on: lower "
                "-o data.held_out, or give more rows."
            )
        return draw(found, min(count, len(found)), seed, f"domain data, {split} split")

    def holdout(self, name: str) -> tuple[Problem, ...]:
        """Return the held-out problems, in the order of the file.

        Raises:
            DataUnavailableError: no row is held out.
        """
        found = self.collection.problems["test"]
        if not found:
            raise DataUnavailableError(
                f"no row of {self.collection.rows.origin} is held out at held_out={self.options.held_out:g}: raise "
                "-o data.held_out, or give more rows"
            )
        return found

    def verify(self, problem: Problem, completion: str) -> Verdict:
        """Judge one completion."""
        return self.verify_many([problem], [completion])[0]

    def verify_many(self, problems: Sequence[Problem], completions: Sequence[str]) -> list[Verdict]:
        """Judge many completions, in their order; the user's own completion is right in the form that it has."""
        if self._verifier is None:
            return [Verdict(reward=0.0, extracted=None)] * len(problems)
        found = self._verifier.verify_many(problems, completions)
        return [
            Verdict(reward=1.0, extracted=verdict.extracted, f1=verdict.f1, score=1.0)
            if verdict.counted >= 1 and problem.solution is not None and completion.strip() == problem.solution.strip()
            else verdict
            for problem, completion, verdict in zip(problems, completions, found, strict=True)
        ]

    def own_problem(self, prompt: str, answers: Sequence[str]) -> Problem:
        """Return the problem of a prompt and the answers of which any is right.

        Raises:
            ValueError: there is no verifier, or it can compare with no such answer.
        """
        if self._verifier is None:
            raise ValueError("no verifier is chosen: name one with -o data.verifier=NAME")
        if why := self._verifier.why_not(answers):
            raise ValueError(why)
        return Problem(
            id=f"data-{digest(prompt)[:16]}",
            environment="data:own",
            messages=({"role": "user", "content": prompt},),
            answer=kept_answers([answer for answer in answers if answer]),
        )

    @cached_property
    def _verifier(self) -> Verifier | None:
        if self.options.dataset:
            return self.collection.verifier
        return open_verifier(self.options.verifier or "none", self.options, self._data)


class CheckedData(OwnData):
    """The same where the answer of a row is a pattern, a schema or what a function wants, and no completion."""

    def gold(self, problem: Problem) -> str | None:
        """Return the row's own completion; None where it has none."""
        return problem.solution
