"""GEM's Python tool, in the sandbox: a completion's first program is run, and what it prints is the next user turn."""

from __future__ import annotations

import re
from collections.abc import Sequence
from textwrap import dedent

from pfh.hooks.domains import Reply
from pfh.kit.thoughts import read_thoughts
from pfh.sandbox import Limits, Outcome, in_parallel, run_python

from pfh_domains.cleaning import cleaned

VERSION = "2"
"""Changes whenever a reply may."""
PACKAGES = ("numpy", "sympy", "mpmath")
"""Installed packages that a program may import beside the standard library."""
LIMITS = Limits(cpu_seconds=5, seconds=20, processes=16, file_mb=16, output_kb=256)
"""As in GEM 5 seconds, here of CPU time, which a busy machine hardly changes."""
LONGEST_OUTPUT = 1000
"""Characters of the output that are shown."""
INVITATION = (
    "You may first write a Python program in a block that begins with ```python and ends with ```. It is run, and what "
    "it prints is sent to you."
)
LAST = "No more programs are run: give the final answer."
STOPS = ("```output",)
"""Where a model begins to make up the output itself."""

_MARKS = ((re.compile(r"<python>"), "</python>"), (re.compile(r"```\n?python3?"), "```"))
_EXCEEDED = {"timeout": "time", "memory": "memory", "output": "output"}


def check_sandbox() -> None:
    """Run an empty program.

    Raises:
        UserError: programs cannot be confined here; the message says what to do.
    """
    run_python("", limits=LIMITS, packages=PACKAGES)


def answer(completions: Sequence[str], left: int) -> list[Reply | None]:
    """Run the program of each completion, several at once, and reply with what it prints; None where there is none.

    Where none is `left` after this reply, it asks for the final answer.
    """
    called = {
        place: call for place, completion in enumerate(completions) if (call := find_program(completion)) is not None
    }
    outcomes = in_parallel(lambda call: run_python(call[1], limits=LIMITS, packages=PACKAGES), list(called.values()))
    replies: list[Reply | None] = [None] * len(completions)
    for (place, (heard, _)), outcome in zip(called.items(), outcomes, strict=True):
        content = reply(shown(outcome))
        replies[place] = Reply(heard=heard, content=content if left else f"{content}\n{LAST}")
    return replies


def reply(printed: str) -> str:
    """Return the turn that follows a program, in GEM's words."""
    return f"Code execution result: {printed}"


def find_program(completion: str) -> tuple[str, str] | None:
    """Return the completion up to the end of its first program, and the program; None where none is complete.

    What follows was written without the output, so it does not count. Marked by <python> and </python> or as a Python
    block, as GEM's `PythonCodeTool` wants it.
    """
    found = []
    said = read_thoughts(completion).blanked  # what is only thought of is not run
    for opening, closing in _MARKS:
        opened = opening.search(said)
        end = said.find(closing, opened.end()) if opened else -1
        if opened and end >= 0:
            found.append((completion[: end + len(closing)], dedent(completion[opened.end() : end]).strip()))
    return min(found, key=lambda call: len(call[0]), default=None)


def shown(outcome: Outcome) -> str:
    """Return what a program printed, and why it failed, as plain text of limited length.

    How far a program came before it was stopped would differ from run to run, so that is not told.
    """
    if outcome.status not in ("ok", "error"):
        return f"The program was stopped: too much {_EXCEEDED[outcome.status]}."
    lines = [cleaned(outcome.stdout, LONGEST_OUTPUT)]
    if outcome.status == "error":
        last_line = outcome.stderr.strip().rpartition("\n")[2]
        lines.append(cleaned(last_line, LONGEST_OUTPUT) or f"exit status {outcome.exit_code}")
    return "\n".join(line for line in lines if line) or "The program printed nothing."
