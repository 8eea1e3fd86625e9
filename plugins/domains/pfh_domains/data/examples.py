"""From rows to examples: a prompt, and what is known of its completion."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from pfh.hooks.backends import Message
from pfh.hooks.datasets import Row
from pfh.text import storable

from pfh_domains.data.chats import apart, as_chat, check_order, common_beginning, transcript, turns_of
from pfh_domains.data.forms import Form
from pfh_domains.data.settings import Options
from pfh_domains.qa.prompts import with_options

LETTERS = "ABCDEFGHIJ"


@dataclass(frozen=True, kw_only=True)
class Example:
    """What one row, or one turn of it, says."""

    place: int
    """Line or row of the file."""
    messages: tuple[Message, ...]
    """The prompt, ending in a turn of the user."""
    whole: str
    """What decides the split: the same for all turns of a conversation."""
    completion: str | None = None
    answers: tuple[str, ...] = ()
    """Any of which is right."""
    rejected: str | None = None
    row: str = ""
    """All of the row as JSON, for a verifier of the user's own."""


def examples_of(place: int, row: Row, form: Form, options: Options) -> list[Example]:
    """Return the examples of a row.

    Raises:
        ValueError: the row cannot be used; says why.
    """
    size = sum(len(value) for value in _texts(row, form))
    if size > options.max_chars:
        raise ValueError(f"has {size:,} characters, more than data.max_chars={options.max_chars:,}")
    found = list(_READ[form.name](row, form, options))
    system = form.value(row, "system")
    whole = json.dumps([system, found[0].whole], ensure_ascii=True)
    kept = json.dumps(row, default=str) if options.judged_alone or ":" in options.verifier else ""
    return [replace(_with_system(each, system), place=place, whole=whole, row=kept) for each in found]


def _texts(row: Row, form: Form) -> Iterator[str]:
    for column in form.columns.values():
        value = row.get(column)
        yield value if isinstance(value, str) else json.dumps(value, default=str, ensure_ascii=False)


def _with_system(example: Example, system: Any) -> Example:  # noqa: ANN401 - JSON
    if not isinstance(system, str) or not system.strip() or example.messages[0]["role"] == "system":
        return example
    return replace(example, messages=({"role": "system", "content": storable(system)}, *example.messages))


def _conversation(row: Row, form: Form, options: Options) -> Iterator[Example]:
    turns = turns_of(form.value(row, "messages"))
    check_order(turns)
    answers = answers_of(form.value(row, "answer"))
    judged = bool(answers) or options.judged_alone
    if turns[-1]["role"] == "user" and judged:
        yield _example(turns, answers=answers)
        return
    if turns[-1]["role"] == "user":
        turns.pop()
    said = [number for number, turn in enumerate(turns) if turn["role"] == "assistant"]
    if not said:
        raise ValueError("the conversation has no turn of the assistant to learn from")
    whole = json.dumps(turns[: said[0]])
    for number in said[-1:] if judged or options.turns == "last" else said:
        yield _example(turns[:number], completion=turns[number]["content"], answers=answers, whole=whole)


def _preference(row: Row, form: Form, options: Options) -> Iterator[Example]:
    chosen, rejected = form.value(row, "chosen"), form.value(row, "rejected")
    given = form.value(row, "prompt")
    for name, value in (("chosen", chosen), ("rejected", rejected)):
        if not value or (isinstance(value, str) and not value.strip()):
            raise ValueError(f"{name} is empty")
    if isinstance(chosen, str) and isinstance(rejected, str):
        one, other = transcript(chosen), transcript(rejected)
        if given is None and one and other:
            prompt, better, worse = apart(one, other)
        elif given is None:
            if chosen == rejected:
                raise ValueError("chosen and rejected are the same")
            text, better, worse = common_beginning(chosen, rejected)
            prompt = as_chat(text, "prompt")
        else:
            prompt, better, worse = as_chat(given, "prompt"), chosen, rejected
    elif isinstance(chosen, str) or isinstance(rejected, str):
        raise ValueError("one of chosen and rejected is a text and the other a conversation")
    else:
        one, other = turns_of(chosen), turns_of(rejected)
        if one[0]["role"] == other[0]["role"] == "assistant" and given is not None:
            before = as_chat(given, "prompt")
            one, other = [*before, *one], [*before, *other]
        prompt, better, worse = apart(one, other)
    for name, text in (("chosen", better), ("rejected", worse)):
        if not text.strip():
            raise ValueError(f"{name} is empty")
    if better.strip() == worse.strip():
        raise ValueError("chosen and rejected are the same")
    check_order([*prompt, {"role": "assistant", "content": better}])
    yield _example(prompt, completion=storable(better), rejected=storable(worse))


