"""`pfh verify`: a domain's verifier, on completions of the user's own."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pfh.commands.own_rows import need, prompt_text, read_json_lines
from pfh.hooks.datasets import DataSource
from pfh.hooks.domains import FORMS, Domain, DomainSpec, HasGold, Problem, TakesProblems, Verdict, verify_each
from pfh.kit.thoughts import thinks_on
from pfh.registry.plugins import Plugins

TOGETHER = 256
"""Rows that are judged together."""
SHOWN_LINES = 5


@dataclass(frozen=True, kw_only=True)
class Asked:
    """One row of the user's file."""

    line: int
    row: Mapping[str, Any]
    completion: str
    problems: tuple[Problem, ...]
    """One for each accepted answer where the domain cannot take several; a completion need solve only one."""


def read_rows(file: Path, text: str, domain: Domain) -> list[Asked]:
    """Read JSON lines with prompt, completion and answer (a text, or a list of accepted ones).

    Raises:
        UserError: a line is no such row; names file and line.
    """
    return read_json_lines(
        file,
        text,
        "prompt, completion and answer (a text, or a list of accepted ones)",
        lambda line, row: _asked(line, row, domain),
    )


def verify_rows(domain: Domain, asked: Sequence[Asked]) -> Iterator[dict[str, Any]]:
    """Yield the rows in their order, with what the verifier decided: reward, score, extracted and status.

    A completion that ends inside a thought was cut, and has no answer in a wrong form.
    """
    for start in range(0, len(asked), TOGETHER):
        part = asked[start : start + TOGETHER]
        verdicts = iter(
            verify_each(
                domain,
                [problem for each in part for problem in each.problems],
                [each.completion for each in part for _ in each.problems],
            )
        )
        for each in part:
            best = max((next(verdicts) for _ in each.problems), key=lambda it: (it.reward, it.counted))
            cut = {"status": "truncated"} if thinks_on(each.completion) else {}
            yield {**each.row, **decided(best), **cut}


def decided(verdict: Verdict) -> dict[str, Any]:
    """Return a verdict as the fields of a row."""
    return {
        "reward": verdict.reward,
        "score": 1 if verdict.counted >= 1 else 0,
        "extracted": verdict.extracted,
        "status": "format_failure" if verdict.format_failure else "ok",
    }


def refused_golds(domain: Domain, asked: Sequence[Asked]) -> list[int]:
    """Return the lines whose own answer, written as a completion, the verifier refuses; no completion could earn 1."""
    if isinstance(domain, HasGold):
        return []
    golds = [(each.line, problem) for each in asked for problem in each.problems]
    problems = [problem for _, problem in golds for _ in FORMS]
    completions = [before + _first(problem) + after for _, problem in golds for before, after in FORMS]
    verdicts = iter(verify_each(domain, problems, completions))
    accepted: dict[int, bool] = {}
    for line, _ in golds:
        right = [next(verdicts).counted >= 1 for _ in FORMS]
        accepted[line] = accepted.get(line, False) or any(right)
    return [line for line, right in accepted.items() if not right]


def refusal_note(lines: Sequence[int]) -> str:
    """Say which rows no completion can solve."""
    shown = ", ".join(map(str, lines[:SHOWN_LINES])) + (", ..." if len(lines) > SHOWN_LINES else "")
    one = len(lines) == 1
    return (
        f"The verifier refuses the answer itself of {len(lines)} row{'' if one else 's'} (line{'' if one else 's'} "
        f"{shown}), so no completion can be right there: mend the answer."
    )


def open_for_verification(name: str, options: Mapping[str, Any], plugins: Plugins, data: DataSource) -> Domain:
    """Open a domain under `options`.

    Raises:
        UserError: there is no such domain or option, or the domain cannot judge here.
    """
    chosen = plugins.options("domains", name, options)
    return plugins.open_domain(name, DomainSpec(options=chosen, data=data))


def _asked(line: int, row: Any, domain: Domain) -> Asked:  # noqa: ANN401 - JSON
    row = need(row, "prompt", "completion", "answer")
    if not isinstance(row["completion"], str):
        raise ValueError("completion is not a text")
    prompt, answers = prompt_text(row["prompt"]), _answers(row["answer"])
    if isinstance(domain, TakesProblems):
        problems: tuple[Problem, ...] = (domain.own_problem(prompt, answers),)
    else:
        asked = ({"role": "user", "content": prompt},)
        problems = tuple(
            Problem(id=f"line-{line}", environment=f"{domain.name}:own", messages=asked, answer=answer)  # type: ignore[arg-type]
            for answer in answers
        )
    return Asked(line=line, row=row, completion=row["completion"], problems=problems)


def _answers(given: Any) -> list[str]:  # noqa: ANN401 - JSON
    answers = given if isinstance(given, list) else [given]
    if not answers or not all(isinstance(one, (str, int, float)) for one in answers):
        raise ValueError("answer is neither a text nor a list of texts")
    return [one if isinstance(one, str) else json.dumps(one) for one in answers]


def _first(problem: Problem) -> str:
    """Return the first accepted answer of a problem."""
    return str(json.loads(problem.answer)[0]) if problem.answer.startswith('["') else problem.answer
