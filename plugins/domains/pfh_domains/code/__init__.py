"""Programming problems of GEM's code environments and of MBPP, checked by running the program in the sandbox."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from functools import cached_property

from pfh import hookimpl
from pfh.errors import UserError
from pfh.hooks.backends import Sampling
from pfh.hooks.datasets import Dataset, DataSource
from pfh.hooks.domains import DomainSpec, Problem, Split, TestAid, Verdict
from pfh.kit.thoughts import behind_thought
from pfh.kit.workers import Workers
from pfh.sandbox import Limits, in_parallel, run_python
from pydantic import BaseModel

from pfh_domains.code.checks import PACKAGES, CallTests, from_answer, lookup_program, passes, to_answer
from pfh_domains.code.extraction import extract_program
from pfh_domains.code.holdouts import HOLDOUTS, load_holdout
from pfh_domains.code.own import own_checks
from pfh_domains.code.prompts import chat, fenced
from pfh_domains.code.settings import TRAINING_SETS, Options
from pfh_domains.code.training import load_training, training_problems

VERSION = "2"
HOLDOUT_TOKENS = {"humaneval": 768, "humanevalplus": 768, "mbpp": 384, "mbppplus": 384, "livecodebench": 2048}
"""Length limits that the reference solutions fit into, counted with the embedded model's tokenizer.
LiveCodeBench has none: its limit leaves room for a contest's program."""


@hookimpl
def options() -> type[BaseModel]:
    """Return the options of the domain."""
    return Options


@hookimpl
def open_domain(spec: DomainSpec) -> Code:
    """Return the domain.

    Raises:
        UserError: programs cannot be confined here.
    """
    run_python("", packages=PACKAGES)  # says so now, and not after the rollouts
    return Code(spec.options, spec.data)


class Code:
    """Code problems, single-turn: a statement in, a program out."""

    name = "code"
    holdouts = tuple(HOLDOUTS)

    def __init__(self, options: Options, data: DataSource) -> None:
        self.options = options
        self._data = data
        limit = options.max_new_tokens or TRAINING_SETS[options.dataset].max_new_tokens
        self.sampling = Sampling(max_new_tokens=limit, temperature=options.temperature, top_p=0.95)
        # The limit is on CPU time, which a busy machine hardly changes; the wall clock only stops those that sleep.
        self.limits = Limits(cpu_seconds=math.ceil(options.time_limit), seconds=3 * options.time_limit + 5)

        self._parser = Workers("pfh_domains.code.parsing:finished_part", cpu_seconds=5)

    @cached_property
    def version(self) -> str:
        """Name the rules, the options and the rows that the problems come from.

        Raises:
            DataUnavailableError: the training problems cannot be had here.
        """
        given = json.dumps([VERSION, self._rows.fingerprint, self.options.model_dump(mode="json")])
        return hashlib.sha256(given.encode()).hexdigest()[:12]

    def problems(self, split: Split, count: int, seed: int) -> tuple[Problem, ...]:
        """Return `count` problems in an order that `seed` shuffles; a problem's text decides its split.

        Raises:
            DataUnavailableError: the training problems cannot be had here.
            UserError: there are fewer.
        """
        there = self._splits[split]
        if count > len(there):
            raise UserError(
                f"domain code: {self.options.dataset} has {len(there)} {split} problems under these options, and "
                f"{count} were asked for. Ask for fewer (--problems), or loosen min_tests, max_prompt_chars and "
                "varied_outputs."
            )
        return tuple(sorted(there, key=lambda problem: _shuffled(problem.id, seed))[:count])

    def holdout(self, name: str) -> tuple[Problem, ...]:
        """Return the problems of one held-out set.

        Raises:
            DataUnavailableError: the set cannot be had here.
        """
        return load_holdout(name, self._data)

    def holdout_tokens(self, name: str) -> int | None:
        """Return the length limit that a held-out set needs; None where the options say one."""
        return None if self.options.max_new_tokens else HOLDOUT_TOKENS.get(name)

    def verify(self, problem: Problem, completion: str) -> Verdict:
        """Run the program of `completion`: reward 1 where every test passes, else 0."""
        completion = behind_thought(completion)
        checks = from_answer(problem.answer)
        if isinstance(checks, CallTests):
            program = extract_program(completion, checks.prompt, checks.names[0])
        else:
            program = extract_program(completion)
        if program is None:
            return Verdict(reward=0.0, extracted=None)
        program = self._parser.call(program) or program
        return Verdict(reward=float(passes(program, checks, self.limits)), extracted=program)

    def verify_many(self, problems: Sequence[Problem], completions: Sequence[str]) -> list[Verdict]:
        """Judge many completions over the cores, in their order."""
        pairs = list(zip(problems, completions, strict=True))
        return in_parallel(lambda pair: self.verify(*pair), pairs)

    def gold(self, problem: Problem) -> str | None:
        """Return the reference solution; None where there is none."""
        return problem.solution

    def test_aid(self, problem: Problem) -> TestAid | None:
        """Return a program that looks its outputs up in the tests, where a contest problem has no solution."""
        checks = from_answer(problem.answer)
        if problem.solution is not None or isinstance(checks, CallTests):
            return None
        return TestAid(fenced(lookup_program(checks)))

    def own_problem(self, prompt: str, answers: Sequence[str]) -> Problem:
        """Return the problem of a prompt and the tests in its answer.

        Raises:
            ValueError: the answer is no test; says which forms there are.
        """
        return Problem(
            id="own", environment="code:own", messages=chat(prompt), answer=to_answer(own_checks(prompt, answers))
        )

    def close(self) -> None:
        """End the processes that parse; the next program starts new ones."""
        self._parser.close()

    @cached_property
    def _rows(self) -> Dataset:
        return load_training(self.options, self._data)

    @cached_property
    def _splits(self) -> dict[Split, list[Problem]]:
        return training_problems(self.options, self._rows)


def _shuffled(identity: str, seed: int) -> str:
    return hashlib.sha256(f"{seed}/{identity}".encode()).hexdigest()
