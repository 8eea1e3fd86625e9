"""The form of what a method learns from: a bare answer, an answer with its reasoning, or a program."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from typing import Literal

from pfh.hooks.domains import AsksToReason, Domain, Problem
from pfh.kit.thoughts import behind_thought

Form = Literal["answer", "rationale", "program"]

FEWEST_WORDS = 4
"""Fewer words beside the answer are no reasoning."""

_ANSWERS = re.compile(r"\\boxed\{.*\}|<answer>.*?</answer>|\bthe (final )?answer is\b", re.IGNORECASE | re.DOTALL)


def form_of(completion: str, problem: Problem) -> Form:
    """Return the form of a completion that answers `problem`."""
    completion = behind_thought(completion)
    if "```" in completion:
        return "program"
    if completion.strip() in problem.answer:
        return "answer"
    beside = _ANSWERS.sub(" ", completion).replace(problem.answer, " ")
    return "answer" if len(re.findall(r"\w+", beside)) < FEWEST_WORDS else "rationale"


def asks_to_reason(domain: Domain) -> bool:
    """Say whether the domain's prompts ask for reasoning before the answer."""
    return isinstance(domain, AsksToReason) and domain.asks_to_reason


def told_forms(targets: Iterable[tuple[str, Problem]]) -> dict[str, str]:
    """Return the ledger's entry on the form of the targets, pairs of a completion and its problem, by frequency."""
    counted = Counter(form_of(completion, problem) for completion, problem in targets)
    return {"target_form": ", ".join(f"{form} {count}" for form, count in counted.most_common())}
