"""Training problems that are generated: GEM's rg: tasks in the manner of ARC."""

from __future__ import annotations

from pfh.hooks.domains import Problem, Split

from pfh_domains.qa.problems import make_problem
from pfh_domains.qa.settings import Options
from pfh_domains.reasoning import Options as ReasoningOptions
from pfh_domains.reasoning import Reasoning


class GeneratedTask:
    """One of reasoning-gym's tasks, whose questions show worked examples of their own."""

    def __init__(self, options: Options) -> None:
        self._options = options
        chosen = {"tasks": (options.dataset,), "shots": 0, "answer_format": "boxed"}
        self._task = Reasoning(ReasoningOptions.model_validate(chosen))
        self.version = self._task.version

    def problems(self, split: Split, count: int, seed: int) -> tuple[Problem, ...]:
        """Return `count` problems; a problem's content decides its split."""
        return tuple(
            make_problem(
                problem.id,
                problem.environment,
                self._task.question(problem),
                (self._task.reference(problem),),
                self._options,
                examples=(),
                what="the output grid",
            )
            for problem in self._task.problems(split, count, seed)
        )
