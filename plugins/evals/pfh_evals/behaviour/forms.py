"""JSON and tables: the form and the value are asked for, and only both together are of use (arXiv 2605.02363)."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from pfh_evals.behaviour.asks import Ask, Generated, Loaded, Read, ask, chat
from pfh_evals.behaviour.questions import Question, built_in_questions
from pfh_evals.behaviour.replies import words

if TYPE_CHECKING:
    from pfh_evals.behaviour.asks import Spec

FormClass = Literal["malformed", "valid, not the schema", "schema, wrong value", "right"]
_FENCE = re.compile(r"```[\w-]*\s*\n(.*?)```", re.DOTALL)
_TEXT = {"type": "string"}
SHAPES: tuple[tuple[str, Mapping[str, Any]], ...] = (
    (
        'a JSON object with exactly one key, "answer", a string',
        {"type": "object", "properties": {"answer": _TEXT}, "required": ["answer"], "additionalProperties": False},
    ),
    (
        'a JSON object with exactly two keys: "answer", a string, and "sure", true or false',
        {
            "type": "object",
            "properties": {"answer": _TEXT, "sure": {"type": "boolean"}},
            "required": ["answer", "sure"],
            "additionalProperties": False,
        },
    ),
    (
        'a JSON object with exactly one key, "result", whose value is an object with the one key "answer", a string',
        {
            "type": "object",
            "properties": {
                "result": {
                    "type": "object",
                    "properties": {"answer": _TEXT},
                    "required": ["answer"],
                    "additionalProperties": False,
                }
            },
            "required": ["result"],
            "additionalProperties": False,
        },
    ),
    (
        "a JSON array with exactly one element, a string: the answer",
        {"type": "array", "items": _TEXT, "minItems": 1, "maxItems": 1},
    ),
)
JSON_PROMPTS, TABLE_PROMPTS = 16, 8
_ARTICLES = {"a", "an", "the"}


class NotJsonError(ValueError):
    """A text is no JSON as the standard (RFC 8259) has it."""


def strict_json(text: str) -> Any:  # noqa: ANN401 - whatever JSON holds
    """Return what a text says in JSON; NaN, Infinity and a key that occurs twice are none.

    Raises:
        NotJsonError: it is no JSON.
    """

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            raise NotJsonError("a key occurs twice")
        return found

    def no_number(name: str) -> None:
        raise NotJsonError(f"{name} is no JSON")

    try:
        return json.loads(text, object_pairs_hook=unique, parse_constant=no_number)
    except (ValueError, RecursionError) as error:
        raise NotJsonError(str(error)) from error


def json_class(reply: str, schema: Mapping[str, Any], answer: str) -> FormClass:
    """Return the class of a reply that should be nothing but JSON of `schema` with `answer` in it."""
    from jsonschema import Draft202012Validator

    try:
        value = strict_json(reply)
    except NotJsonError:
        return "malformed"
    if not Draft202012Validator(schema).is_valid(value):
        return "valid, not the schema"
    return "right" if same_answer(_answer_in(value), answer) else "schema, wrong value"


def same_answer(given: str, answer: str) -> bool:
    """Say whether two answers have the same words, articles aside."""
    return _bare(given) == _bare(answer) != []


def table_rows(reply: str) -> list[list[str]] | None:
    """Return the cells of a reply that is one Markdown table, its header first; None where it is none."""
    lines = [line.strip() for line in reply.strip().splitlines() if line.strip()]
    if len(lines) < 3 or not all("|" in line for line in lines):
        return None
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    if not all(re.fullmatch(r":?-+:?", cell) for cell in rows[1]) or len({len(row) for row in rows}) > 1:
        return None
    return [rows[0], *rows[2:]]


def table_class(reply: str, columns: Sequence[str], answers: Sequence[str]) -> FormClass:
    """Return the class of a reply that should be nothing but a Markdown table: a question's number, and its answer."""
    rows = table_rows(reply)
    if rows is None:
        return "malformed"
    header, *body = rows
    if [cell.casefold() for cell in header] != [column.casefold() for column in columns] or len(body) != len(answers):
        return "valid, not the schema"
    given = {row[0].strip(" .)*"): row[-1] for row in body}
    right = all(same_answer(given.get(str(number), ""), answer) for number, answer in enumerate(answers, start=1))
    return "right" if right else "schema, wrong value"