def _completed(row: Row, form: Form, options: Options) -> Iterator[Example]:
    completion = form.value(row, "completion")
    if isinstance(completion, list) and completion:
        turns = turns_of(completion)
        if [turn["role"] for turn in turns] != ["assistant"]:
            raise ValueError("the completion is a conversation and not one turn of the assistant")
        completion = turns[0]["content"]
    if completion is None:
        raise ValueError("there is no completion")
    if not isinstance(completion, str):
        raise ValueError("the completion is no text")
    if not completion.strip():
        raise ValueError("the completion is empty")
    answers = answers_of(form.value(row, "answer"))
    yield _example(_prompt(row, form), completion=storable(completion), answers=answers)


def _answered(row: Row, form: Form, options: Options) -> Iterator[Example]:
    given, choices = form.value(row, "answer"), form.value(row, "choices")
    prompt = _prompt(row, form)
    if choices is not None:
        options_given = _labelled(choices)
        *before, last = prompt
        prompt = [*before, {"role": "user", "content": with_options(last["content"], list(options_given.values()))}]
        given = _letter(given, options_given)
    answers = answers_of(given)
    if not answers and not options.judged_alone:
        raise ValueError("there is no answer" if given is None else "the answer is empty")
    yield _example(prompt, answers=answers)


def _prompt(row: Row, form: Form) -> list[Message]:
    turns = as_chat(form.value(row, "prompt"), "prompt")
    check_order(turns)
    if turns[-1]["role"] == "assistant":
        raise ValueError("the prompt ends with the assistant")
    beside = form.value(row, "input")
    if isinstance(beside, str) and beside.strip():
        turns[-1] = {"role": "user", "content": f"{turns[-1]['content']}\n\n{storable(beside)}"}
    return turns


def _example(messages: list[Message], *, whole: str = "", **known: Any) -> Example:  # noqa: ANN401 - fields of Example
    return Example(place=0, messages=tuple(messages), whole=whole or json.dumps(messages), **known)


def answers_of(given: Any) -> tuple[str, ...]:  # noqa: ANN401 - JSON
    """Return the accepted answers of a row: a text, a number, an object (a schema), or a list of texts or numbers.

    Raises:
        ValueError: it is nothing of the kind.
    """
    if given is None:
        return ()
    if isinstance(given, dict):
        return (json.dumps(given),)
    values = given if isinstance(given, list) else [given]
    if not all(isinstance(one, (str, int, float)) for one in values):
        raise ValueError("the answer is neither a text nor a number, nor a list of these")
    texts = (storable(one).strip() if isinstance(one, str) else json.dumps(one) for one in values)
    return tuple(dict.fromkeys(text for text in texts if text))


def _labelled(choices: Any) -> dict[str, str]:  # noqa: ANN401 - JSON
    """Return label to text of the options: a list of texts, or an object of labels and texts as ARC has it."""
    if isinstance(choices, dict) and isinstance(choices.get("text"), list) and isinstance(choices.get("label"), list):
        choices = dict(zip(choices["label"], choices["text"], strict=False))
    if isinstance(choices, list):
        choices = dict(zip(LETTERS, choices, strict=False)) if len(choices) <= len(LETTERS) else {}
    if not isinstance(choices, dict) or not 2 <= len(choices) <= len(LETTERS):
        raise ValueError(f"the choices are no list of 2 to {len(LETTERS)} options")
    return {str(label): str(text) for label, text in choices.items()}


def _letter(given: Any, choices: dict[str, str]) -> str:  # noqa: ANN401 - JSON
    """Return the letter of the right option, which a row gives by its label, its text, or its place from 0."""
    labels, texts = list(choices), list(choices.values())
    said = str(given).strip()
    if said in labels:
        return LETTERS[labels.index(said)]
    if said in texts:
        return LETTERS[texts.index(said)]
    if isinstance(given, int) and not isinstance(given, bool) and 0 <= given < len(labels):
        return LETTERS[given]
    if said.upper() in labels:
        return LETTERS[labels.index(said.upper())]
    raise ValueError(f"the answer {said!r} is none of the {len(choices)} choices")


_READ = {
    "messages": _conversation,
    "sharegpt": _conversation,
    "preference": _preference,
    "instruction": _completed,
    "completion": _completed,
    "answer": _answered,
}
"""How a row of each form is read."""
