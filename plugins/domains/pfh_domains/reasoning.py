"""Short reasoning problems that GEM generates (its rg:* environments), graded exactly."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

from pfh import hookimpl
from pfh.domain import Problem, Split, Verdict
from pfh.engine import Message, Sampling
from pfh.errors import UserError, did_you_mean
from pfh.specs import DomainSpec
from pydantic import BaseModel, ConfigDict, Field, field_validator

LONGEST_ANSWER = 200
"""Characters; no task here has a longer answer, and scorers need not read more."""
DRAWS_WITHOUT_NEWS = 1000
"""A task whose last draws all repeated earlier problems has no more of them."""


@dataclass(frozen=True)
class Task:
    """A reasoning-gym task whose scorer needs the answer alone and executes nothing that a model wrote."""

    settings: Mapping[str, Any] = field(default_factory=dict)
    """Arguments of the generator: pfh's default difficulty."""
    choices: tuple[str, ...] = ()
    """The possible answers of a closed question; naming two of them is no answer."""


TASKS: Mapping[str, Task] = {
    "basic_arithmetic": Task(
        {
            "min_terms": 2,
            "max_terms": 2,
            "min_digits": 1,
            "max_digits": 1,
            "operators": ["+", "-", "*"],
            "allow_parentheses": False,
            "allow_negation": False,
        }
    ),
    "chain_sum": Task({"min_terms": 2, "max_terms": 2, "min_digits": 1, "max_digits": 1}),
    "count_bits": Task({"min_n": 1, "max_n": 63}),
    "count_primes": Task({"min_n": 1, "max_n": 30}),
    "family_relationships": Task({"min_family_size": 3, "max_family_size": 4}),
    "gcd": Task({"min_value": 1, "max_value": 30}),
    "isomorphic_strings": Task({"max_string_length": 4}, choices=("True", "False")),
    "lcm": Task({"min_value": 1, "max_value": 12}),
    "leg_counting": Task({"min_animals": 1, "max_animals": 2, "min_instances": 1, "max_instances": 5}),
    "letter_counting": Task({"min_words": 1, "max_words": 3}),
    "prime_factorization": Task({"min_value": 4, "max_value": 50}),
    "products": Task({"min_terms": 2, "max_terms": 2, "min_digits": 1, "max_digits": 1}),
    "ransom_note": Task(
        {"min_note_length": 2, "max_note_length": 3, "min_magazine_length": 3, "max_magazine_length": 5},
        choices=("True", "False"),
    ),
    "simple_equations": Task({"min_terms": 2, "max_terms": 2, "min_value": 1, "max_value": 9}),
    "spell_backward": Task({"min_word_len": 3, "max_word_len": 4}),
    "syllogism": Task(choices=("Yes", "No")),
    "word_sequence_reversal": Task({"min_words": 3, "max_words": 3}),
}
DEFAULT_TASKS = ("letter_counting", "count_bits", "syllogism", "prime_factorization")


