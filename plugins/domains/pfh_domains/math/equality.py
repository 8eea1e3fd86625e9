"""Whether an answer is the reference answer: what text decides, and math-verify's judgement on the rest."""

from __future__ import annotations

from typing import Any

from pfh_domains.math.identities import same_text
from pfh_domains.math.plain import number, says, simplified, why_not_final, without_name, word

DIGITS = 50
"""Significant digits to which two constants must agree; math-verify's own 6 decimals take 1.414214 for a root of 2."""


def quick_verdict(gold: str, answer: str, problem: str) -> bool | None:
    """Judge what needs no computer algebra: the same text, two plain numbers, words, and what is no final answer.

    Two plain numbers are equal only exactly: 0.333 is not 1/3. None where computer algebra must decide.
    """
    gold, answer = same_spelling(gold, answer)
    if answer == gold:
        return True
    if not answer or not gold:
        return False
    same = same_text(gold, answer)
    if same is not None:
        return same
    if why_not_final(answer, gold, problem) is not None:
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
    """Let math-verify compare two answers. It may take any time and memory: call it through `pfh.kit.workers`."""
    from math_verify import verify

    gold, answer = same_spelling(gold, answer)
    wanted, found = _parsed(gold), _parsed(answer)
    if not verify(wanted, found, float_rounding=12, numeric_precision=DIGITS, timeout_seconds=None):
        return False
    return not (wanted and found and _different_constants(wanted[0], found[0]))


def _different_constants(wanted: Any, found: Any) -> bool:  # noqa: ANN401 - sympy ships no types
    """Whether both are numbers that differ, decimals read as written."""
    from sympy import Expr, Float, Rational, nsimplify  # type: ignore[import-untyped]

    if not (isinstance(wanted, Expr) and isinstance(found, Expr)) or wanted.free_symbols or found.free_symbols:
        return False
    sides = []
    for side in (wanted, found):
        exact = side.doit().xreplace({each: nsimplify(Rational(str(each))) for each in side.atoms(Float)})
        sides.append(exact)
    difference = (sides[0] - sides[1]).doit()
    if difference.is_zero:
        return False
    gap, size = abs(difference.evalf(DIGITS)), abs(sides[0].evalf(DIGITS))
    return bool(gap > size * 10 ** (10 - DIGITS))


def _parsed(answer: str) -> list[Any]:
    from math_verify import LatexExtractionConfig, parse

    # Without limits by signals, as the worker has its own; nothing is searched for, as the box holds the whole answer.
    boxes = [LatexExtractionConfig(boxed_match_priority=0)]
    found: list[Any] = parse(f"\\boxed{{{answer}}}", boxes, parsing_timeout=None)
    return found
