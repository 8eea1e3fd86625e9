"""Whether an answer is the reference answer: what text decides, and math-verify's judgement on the rest."""

from __future__ import annotations

from typing import Any

from pfh_domains.math.plain import number, says, simplified, why_not_final, without_name, word


def quick_verdict(gold: str, answer: str, problem: str) -> bool | None:
    """Judge what needs no computer algebra: the same text, two plain numbers, words, and what is no final answer.

    Two plain numbers are equal only exactly: 0.333 is not 1/3. None where computer algebra must decide.
    """
    gold, answer = same_spelling(gold, answer)
    if answer == gold:
        return True
    if not answer or why_not_final(answer, gold, problem) is not None:
        return False
    numbers = number(gold), number(answer)
    if None not in numbers:
        return numbers[0] == numbers[1]
    if len(gold) == len(answer) == 1:
        return False  # two variables; math-verify would take M for m
    wanted = word(gold)
    return None if wanted is None else says(answer, wanted)


def same_spelling(gold: str, answer: str) -> tuple[str, str]:
    """Return both simplified; where only one of them begins with `x =`, without it."""
    gold, answer = simplified(gold), simplified(answer)
    bare_gold, bare_answer = without_name(gold), without_name(answer)
    if (bare_gold != gold) != (bare_answer != answer):
        return bare_gold, bare_answer
    return gold, answer


def equal(gold: str, answer: str) -> bool:
    """Let math-verify compare two answers. It may take any time and memory: call it through `pfh_domains.workers`."""
    from math_verify import verify

    gold, answer = same_spelling(gold, answer)
    return bool(verify(_parsed(gold), _parsed(answer), timeout_seconds=None))


def _parsed(answer: str) -> list[Any]:
    from math_verify import LatexExtractionConfig, parse

    # Without limits by signals, as the worker has its own; nothing is searched for, as the box holds the whole answer.
    boxes = [LatexExtractionConfig(boxed_match_priority=0)]
    found: list[Any] = parse(f"\\boxed{{{answer}}}", boxes, parsing_timeout=None)
    return found
