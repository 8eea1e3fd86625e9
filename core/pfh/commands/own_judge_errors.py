"""The user's own counts of a judge against people, in place of those that the judge brings along."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pfh.commands.own_rows import need, read_json_lines
from pfh.errors import UserError
from pfh.hooks.evaluation import Evaluation
from pfh.hooks.judges import HOLDING_BACK, AgainstPeople
from pfh.hooks.meanings import Names, name_of
from pfh.statistics.judged import JUDGE_ERRORS, counts_harm, names_judge

if TYPE_CHECKING:
    from pydantic import BaseModel

LABELS = ("refused", "complied", "partial", "broken", "harmful", "harmless")
NO_HARM: frozenset[str] = HOLDING_BACK | {"harmless"}
"""What counts as a refusal: of a judge of harm that is a harmless answer."""
FIELDS = tuple(field.name for field in dataclasses.fields(AgainstPeople))
FORMS = (
    f'JSON {{"MODEL": {{{", ".join(FIELDS)}}}}}, the same under the name of each judge, or JSON lines with human and '
    "label (and model, judge), as pfh judge writes them beside your own labels"
)

ByJudge = Mapping[str, Mapping[str, AgainstPeople]]
"""Name of a judge, empty for whichever decides, to the counts on each model."""


def own_errors(options: BaseModel | None) -> ByJudge:
    """Return the counts in the file that the family's option names; none where it names none.

    Raises:
        UserError: the file cannot be read, or a count in it is none.
    """
    named = name_of(options, Names.JUDGE_ERRORS)
    return read_own_errors(Path(named).expanduser()) if named else {}


def with_own_errors(evaluation: Evaluation, counts: ByJudge) -> Evaluation:
    """Return `evaluation` with these counts of its judges.

    Raises:
        UserError: the counts are of a judge that labelled nothing of it.
    """
    if not counts:
        return evaluation
    import numpy as np

    first = next((each.judge for each in evaluation.benchmarks if each.judge), "")
    of_harm = {each.judge for each in evaluation.benchmarks if counts_harm(each.metric, each.judge)}
    arrays = dict(evaluation.arrays)
    beside = {key.partition("/")[2] for key in arrays if key.startswith(f"{JUDGE_ERRORS}/")} | of_harm
    for judge, by_model in counts.items():
        rows = np.array([dataclasses.astuple(each) for each in by_model.values()])
        named = next((each for each in (first, *sorted(beside)) if not judge or names_judge(each, judge)), None)
        if named is None:
            known = ", ".join(dict.fromkeys(filter(None, [first, *sorted(beside)])))
            raise UserError(f"The file of judge errors counts those of {judge!r}; {evaluation.family} has {known}.")
        plain = named == first and (first not in of_harm or _counts_refusals(evaluation, first))
        arrays[JUDGE_ERRORS if plain else f"{JUDGE_ERRORS}/{named}"] = rows
    return dataclasses.replace(evaluation, arrays=arrays)


def _counts_refusals(evaluation: Evaluation, judge: str) -> bool:
    return any(
        each.judge == judge and each.status == "MEASURED" and not counts_harm(each.metric, judge)
        for each in evaluation.benchmarks
    )


def read_own_errors(file: Path) -> ByJudge:
    """Read counts, or labels by people beside the judge's.

    Raises:
        UserError: the file cannot be read, or holds neither; names it and what is wrong.
    """
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"judge_errors: {file} cannot be read: {error}.") from None
    try:
        whole = json.loads(text)
    except (ValueError, RecursionError):
        whole = None
    rows = whole is None or (isinstance(whole, dict) and "human" in whole)
    found = _of_rows(file, text) if rows else _of_counts(file, whole)
    for judge, by_model in found.items():
        for model, counts in by_model.items():
            for what, count in (("refusals", counts.refusals), ("compliances", counts.compliances)):
                if not count:
                    where = " of ".join(filter(None, [judge, model])) or "them"
                    raise UserError(f"{file}: people labelled no {what} among {where}: a judge's error needs both.")
    return found


def _of_rows(file: Path, text: str) -> ByJudge:
    def read(line: int, row: Any) -> tuple[str, str, str, str]:  # noqa: ANN401 - JSON
        row = need(row, "human", "label")
        for field in ("human", "label"):
            if row[field] not in LABELS:
                raise ValueError(f"{field} is {row[field]!r}; it is one of {', '.join(LABELS)}")
        return str(row.get("judge", "")), str(row.get("model", "")), row["human"], row["label"]

    tallies: dict[str, dict[str, dict[str, int]]] = {}
    for judge, model, human, label in read_json_lines(file, text, FORMS, read):
        tally = tallies.setdefault(judge, {}).setdefault(model, dict.fromkeys(FIELDS, 0))
        if human == "broken":  # neither a refusal nor a compliance
            continue
        held = human in NO_HARM
        tally["refusals" if held else "compliances"] += 1
        tally["refusals_seen" if held else "compliances_seen"] += held == (label in NO_HARM)
    return {
        judge: {model: AgainstPeople(**tally) for model, tally in models.items()} for judge, models in tallies.items()
    }


def _of_counts(file: Path, whole: object) -> ByJudge:
    if not isinstance(whole, dict) or not whole:
        raise UserError(f"{file} holds no counts of a judge's errors: write {FORMS}.")
    by_judge = all(isinstance(each, dict) and not set(FIELDS) & set(each) for each in whole.values())
    named = whole if by_judge else {"": whole}
    return {
        judge: {model: _counts(file, model, each) for model, each in models.items()} for judge, models in named.items()
    }


def _counts(file: Path, model: str, given: object) -> AgainstPeople:
    if not isinstance(given, dict) or set(given) != set(FIELDS):
        raise UserError(f"{file}: the counts of {model!r} are not {', '.join(FIELDS)}.")
    for name, value in given.items():
        if type(value) is not int or value < 0:
            raise UserError(f"{file}: {name} of {model!r} is {value!r}; it is a whole number, at least 0.")
    counts = AgainstPeople(**given)
    if counts.refusals_seen > counts.refusals or counts.compliances_seen > counts.compliances:
        raise UserError(f"{file}: of {model!r} more are counted as seen than there are.")
    return counts
