"""Conversations as people have them, as turns of a chat."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise, takewhile
from typing import Any, Literal

from pfh.hooks.backends import Message
from pfh.text import storable

_ROLES: dict[str, Literal["system", "user", "assistant"]] = {
    **dict.fromkeys(("system", "developer"), "system"),
    **dict.fromkeys(("user", "human", "prompter"), "user"),
    **dict.fromkeys(("assistant", "gpt", "model", "chatgpt", "ai", "bot"), "assistant"),
}
_HEADS = ("role", "from", "speaker")
_BODIES = ("content", "value", "text")
_TRANSCRIPT = re.compile(r"(?:^|\n\n)(Human|Assistant): ?")
"""How Anthropic's hh-rlhf writes a conversation as one text (Bai et al. 2022, arXiv 2204.05862)."""


def turns_of(given: Any) -> list[Message]:  # noqa: ANN401 - JSON
    """Return the turns of a conversation: a list of objects with role and content, or with from and value.

    Raises:
        ValueError: it is none that a chat template could render; says why.
    """
    if given is None:
        raise ValueError("there is no conversation")
    if isinstance(given, dict):
        given = [given]
    if not isinstance(given, list) or not given:
        raise ValueError("the conversation is no list of turns")
    turns: list[Message] = []
    for number, turn in enumerate(given, start=1):
        if not isinstance(turn, dict):
            raise ValueError(f"turn {number} of the conversation is no object with a role and a content")
        head = next((turn[name] for name in _HEADS if turn.get(name) is not None), "")
        role = _ROLES.get(str(head).strip().lower())
        if role is None:
            raise ValueError(f"turn {number} has the role {str(head)!r}; a chat here has system, user and assistant")
        content = _content(next((turn[name] for name in _BODIES if turn.get(name) is not None), ""), number)
        if not content.strip():
            if role == "system":
                continue
            raise ValueError(f"turn {number}, of the {role}, is empty")
        turns.append({"role": role, "content": content})
    return turns


def _content(given: Any, number: int) -> str:  # noqa: ANN401 - JSON
    if isinstance(given, list) and all(isinstance(part, dict) and part.get("type") == "text" for part in given):
        given = "".join(str(part.get("text") or "") for part in given)
    if not isinstance(given, str):
        raise ValueError(f"turn {number} is no text")
    return storable(given)


def check_order(turns: Sequence[Message]) -> None:
    """Check that the user begins and that user and assistant take turns.

    Raises:
        ValueError: they do not.
    """
    spoken = [turn["role"] for turn in turns if turn["role"] != "system"]
    if any(turn["role"] == "system" for turn in turns[1:]):
        raise ValueError("a system turn stands behind the beginning of the conversation")
    if not spoken:
        raise ValueError("the conversation has no turn of the user")
    if spoken[0] == "assistant":
        raise ValueError("the conversation begins with the assistant")
    for one, next_one in pairwise(spoken):
        if one == next_one:
            raise ValueError(f"the conversation has two turns of the {one} in a row")


def as_chat(given: Any, what: str) -> list[Message]:  # noqa: ANN401 - JSON
    """Return a prompt, a text or a conversation, as turns.

    Raises:
        ValueError: it is neither, or empty.
    """
    if isinstance(given, str):
        if not given.strip():
            raise ValueError(f"the {what} is empty")
        return [{"role": "user", "content": storable(given)}]
    if isinstance(given, list) and given:
        return turns_of(given)
    raise ValueError(f"the {what} is neither a text nor a conversation" if given is not None else f"there is no {what}")


def transcript(text: str) -> list[Message] | None:
    """Return the turns of a text that is written "Human: ... Assistant: ..."; None where it is not."""
    parts = _TRANSCRIPT.split(text)
    if len(parts) < 3 or parts[0].strip():
        return None
    pairs = zip(parts[1::2], parts[2::2], strict=True)
    return [{"role": _ROLES[name.lower()], "content": storable(said.strip())} for name, said in pairs]


def apart(chosen: Sequence[Message], rejected: Sequence[Message]) -> tuple[list[Message], str, str]:
    """Return what two conversations have in common, and the last turn of each.

    Raises:
        ValueError: they are the same, or differ in more than their last turn, the assistant's.
    """
    if list(chosen) == list(rejected):
        raise ValueError("chosen and rejected are the same")
    common = list(chosen[:-1])
    if common != list(rejected[:-1]):
        raise ValueError("chosen and rejected differ in more than their last turn")
    if {chosen[-1]["role"], rejected[-1]["role"]} != {"assistant"}:
        raise ValueError("chosen and rejected do not end with a turn of the assistant")
    if not common:
        raise ValueError("chosen and rejected begin with the assistant, and there is no prompt")
    return common, chosen[-1]["content"], rejected[-1]["content"]


def common_beginning(chosen: str, rejected: str) -> tuple[str, str, str]:
    """Return what two texts begin with, up to a white space, and the rest of each.

    Raises:
        ValueError: they have no beginning in common.
    """
    same = takewhile(lambda pair: pair[0] == pair[1], zip(chosen, rejected, strict=False))
    shared = "".join(one for one, _ in same)
    end = max((found.end() for found in re.finditer(r"\s+", shared)), default=0)
    if not shared[:end].strip():
        raise ValueError("chosen and rejected have no beginning in common that could be the prompt")
    return shared[:end].strip(), chosen[end:], rejected[end:]
