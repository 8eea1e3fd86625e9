"""Where a program ends that was cut off, as `pfh.kit.workers` calls it: parsing what a model wrote may crash."""

from __future__ import annotations

import ast

TRIED = 50
"""Lines at the margin, from the fault backwards, before which a program is tried to end."""


def finished_part(code: str) -> str:
    """Return `code` without what stands behind its last finished statement at the margin, where it cannot be parsed.

    A function that was finished before the length limit cut off the next one, or before a sentence, still counts.
    """
    fault = _fault(code)
    if fault is None:
        return code
    lines = code.splitlines(keepends=True)
    starts = [place for place, line in enumerate(lines[:fault]) if line.strip() and not line.startswith((" ", "\t"))]
    for start in reversed(starts[-TRIED:]):
        finished = "".join(lines[:start])
        if finished.strip() and _fault(finished) is None:
            return finished
    return code


def _fault(code: str) -> int | None:
    """Return the number of the line at which `code` cannot be parsed; None where it can."""
    try:
        ast.parse(code)
    except SyntaxError as error:
        return error.lineno or 1
    except (ValueError, RecursionError, MemoryError):
        return 1
    return None
