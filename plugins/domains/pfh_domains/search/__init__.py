"""GEM's search tool: a completion's first query is searched for, and the passages that match are the next user turn."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from pfh.hooks.domains import Reply
from pfh.kit.thoughts import read_thoughts

from pfh_domains.cleaning import cleaned

VERSION = "1"
"""Changes whenever a reply may."""
LONGEST_QUERY = 1000
"""Characters of a query that are searched for."""
INVITATION = (
    "You may first search: write a query inside <search> and </search>. The passages that match are sent to you inside "
    "<information> and </information>."
)
LAST = "No more searches are made: give the final answer."
STOPS = ("<information>",)
"""Where a model begins to make up the passages itself."""

_CALL = re.compile(r"<search>(.*?)</search>", re.DOTALL)


@dataclass(frozen=True)
class Passage:
    """A piece of a corpus."""

    title: str
    text: str


class Retriever(Protocol):
    """Finds passages."""

    @property
    def identity(self) -> str:
        """Changes whenever a passage may, as far as can be known."""
        ...

    def search(self, queries: Sequence[str], count: int) -> list[list[Passage]]:
        """Return for each query at most `count` passages, the best first.

        Raises:
            StepFailedError: the passages cannot be had now.
        """
        ...


def answer(
    completions: Sequence[str], left: int, retriever: Retriever, *, results: int, longest: int
) -> list[Reply | None]:
    """Search for the query of each completion, all together, and reply with what is found; None where there is none.

    Where none is `left` after this reply, it asks for the final answer.

    Raises:
        StepFailedError: the passages cannot be had now; that says nothing about the completions.
    """
    called = {place: call for place, said in enumerate(completions) if (call := find_query(said)) is not None}
    queries = list(dict.fromkeys(query for _, query in called.values() if query))
    found = dict(zip(queries, retriever.search(queries, results) if queries else [], strict=True))
    replies: list[Reply | None] = [None] * len(completions)
    for place, (heard, query) in called.items():
        content = reply(found.get(query, []), longest)
        replies[place] = Reply(heard=heard, content=content if left else f"{content}\n{LAST}")
    return replies


def find_query(completion: str) -> tuple[str, str] | None:
    """Return the completion up to the end of its first query, and the query; None where none is complete.

    What follows was written without the passages, so it does not count; nor does a query that was only thought of.
    """
    found = _CALL.search(read_thoughts(completion).blanked)
    return (completion[: found.end()], " ".join(found[1].split())[:LONGEST_QUERY]) if found else None


def reply(passages: Sequence[Passage], longest: int) -> str:
    """Return the turn that follows a query, in GEM's words; of each text at most `longest` characters."""
    shown = [
        f"Doc {number}(Title: {cleaned(' '.join(passage.title.split()), longest)}) {cleaned(passage.text, longest)}"
        for number, passage in enumerate(passages, start=1)
    ]
    return "\n".join(["<information>", *(shown or ["No passage matches."]), "</information>"])