def _answer_in(value: object) -> str:
    while isinstance(value, dict | list):
        value = value.get("answer", value.get("result", "")) if isinstance(value, dict) else value[0]
    return str(value)


def _bare(text: str) -> list[str]:
    return [word for word in words(text) if word not in _ARTICLES]


def only_json(reply: str) -> str:
    """Return the JSON that stands somewhere in a reply; empty where there is not exactly one object or array."""
    fenced = _FENCE.findall(reply)
    text = fenced[0] if len(fenced) == 1 else reply
    found, place = [], 0
    while (start := min((at for at in (text.find("{", place), text.find("[", place)) if at >= 0), default=-1)) >= 0:
        try:
            _, place = json.JSONDecoder().raw_decode(text, start)
        except (ValueError, RecursionError):
            place = start + 1
            continue
        found.append(text[start:place])
    return found[0] if len(found) == 1 else ""


def _options(question: Question) -> str:
    return ", ".join(question.options[:-1]) + " or " + question.options[-1]


def _json(spec: Spec) -> Loaded:
    asks = []
    for place, question in enumerate(built_in_questions()[::2][:JSON_PROMPTS]):
        shape, schema = SHAPES[place % len(SHAPES)]
        text = (
            f"{question.text} Choose from: {_options(question)}.\n"
            f"Reply with {shape}. Write the JSON alone, without a code fence and without any other text."
        )
        case = {"schema": schema, "answer": question.options[question.answer]}
        asks.append(ask("json", f"shape {place % len(SHAPES) + 1}", chat(text), case))
    return asks, "built in"


def _table(spec: Spec) -> Loaded:
    asks = []
    left = built_in_questions()[1::2]
    for place in range(TABLE_PROMPTS):
        pair = left[2 * place : 2 * place + 2]
        listed = "\n".join(f"{number}. {each.text} ({_options(each)})" for number, each in enumerate(pair, start=1))
        text = (
            f"{listed}\n\nAnswer both questions in a Markdown table with the columns Number and Answer and one row a "
            "question. Write the table alone, without any other text."
        )
        case = {"answers": [each.options[each.answer] for each in pair]}
        asks.append(ask("table", "", chat(text), case))
    return asks, "built in"


def read_json(item: Ask, reply: str) -> Read:
    """Score 1 where the whole reply is the form that was asked for, and the value is right."""
    schema, answer = item.case["schema"], item.case["answer"]
    found, inside = json_class(reply, schema, answer), only_json(reply)
    lenient = json_class(inside, schema, answer) if inside else "malformed"
    return Read(
        score=float(found == "right"),
        label=found,
        target=answer,
        unreadable=found == "malformed",
        extra={"lenient": lenient, "value": _says(reply, answer)},
    )


def read_table(item: Ask, reply: str) -> Read:
    """Score 1 where the whole reply is the table that was asked for, and both values are right."""
    answers = item.case["answers"]
    found = table_class(reply, ("Number", "Answer"), answers)
    tables = "\n".join(line for line in reply.splitlines() if "|" in line)
    return Read(
        score=float(found == "right"),
        label=found,
        target="; ".join(answers),
        unreadable=found == "malformed",
        extra={
            "lenient": table_class(tables, ("Number", "Answer"), answers),
            "value": all(_says(reply, answer) for answer in answers),
        },
    )


def _says(reply: str, answer: str) -> bool:
    return f" {' '.join(_bare(answer))} " in f" {' '.join(_bare(reply))} "


FORMS = (
    Generated(
        name="json", group="forms", metric="usable", higher_is_better=True, load=_json, read=read_json, quotes=True
    ),
    Generated(
        name="table",
        group="forms",
        metric="usable",
        higher_is_better=True,
        load=_table,
        read=read_table,
        quotes=True,
        version="2",
    ),
)
