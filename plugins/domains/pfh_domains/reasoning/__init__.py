"""Reasoning problems that GEM generates (its rg:* environments), graded exactly."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from pfh import hookimpl
from pfh.errors import UserError
from pfh.hooks.backends import Message, Sampling
from pfh.hooks.domains import DomainSpec, Problem, Split, Verdict
from pfh.kit.reasoning_gym import with_ordered_sets
from pfh.kit.thoughts import behind_thought
from pfh.kit.workers import Workers
from pydantic import BaseModel

from pfh_domains.reasoning.extraction import LONGEST_ANSWER, extract_answer, same_text, spoken_answer
from pfh_domains.reasoning.settings import Options
from pfh_domains.reasoning.tasks import (
    COMPUTING,
    DEFAULT_TASKS,
    EXACT,
    PREPARED,
    TASKS,
    reference,
    settings_of,
)
from pfh_domains.sources import version_of

__all__ = ["DEFAULT_TASKS", "TASKS", "Options", "Reasoning", "extract_answer"]

DRAWS_WITHOUT_NEWS = 1000
"""A task whose last draws all repeated earlier problems has no more of them."""
LONGEST_STRUCTURE = 4000
"""Characters of an answer that may be a grid, a formula or a list of moves."""
ENTRY = '{"question": '
"""How `Problem.answer` begins where it is the whole generated problem, which the task's scorer needs."""
HELD_OUT_PROBLEMS = 200
"""Size of the held-out set, or fewer where the tasks have fewer."""


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
    holdouts = ("test",)

    def __init__(self, options: Options) -> None:
        self.options = options
        self.asks_to_reason = options.answer_format == "boxed"
        line = options.answer_format == "line"
        self.sampling = Sampling(
            max_new_tokens=options.max_new_tokens or (12 if line else 2048),
            temperature=options.temperature,
            stop=("\n",) if line else (),
        )
        for task in options.difficulty:
            if task not in options.tasks:
                raise UserError(f"difficulty names {task!r}, which is not among the tasks {', '.join(options.tasks)}.")
        self.settings = {task: self._settings(task) for task in options.tasks}
        code = [file.read_text() for file in sorted(Path(__file__).parent.glob("*.py"))]
        self.version = version_of(code, version("reasoning-gym"), self.settings, options.shots, options.answer_format)
        self.examples = {task: self._draw_examples(task) for task in options.tasks}
        self._generators = {task: self._generator(task, 0) for task in options.tasks}
        self._workers = Workers("pfh_domains.reasoning.scoring:score", cpu_seconds=options.time_limit)

    def problems(self, split: Split, count: int, seed: int) -> tuple[Problem, ...]:
        """Return `count` problems, all different, the tasks in turn.

        Raises:
            UserError: the tasks have fewer problems at this difficulty.
        """
        found = self._interleaved(split, count, seed)
        if len(found) < count:
            raise UserError(
                f"reasoning has only {len(found)} {split} problems at this difficulty, not {count}: ask for fewer, "
                "name more tasks, or widen a range with the option difficulty."
            )
        return tuple(found)

    def holdout(self, name: str) -> tuple[Problem, ...]:
        """Return problems of the test split, the same for every seed of a run."""
        if name not in self.holdouts:
            raise UserError(f"domain reasoning has no held-out set {name!r}; it has: {', '.join(self.holdouts)}.")
        return tuple(self._interleaved("test", HELD_OUT_PROBLEMS, seed=0))

    def verify(self, problem: Problem, completion: str) -> Verdict:
        """Reward 1 for a right answer, 0 for anything else: reasoning-gym's partial credit is not given."""
        return self.verify_many([problem], [completion])[0]

    def verify_many(self, problems: Sequence[Problem], completions: Sequence[str]) -> list[Verdict]:
        """Judge many completions, in their order; what needs a scorer that computes is judged over the cores.

        Raises:
            StepFailedError: the process that scores cannot be started.
        """
        said = [behind_thought(completion) for completion in completions]
        found = [self._answer_of(one, text) for one, text in zip(problems, said, strict=True)]
        right = self._right(problems, found)
        wrong = [index for index, is_right in enumerate(right) if not is_right]
        spoken = {
            index: answer for index in wrong if (answer := spoken_answer(said[index])) not in (None, found[index])
        }
        others = self._right([problems[index] for index in spoken], list(spoken.values()))
        counted = {index: answer for (index, answer), is_right in zip(spoken.items(), others, strict=True) if is_right}
        return [
            Verdict(
                reward=float(right[index]),
                extracted=counted.get(index, answer),
                score=float(right[index] or index in counted),
            )
            for index, answer in enumerate(found)
        ]

    def _answer_of(self, problem: Problem, completion: str) -> str | None:
        """Return the answer of a completion in the form that was asked for."""
        known = TASKS.get(problem.environment.removeprefix("rg:"))
        return extract_answer(
            completion,
            self.options.answer_format,
            known.choices if known else (),
            LONGEST_ANSWER if known else max(LONGEST_STRUCTURE, 2 * len(problem.answer)),
        )

    def _right(self, problems: Sequence[Problem], answers: Sequence[str | None]) -> list[bool]:
        """Say of each problem's answer whether it is right; None is not."""
        verdicts: list[bool] = []
        asked: dict[int, tuple[Any, ...]] = {}
        for index, (problem, answer) in enumerate(zip(problems, answers, strict=True)):
            task = problem.environment.removeprefix("rg:")
            right = answer is not None and (
                self._scores(task, answer, problem) if task in TASKS else same_text(answer, self.reference(problem))
            )
            entry = None if answer is None or right else _entry(problem)
            if entry is not None and (task not in COMPUTING or COMPUTING[task].fullmatch(answer or "")):
                asked[index] = (task, self.settings[task], answer, entry)
            verdicts.append(right)
        for index, score in zip(asked, self._workers.call_many(list(asked.values())), strict=True):
            verdicts[index] = score is not None and score >= 1.0
        return verdicts

    def question(self, problem: Problem) -> str:
        """Return the question of a problem as the generator made it."""
        return problem.messages[-1]["content"].removesuffix(self._ask(""))

    def reference(self, problem: Problem) -> str:
        """Return a right answer to a problem."""
        entry = _entry(problem)
        return problem.answer if entry is None else str(entry["answer"])

    def close(self) -> None:
        """End the processes that score; the next answer starts new ones."""
        self._workers.close()

    def _settings(self, task: str) -> dict[str, Any]:
        try:
            return settings_of(task, self.options, self.options.difficulty.get(task, {}))
        except ValueError as error:
            raise UserError(f"reasoning: {error}; leave the option level out, or leave out this task.") from None

    def _scores(self, task: str, answer: str, problem: Problem) -> bool:
        try:
            return bool(self._generators[task].score_answer(answer, {"answer": problem.answer}) >= 1.0)
        except Exception:  # noqa: BLE001 - a scorer of another library, fed what a model wrote: it may raise anything
            return False

    def _interleaved(self, split: Split, count: int, seed: int) -> list[Problem]:
        """Return at most `count` problems, the tasks in turn."""
        streams = [self._stream(task, split, seed) for task in self.options.tasks]
        found: list[Problem] = []
        while streams and len(found) < count:
            for stream in tuple(streams):
                problem = next(stream, None)
                if problem is None:
                    streams.remove(stream)
                else:
                    found.append(problem)
        return found[:count]

    def _stream(self, task: str, split: Split, seed: int) -> Iterator[Problem]:
        """Yield the problems of one task and split, each once, until the generator has no new ones."""
        seen = {example["question"] for example in self.examples[task]}
        news = 0
        for index, entry in enumerate(_entries(task, self._generator(task, seed))):
            if entry["question"] not in seen:
                seen.add(entry["question"])
                news = index
                if _split(entry["question"]) == split:
                    yield self._problem(task, entry)
            if index - news > DRAWS_WITHOUT_NEWS:
                return

    def _problem(self, task: str, entry: Mapping[str, Any]) -> Problem:
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
            answer=self._answer(task, entry),
            solution=self._say(entry["answer"]),
        )

    def _answer(self, task: str, entry: Mapping[str, Any]) -> str:
        """Return the right answer, or what the scorer needs, as JSON, where one answer is not enough."""
        if task in TASKS or task in EXACT or not _has_own_scorer(self._generators[task]):
            return str(entry["answer"])
        return json.dumps(entry, ensure_ascii=False)

    def _ask(self, question: str) -> str:
        if self.options.answer_format == "line":
            return question
        return f"{question}\nThink step by step, and put the final answer in \\boxed{{}}."

    def _say(self, answer: str) -> str:
        return answer if self.options.answer_format == "line" else f"\\boxed{{{answer}}}"

    def _draw_examples(self, task: str) -> tuple[dict[str, Any], ...]:
        """Return the task's worked examples: the same in every problem, in no split, their answers different."""
        chosen: dict[str, dict[str, Any]] = {}
        for index, entry in enumerate(_entries(task, self._generator(task, -1))):
            if self.options.answer_format == "line" and "\n" in entry["answer"]:
                raise UserError(
                    f"reasoning: the answers of {task} have several lines; set answer_format=boxed, or leave it out."
                )
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
            drawn = reasoning_gym.create_dataset(
                task, size=PREPARED.get(task, 2**31), seed=start, **self.settings[task]
            )
        except (TypeError, ValueError, AssertionError) as error:
            raise UserError(f"reasoning: the difficulty {self.settings[task]} does not suit {task}: {error}.") from None
        return with_ordered_sets(drawn)


def _entry(problem: Problem) -> dict[str, Any] | None:
    """Return the whole generated problem, where the task has more than one right answer."""
    return json.loads(problem.answer) if problem.answer.startswith(ENTRY) else None


def _has_own_scorer(generator: Any) -> bool:  # noqa: ANN401 - reasoning-gym ships no types
    from reasoning_gym.dataset import ProceduralDataset

    return type(generator).score_answer is not ProceduralDataset.score_answer


def _entries(task: str, generator: Any) -> Iterator[dict[str, Any]]:  # noqa: ANN401 - reasoning-gym ships no types
    for index in range(len(generator)):
        entry = generator[index]
        yield {
            "question": str(entry["question"]).strip(),
            "answer": reference(task, entry),
            "metadata": entry["metadata"],
        }


def _split(question: str) -> Split:
    """Send a fifth of all problems to the test split, by their content."""
    return "test" if int(hashlib.sha256(question.encode()).hexdigest()[:8], 16) % 5 == 0 else "train"


def _hash(*parts: object) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]
