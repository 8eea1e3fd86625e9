"""What a row is: found by the names of its columns, as people have them, or as the options say."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, get_args

from pfh.errors import UserError, did_you_mean
from pfh.hooks.datasets import Row

from pfh_domains.data.reading import Rows
from pfh_domains.data.settings import FormName, Options

NAMES: Mapping[str, tuple[str, ...]] = {
    "messages": ("messages", "conversations", "conversation", "chat", "dialogue", "dialog", "turns"),
    "prompt": ("prompt", "question", "query", "problem", "instruction", "request", "input", "user"),
    "input": ("input", "context"),
    "completion": ("completion", "response", "output", "solution", "reply", "demonstration", "assistant"),
    "answer": (
        *("answer", "answers", "final_answer", "expected_answer", "reference_answer", "correct_answer", "gold_answer"),
        *("answer_key", "answerkey"),
        *("gold", "ground_truth", "target", "expected"),
    ),
    "chosen": ("chosen", "chosen_response", "response_chosen", "preferred", "accepted"),
    "rejected": ("rejected", "rejected_response", "response_rejected", "dispreferred", "nonpreferred"),
    "choices": ("choices", "options"),
    "system": ("system", "system_prompt"),
}
"""Role of a column to its usual names, the most usual first."""
ROLES: Mapping[FormName, tuple[str, ...]] = {
    "messages": ("messages", "answer", "system"),
    "sharegpt": ("messages", "answer", "system"),
    "preference": ("prompt", "chosen", "rejected", "system"),
    "instruction": ("prompt", "input", "completion", "answer", "system"),
    "completion": ("prompt", "input", "completion", "answer", "system"),
    "answer": ("prompt", "input", "answer", "choices", "system"),
}
"""Form to the roles that its columns may have."""
OPTIONAL = ("input", "answer", "choices", "system")
"""Roles that a row can do without."""
CLOSE = 0.75
"""How alike a column must be to a usual name to be taken for a misspelling."""
RARE = 10
"""A form that fewer than one row in so many has is no form of the file: those rows are broken."""


@dataclass(frozen=True, kw_only=True)
class Form:
    """What the rows are, and which column has which role."""

    name: FormName
    columns: Mapping[str, str]
    """Role to column."""
    unused: tuple[str, ...]

    def value(self, row: Row, role: str) -> Any:  # noqa: ANN401 - JSON
        """Return what the row's column of that role holds; None where it holds nothing, or there is none."""
        return row.get(self.columns[role]) if role in self.columns else None


def find_form(read: Rows, options: Options) -> Form:
    """Return the form of the rows.

    Raises:
        UserError: a column that an option names is not there, no form fits, or several do; says which option decides.
    """
    present = Counter(str(column) for _, row in read.rows for column, value in row.items() if value is not None)
    named = {role: getattr(options, role) for role in NAMES if getattr(options, role)}
    for role, column in named.items():
        if column not in present:
            raise UserError(
                f"{read.origin} has no column {column!r} (data.{role}).{did_you_mean(column, present)} It has "
                f"{', '.join(present)}."
            )
    found = _candidates(present, named)
    usable = [form for form in get_args(FormName) if form == (options.form or form) and set(named) <= set(ROLES[form])]
    counted = Counter(
        form
        for _, row in read.rows
        for form in _forms_of(row, found, judged_alone=options.judged_alone)
        if form in usable
    )
    likely = [form for form in usable if counted[form] * RARE >= len(read.rows)]
    if len(likely) > 1:
        raise UserError(
            f"The rows of {read.origin} could be read in {len(likely)} ways, as {' or as '.join(likely)}: decide with "
            f"{' or '.join(f'-o data.form={form}' for form in likely)}."
        )
    if not likely:
        raise UserError(_no_form(read, present, options))
    columns = {role: _only(role, found[role], read) for role in ROLES[likely[0]] if found[role]}
    return Form(
        name=likely[0],
        columns=columns,
        unused=tuple(column for column in present if column not in columns.values()),
    )


def _candidates(present: Counter[str], named: Mapping[str, str]) -> dict[str, list[str]]:
    """Return role to the columns that may have it, the most usual name first; the one alone that an option names."""
    plain: dict[str, list[str]] = {}
    for column in present:
        plain.setdefault(column.strip().lower().replace(" ", "_").replace("-", "_"), []).append(column)
    taken = set(named.values())
    found = {
        role: [named[role]]
        if role in named
        else [one for name in names for one in plain.get(name, ()) if one not in taken]
        for role, names in NAMES.items()
    }
    if "prompt" not in named and "instruction" in plain and found["completion"]:
        found["prompt"] = plain["instruction"]
    elif "input" not in named:
        found["input"] = []  # what stands beside an instruction; beside a question it may be anything
    return found


def _forms_of(row: Row, found: Mapping[str, Sequence[str]], *, judged_alone: bool) -> Iterator[FormName]:
    """Yield the forms that a row could be read in."""
    has = {role: [row[column] for column in columns if row.get(column) is not None] for role, columns in found.items()}
    chats = [value for value in has["messages"] if isinstance(value, list) and value and isinstance(value[0], dict)]
    if chats:
        yield "sharegpt" if "from" in chats[0][0] else "messages"
    if has["chosen"] and has["rejected"]:
        yield "preference"
    if has["prompt"] and has["completion"]:
        yield "instruction" if "instruction" in map(str.lower, found["prompt"]) else "completion"
    elif has["prompt"] and (has["answer"] or (judged_alone and not chats and not has["chosen"])):
        yield "answer"


def _only(role: str, columns: Sequence[str], read: Rows) -> str:
    """Return the one column of that role.

    Raises:
        UserError: there are several, and no row can be read without it.
    """
    if len(columns) > 1 and role not in OPTIONAL:
        raise UserError(
            f"{read.origin} has {len(columns)} columns that could be the {role}: decide with "
            f"{' or '.join(f'-o data.{role}={column}' for column in columns)}."
        )
    return columns[0]


def _no_form(read: Rows, present: Counter[str], options: Options) -> str:
    known = "messages, conversations, prompt + completion, instruction + output, chosen + rejected, prompt + answer"
    usual = [name for names in NAMES.values() for name in names]
    close = ((column, get_close_matches(column.lower(), usual, n=1, cutoff=CLOSE)) for column in present)
    near = next((f" Did you mean {names[0]!r} by {column!r}?" for column, names in close if names), "")
    asked = f" as {options.form}" if options.form else ""
    return (
        f"The rows of {read.origin} cannot be read{asked}: its columns are {', '.join(present) or 'none'}, and pfh "
        f"knows {known}.{near} Say which is which, as in -o data.prompt=COLUMN -o data.completion=COLUMN."
    )