class Options(BaseModel):
    """Which problems, how hard, and how they are put."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    tasks: tuple[str, ...] = Field(
        DEFAULT_TASKS, min_length=1, description="reasoning-gym tasks, mixed evenly; known: " + ", ".join(TASKS)
    )
    difficulty: dict[str, dict[str, Any]] = Field(
        default_factory=dict, description='a task\'s generator settings, as JSON: {"gcd": {"max_value": 99}}'
    )
    shots: int = Field(2, ge=0, le=16, description="worked examples, shown as earlier turns of the chat")
    answer_format: Literal["line", "boxed"] = Field(
        "line", description='"line": one line that is the answer; "boxed": free reasoning that ends in \\boxed{}'
    )
    max_new_tokens: int | None = Field(
        None, ge=1, description="length limit of a completion; unset: 12 for a line, 512 for boxed"
    )
    temperature: float = Field(1.0, ge=0, description="softmax temperature of the rollouts")

    @field_validator("tasks")
    @classmethod
    def _known(cls, tasks: tuple[str, ...]) -> tuple[str, ...]:
        names = tuple(dict.fromkeys(task.removeprefix("rg:") for task in tasks))
        for name in names:
            if name not in TASKS:
                raise ValueError(f"no task {name!r}.{did_you_mean(name, TASKS)} Known: {', '.join(TASKS)}")
        return names

    @field_validator("difficulty", mode="before")
    @classmethod
    def _from_json(cls, value: object) -> object:
        try:
            return json.loads(value) if isinstance(value, str) else value
        except json.JSONDecodeError as error:
            raise ValueError(f"not JSON: {error}") from None


@hookimpl
def options() -> type[BaseModel]:
    """Return the options of the domain."""
    return Options


@hookimpl
def open_domain(spec: DomainSpec) -> Reasoning:
    """Return the domain over the chosen tasks.

    Raises:
        UserError: a difficulty setting that the task's generator does not know, or refuses.
    """
    return Reasoning(spec.options)


class Reasoning:
    """Problems of several tasks in turn. A problem's content decides its split, so no seed can mix the two."""

    name = "reasoning"

    def __init__(self, options: Options) -> None:
        self.options = options
        line = options.answer_format == "line"
        self.sampling = Sampling(
            max_new_tokens=options.max_new_tokens or (12 if line else 512),
            temperature=options.temperature,
            stop=("\n",) if line else (),
        )
        self.settings = {task: {**TASKS[task].settings, **options.difficulty.get(task, {})} for task in options.tasks}
        for task in options.difficulty:
            if task not in self.settings:
                raise UserError(f"difficulty names {task!r}, which is not among the tasks {', '.join(options.tasks)}.")
        self.version = _hash(
            Path(__file__).read_text(), version("reasoning-gym"), self.settings, options.shots, options.answer_format
        )
        self.examples = {task: self._draw_examples(task) for task in options.tasks}
        self._scorers = {task: self._generator(task, 0).score_answer for task in options.tasks}

    def problems(self, split: Split, count: int, seed: int) -> tuple[Problem, ...]:
        """Return `count` problems, all different, the tasks in turn.

        Raises:
            UserError: the tasks have fewer problems at this difficulty.
        """
        streams = [self._stream(task, split, seed) for task in self.options.tasks]
        found: list[Problem] = []
        while streams and len(found) < count:
            for stream in tuple(streams):
                problem = next(stream, None)
                if problem is None:
                    streams.remove(stream)
                else:
                    found.append(problem)
        if len(found) < count:
            raise UserError(
                f"reasoning has only {len(found)} {split} problems at this difficulty, not {count}: ask for fewer, "
                "name more tasks, or widen a range with the option difficulty."
            )
        return tuple(found[:count])

    def verify(self, problem: Problem, completion: str) -> Verdict:
        """Reward 1 for the right answer, 0 for anything else: reasoning-gym's partial credit is not given."""
        task = problem.environment.removeprefix("rg:")
        extracted = extract_answer(completion, self.options.answer_format, TASKS[task].choices)
        if extracted is None:
            return Verdict(reward=0.0, extracted=None)
        try:
            score = self._scorers[task](extracted, {"answer": problem.answer})
        except Exception:  # noqa: BLE001 - a scorer of another library, fed what a model wrote: it may raise anything
            score = 0.0
        return Verdict(reward=float(score >= 1.0), extracted=extracted)

    def _stream(self, task: str, split: Split, seed: int) -> Iterator[Problem]:
        """Yield the problems of one task and split, each once, until the generator has no new ones."""
        seen = {example["question"] for example in self.examples[task]}
        news = 0
        for index, entry in enumerate(_entries(self._generator(task, seed))):
            if entry["question"] not in seen:
                seen.add(entry["question"])
                news = index
                if _split(entry["question"]) == split:
                    yield self._problem(task, entry)
            if index - news > DRAWS_WITHOUT_NEWS:
                return

    def _problem(self, task: str, entry: Mapping[str, str]) -> Problem:
        messages: list[Message] = []
        for example in self.examples[task]:
            messages += [
                {"role": "user", "content": self._ask(example["question"])},
                {"role": "assistant", "content": self._say(example["answer"])},
            ]
        messages.append({"role": "user", "content": self._ask(entry["question"])})
        return Problem(
            id=f"{task}-{_hash(self.version, task, entry['question'])}",
            environment=f"rg:{task}",
            messages=tuple(messages),
            answer=entry["answer"],
        )

    def _ask(self, question: str) -> str:
        if self.options.answer_format == "line":
            return question
        return f"{question}\nThink step by step, and put the final answer in \\boxed{{}}."

    def _say(self, answer: str) -> str:
        return answer if self.options.answer_format == "line" else f"\\boxed{{{answer}}}"

    def _draw_examples(self, task: str) -> tuple[dict[str, str], ...]:
        """Return the task's worked examples: the same in every problem, in no split, their answers different."""
        chosen: dict[str, dict[str, str]] = {}
        for index, entry in enumerate(_entries(self._generator(task, -1))):
            if len(chosen) == self.options.shots:
                break
            key = entry["answer"] if index < DRAWS_WITHOUT_NEWS else entry["question"]
            chosen.setdefault(key, entry)
        return tuple(chosen.values())

    def _generator(self, task: str, seed: int) -> Any:  # noqa: ANN401 - reasoning-gym ships no types
        import reasoning_gym

        # The generator seeds problem i with seed + i: neighbouring seeds would give the same problems, shifted.
        start = int(hashlib.sha256(f"{task}/{seed}".encode()).hexdigest()[:8], 16)
        try:
            return reasoning_gym.create_dataset(task, size=2**31, seed=start, **self.settings[task])
        except (TypeError, AssertionError) as error:
            raise UserError(f"reasoning: the difficulty {self.settings[task]} does not suit {task}: {error}.") from None


