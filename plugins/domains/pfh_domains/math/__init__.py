"""Mathematical problems of GEM's math environments, checked by math-verify in processes of their own."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from importlib.metadata import version

from pfh import hookimpl
from pfh.hooks.backends import Sampling
from pfh.hooks.datasets import Dataset, DataSource
from pfh.hooks.domains import DomainSpec, Problem, Reply, Split, Verdict
from pfh.kit.thoughts import behind_thought
from pfh.kit.workers import Workers
from pydantic import BaseModel

from pfh_domains import python_tool
from pfh_domains.math.equality import quick_verdict
from pfh_domains.math.extraction import extract_answer, other_answers
from pfh_domains.math.problems import HOLDOUTS, load_holdout, references, training_problems, worked_solutions
from pfh_domains.math.readings import readings
from pfh_domains.math.settings import Options
from pfh_domains.sources import Source, digest, draw, from_answer, load_first, to_answer, version_of

VERSION = "2"
HOLDOUT_TOKENS = {
    "line": {"math500": 48, "minerva": 64},
    "boxed": {"math500": 2048},
}
"""Length limits that the reference answers fit into, counted with the embedded model's tokenizer."""


@hookimpl
def options() -> type[BaseModel]:
    """Return the options of the domain."""
    return Options


@hookimpl
def open_domain(spec: DomainSpec) -> Math:
    """Return the domain.

    Raises:
        UserError: there is to be a tool, and programs cannot be confined here.
    """
    if not spec.options.tool:
        return Math(spec.options, spec.data)
    python_tool.check_sandbox()  # says so now, and not after hours
    return MathWithPython(spec.options, spec.data)


