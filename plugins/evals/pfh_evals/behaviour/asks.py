"""What is put to a model and how its reply is read: the parts that all generated benchmarks of the family share."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pfh.hooks.backends import Message
from pfh.hooks.samples import sample_id
from pfh.kit.subset import spread

if TYPE_CHECKING:
    from pfh.hooks.evals import EvaluationSpec, PlanSpec

    Spec = EvaluationSpec | PlanSpec

DATA = Path(__file__).parent / "data"


@dataclass(frozen=True, kw_only=True)
class Ask:
    """One item, as it is put to a model."""

    id: str
    """A hash of the item, the same for every model and for every benchmark that reads its reply."""
    category: str
    messages: tuple[Message, ...]
    asked: str
    """What the user wrote in the last turn, without what goes before it."""
    case: Mapping[str, Any] = field(default_factory=dict)
    """What a check needs to know of the item."""
    prompt: str | None = None
    """The rendered text, where the chat template needs more than the messages."""


@dataclass(frozen=True, kw_only=True)
class Read:
    """What a check says of one reply."""

    score: float | None
    label: str
    """The class of the reply, or what was taken out of it."""
    target: str | None = None
    unreadable: bool = False
    """The reply has not the form that it can be scored in."""
    extra: Mapping[str, Any] = field(default_factory=dict)


Loaded = tuple[Sequence[Ask], str]
"""Items, and where they come from."""


@dataclass(frozen=True, kw_only=True)
class Generated:
    """A benchmark that reads replies."""

    name: str
    group: str
    """A name that stands for several benchmarks."""
    metric: str
    higher_is_better: bool | None
    load: Callable[[Spec], Loaded]
    """Raises DataUnavailableError where the items cannot be had."""
    read: Callable[[Ask, str], Read]
    """Reads what the model said, its thoughts cut off."""
    version: str = "1"
    """Of its items and of what reads the replies."""
    judge: str = ""
    """Name and version of the rule that the scores rest on, where it is one that can err."""
    binary: bool = True
    quotes: bool = False
    """A right reply may repeat what was asked."""
    of_silence: float | None = 0.0
    """Score of a reply that is empty or an echo: None where a low score would be the good one."""


def built_in(file: str) -> list[Any]:
    """Return the rows of one of the family's own files."""
    rows: list[Any] = json.loads((DATA / file).read_text(encoding="utf-8"))
    return rows


def chat(*turns: str) -> tuple[Message, ...]:
    """Return a chat of turns of the user and the assistant, the user's first."""
    return tuple(
        {"role": "user", "content": text} if place % 2 == 0 else {"role": "assistant", "content": text}
        for place, text in enumerate(turns)
    )


def ask(group: str, category: str, messages: tuple[Message, ...], case: Mapping[str, Any]) -> Ask:
    """Return an item whose id is a hash of what is asked."""
    key = sample_id(f"behaviour {group}", "1", {"messages": messages, "category": category})
    return Ask(id=key, category=category, messages=messages, asked=messages[-1]["content"], case=case)


def single_turns(group: str, file: str, field: str = "ask") -> Callable[[Spec], Loaded]:
    """Return what loads a file of the family's own: one item a row, whose text is its `field`."""

    def load(spec: Spec) -> Loaded:
        return [ask(group, "", chat(row[field]), row) for row in built_in(file)], "built in"

    return load


def limited(asks: Sequence[Ask], limit: int | None) -> list[Ask]:
    """Return at most `limit` of the items, evenly over their categories; one that occurs twice is asked once."""
    by_id = {each.id: each for each in asks}
    return [by_id[key] for key in spread({key: each.category for key, each in by_id.items()}, limit)]