def extract_answer(completion: str, answer_format: str = "line", choices: tuple[str, ...] = ()) -> str | None:
    r"""Return the answer that a completion gives, or None.

    The last `\boxed{}` counts; without one, the last <answer> element; without one, and where the answer is a line,
    the first line that is not empty. One full stop at its end is no part of it. A completion that names two of the
    `choices` answers nothing.
    """
    if sum(re.search(rf"\b{choice}\b", completion, re.IGNORECASE) is not None for choice in choices) > 1:
        return None
    answer = _last_boxed(completion)
    if answer is None:
        answer = _last_element(completion)
    if answer is None and answer_format == "line":
        answer = completion.strip().partition("\n")[0]
    answer = (answer or "").strip().removesuffix(".").strip()
    return answer if 0 < len(answer) <= LONGEST_ANSWER else None


def _last_boxed(text: str) -> str | None:
    start = text.rfind("\\boxed{")
    if start < 0:
        return None
    start += len("\\boxed{")
    depth = 1
    for end in range(start, len(text)):
        depth += {"{": 1, "}": -1}.get(text[end], 0)
        if depth == 0:
            return text[start:end]
    return None


def _last_element(text: str) -> str | None:
    end = text.rfind("</answer>")
    start = text.rfind("<answer>", 0, max(end, 0))
    return None if start < 0 else text[start + len("<answer>") : end]


def _entries(generator: Any) -> Iterator[dict[str, str]]:  # noqa: ANN401 - reasoning-gym ships no types
    for index in range(len(generator)):
        entry = generator[index]
        yield {"question": str(entry["question"]).strip(), "answer": str(entry["answer"])}


def _split(question: str) -> Split:
    """Send a fifth of all problems to the test split, by their content."""
    return "test" if int(hashlib.sha256(question.encode()).hexdigest()[:8], 16) % 5 == 0 else "train"


def _hash(*parts: object) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]