class Math:
    """GEM's math problems, single-turn: a problem in, one final answer out."""

    name = "math"
    holdouts = tuple(HOLDOUTS)

    def __init__(self, options: Options, data: DataSource) -> None:
        self.options = options
        self._data = data
        self.asks_to_reason = options.answer_format == "boxed"
        line = options.answer_format == "line"
        self.sampling = Sampling(
            max_new_tokens=options.max_new_tokens or (16 if line else 2048),
            temperature=options.temperature,
            stop=("\n",) if line else python_tool.STOPS if options.tool else (),
        )
        self._workers = Workers("pfh_domains.math.equality:equal", cpu_seconds=options.time_limit)

    @cached_property
    def version(self) -> str:
        """Name the rules, the checker, the options and the rows that the problems come from.

        Raises:
            DataUnavailableError: the training problems cannot be had here.
        """
        _, dataset = self._training
        options = self.options.model_dump(mode="json")
        tool = python_tool.VERSION if self.options.tool else ""
        prints = [dataset.fingerprint, *self._solutions[1]]
        return version_of(VERSION, version("math-verify"), " ".join(prints), options, tool)

    def problems(self, split: Split, count: int, seed: int) -> tuple[Problem, ...]:
        """Return `count` problems in an order that `seed` shuffles; a problem's text decides its split.

        Raises:
            DataUnavailableError: the training problems cannot be had here.
            UserError: there are fewer.
        """
        return draw(self._splits[split], count, seed, f"domain math, {self.options.dataset}, {split} split")

    def every_problem(self) -> tuple[Problem, ...]:
        """Return all problems of the training set, those of both splits.

        Raises:
            DataUnavailableError: they cannot be had here.
        """
        return (*self._splits["train"], *self._splits["test"])

    def holdout(self, name: str) -> tuple[Problem, ...]:
        """Return the problems of one held-out set.

        Raises:
            DataUnavailableError: the set cannot be had here.
        """
        return load_holdout(name, self.options, self._data)

    def holdout_tokens(self, name: str) -> int | None:
        """Return the length limit that a held-out set needs; None where the options say one."""
        return None if self.options.max_new_tokens else HOLDOUT_TOKENS[self.options.answer_format].get(name)

    def verify(self, problem: Problem, completion: str) -> Verdict:
        """Reward 1 where the completion's one final answer equals a reference answer; score 1 also in another form."""
        return self.verify_many([problem], [completion])[0]

    def verify_many(self, problems: Sequence[Problem], completions: Sequence[str]) -> list[Verdict]:
        """Judge many completions, in their order: what text decides here, the rest over the cores.

        Raises:
            StepFailedError: the process that judges cannot be started.
        """
        completions = [behind_thought(completion) for completion in completions]
        found = [extract_answer(completion, self.options.answer_format) for completion in completions]
        given = [[] if answer is None else [answer] for answer in found]
        strict = self._right(given, problems, read=False)
        left = [index for index, right in enumerate(strict) if right is None]
        others = [[*given[index], *other_answers(completions[index])] for index in left]
        counted = dict(zip(left, self._right(others, [problems[index] for index in left], read=True), strict=True))
        verdicts = []
        for index, answer in enumerate(found):
            accepted = strict[index] or counted.get(index)
            reward, score = float(strict[index] is not None), float(accepted is not None)
            verdicts.append(Verdict(reward=reward, extracted=accepted or answer, score=score))
        return verdicts

    def _right(self, answers: Sequence[Sequence[str]], problems: Sequence[Problem], *, read: bool) -> list[str | None]:
        """Return of each problem the first of its answers that is right, as it stands or, with `read`, in a reading."""
        right: list[str | None] = [None] * len(problems)
        asked: list[tuple[int, str, tuple[str, str]]] = []
        for index, (problem, given) in enumerate(zip(problems, answers, strict=True)):
            statement = problem.messages[-1]["content"]
            for answer in given:
                pairs = [
                    pair
                    for gold in from_answer(problem.answer)
                    for pair in (readings(gold, answer, statement) if read else [(gold, answer)])
                ]
                verdicts = [quick_verdict(*pair, statement) for pair in pairs]
                if True in verdicts:
                    asked.append((index, answer, ("", "")))
                    break
                asked += [
                    (index, answer, pair) for pair, verdict in zip(pairs, verdicts, strict=True) if verdict is None
                ]
        distinct = list(dict.fromkeys(pair for _, _, pair in asked if pair != ("", "")))
        equal = dict(zip(distinct, self._workers.call_many(distinct), strict=True)) | {("", ""): True}
        for index, answer, pair in asked:
            if right[index] is None and equal[pair] is True:
                right[index] = answer
        return right

    def own_problem(self, prompt: str, answers: Sequence[str]) -> Problem:
        """Return the problem of a prompt and the answers of which any is right.

        Raises:
            ValueError: there is no answer.
        """
        given = references(list(answers))
        if not given:
            raise ValueError("the answer is empty")
        return Problem(
            id=digest(prompt)[:12],
            environment="math:own",
            messages=({"role": "user", "content": prompt},),
            answer=to_answer(given),
        )

    def close(self) -> None:
        """End the processes that judge; the next answer starts new ones."""
        self._workers.close()

    @cached_property
    def _training(self) -> tuple[Source, Dataset]:
        return load_first(self.options.sources, self._data)

    @cached_property
    def _splits(self) -> dict[Split, list[Problem]]:
        return training_problems(self.options, *self._training, self._solutions[0])

    @cached_property
    def _solutions(self) -> tuple[dict[str, str], tuple[str, ...]]:
        # An answer in one line has no room for working.
        return worked_solutions(self.options.dataset, self._data) if self.asks_to_reason else ({}, ())


class MathWithPython(Math):
    """The same problems, as conversations: the model may write programs, and is sent what they print."""

    @property
    def turns(self) -> int:
        """Most programs in one conversation."""
        return self.options.turns

    def replies(self, problems: Sequence[Problem], completions: Sequence[str], left: int) -> list[Reply | None]:
        """Run the program of each completion in the sandbox; a completion without one is final."""
        return python_tool.answer(completions, left)
