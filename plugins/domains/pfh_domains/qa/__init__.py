"""Questions of GEM's QA environments, answered by an exact match after normalisation."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

from pfh import hookimpl
from pfh.hooks.backends import Message, Sampling
from pfh.hooks.datasets import Dataset, DataSource
from pfh.hooks.domains import DomainSpec, Problem, Reply, Split, Verdict
from pfh.kit.thoughts import behind_thought
from pydantic import BaseModel

from pfh_domains import search
from pfh_domains.qa.choices import chosen_letter, letter_of, options_in
from pfh_domains.qa.extraction import extract_answer, other_answers
from pfh_domains.qa.generated import GeneratedTask
from pfh_domains.qa.matching import exact_match, token_f1
from pfh_domains.qa.problems import HOLDOUTS, load_holdout, training_problems
from pfh_domains.qa.problems import references as stripped
from pfh_domains.qa.readings import same_answer
from pfh_domains.qa.searching import open_retriever
from pfh_domains.qa.settings import GENERATED, TRAINING_SETS, Options
from pfh_domains.reasoning.extraction import same_text
from pfh_domains.sources import Source, digest, draw, from_answer, load_first, to_answer, version_of

VERSION = "2"
HOLDOUT_TOKENS = {"triviaqa": 32, "bbh": 64}
"""Length limits that the reference answers fit into, counted with the embedded model's tokenizer."""


@hookimpl
def options() -> type[BaseModel]:
    """Return the options of the domain."""
    return Options


@hookimpl
def open_domain(spec: DomainSpec) -> Qa:
    """Return the domain.

    Raises:
        UserError: there is to be a tool, and its corpus cannot be read or its endpoint does not answer.
    """
    if not spec.options.tool:
        return Qa(spec.options, spec.data)
    return QaWithSearch(spec.options, spec.data, open_retriever(spec.options))


class Qa:
    """Questions without a context, single-turn: a question in, a short answer out."""

    name = "qa"
    holdouts = tuple(HOLDOUTS)

    def __init__(self, options: Options, data: DataSource) -> None:
        self.options = options
        self._data = data
        self.asks_to_reason = options.answer_format == "tagged"
        line = options.answer_format == "line"
        self.sampling = Sampling(
            max_new_tokens=options.max_new_tokens or _default_length(options),
            temperature=options.temperature,
            stop=("\n",) if line else search.STOPS if options.tool else (),
        )

    @cached_property
    def version(self) -> str:
        """Name the rules, the options and the rows that the questions come from.

        Raises:
            DataUnavailableError: the training questions cannot be had here.
        """
        given_by = self._generated.version if self._generated else self._training[1].fingerprint
        return version_of(VERSION, given_by, self.options.model_dump(mode="json"), self._tool)

    @property
    def _tool(self) -> str:
        """What decides the replies, if there are any."""
        return ""

    def problems(self, split: Split, count: int, seed: int) -> tuple[Problem, ...]:
        """Return `count` questions in an order that `seed` shuffles; a question's text decides its split.

        Raises:
            DataUnavailableError: the training questions cannot be had here.
            UserError: there are fewer.
        """
        if self._generated:
            return self._generated.problems(split, count, seed)
        return draw(self._splits[split], count, seed, f"domain qa, {self.options.dataset}, {split} split")

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
        return None if self.options.max_new_tokens else HOLDOUT_TOKENS.get(name)

    def verify(self, problem: Problem, completion: str) -> Verdict:
        """Reward 1 where the completion's answer is a reference answer after normalisation, else 0; F1 beside it.

        The score allows what graders of published benchmarks do: an answer in a sentence, a letter with its option, a
        number in words.
        """
        completion = behind_thought(completion)
        answer = extract_answer(completion, self.options.answer_format)
        references = from_answer(problem.answer)
        grid = problem.environment.startswith("rg:")  # whose lines count
        right = answer is not None and (same_text(answer, references[0]) if grid else exact_match(answer, references))
        accepted = answer if right else None if grid else _accepted(completion, answer, references, problem)
        return Verdict(
            reward=float(right),
            extracted=accepted or answer,
            f1=token_f1(answer or "", references),
            score=float(accepted is not None),
        )

    def own_problem(self, prompt: str, answers: Sequence[str]) -> Problem:
        """Return the problem of a prompt and the answers of which any is right.

        Raises:
            ValueError: there is no answer.
        """
        given = stripped(list(answers))
        if not given:
            raise ValueError("the answer is empty")
        asked: tuple[Message, ...] = ({"role": "user", "content": prompt},)
        return Problem(id=digest(prompt)[:12], environment="qa:own", messages=asked, answer=to_answer(given))

    @cached_property
    def _generated(self) -> GeneratedTask | None:
        return GeneratedTask(self.options) if self.options.dataset in GENERATED else None

    @cached_property
    def _training(self) -> tuple[Source, Dataset]:
        return load_first(TRAINING_SETS[self.options.dataset], self._data)

    @cached_property
    def _splits(self) -> dict[Split, list[Problem]]:
        return training_problems(self.options, *self._training)


class QaWithSearch(Qa):
    """The same questions, as conversations: the model may search, and is sent the passages that match."""

    def __init__(self, options: Options, data: DataSource, retriever: search.Retriever) -> None:
        super().__init__(options, data)
        self._retriever = retriever

    @property
    def turns(self) -> int:
        """Most searches in one conversation."""
        return self.options.turns

    @property
    def _tool(self) -> str:
        return f"{search.VERSION}, {self._retriever.identity}"

    def replies(self, problems: Sequence[Problem], completions: Sequence[str], left: int) -> list[Reply | None]:
        """Search for the query of each completion; a completion without one is final.

        Raises:
            StepFailedError: the endpoint failed however often it was asked.
        """
        results, longest = self.options.results, self.options.passage_chars
        return search.answer(completions, left, self._retriever, results=results, longest=longest)


def _accepted(completion: str, answer: str | None, references: Sequence[str], problem: Problem) -> str | None:
    """Return the answer by which evaluation counts a completion right; None where it does not."""
    letter = letter_of(references)
    if letter is not None:
        chosen = chosen_letter(completion, options_in(problem.messages[-1]["content"]))
        if chosen is not None:
            return chosen if chosen == letter else None
    given = [answer] if answer is not None else []
    return next((each for each in [*given, *other_answers(completion)] if same_answer(each, references)), None)


def _default_length(options: Options) -> int:
    if options.answer_format == "tagged":
        return 2048
    return 64 if options.dataset in GENERATED else 16
