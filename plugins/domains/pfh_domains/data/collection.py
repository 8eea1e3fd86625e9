"""From rows to problems: read, divided, without duplicates; what cannot be used is named and counted."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass

from pfh.errors import UserError
from pfh.hooks.backends import Message
from pfh.hooks.datasets import DataSource
from pfh.hooks.domains import FORMS, Problem, Split

from pfh_domains.data.examples import Example, examples_of
from pfh_domains.data.final_answer import final_answer, marked_answer
from pfh_domains.data.forms import Form, find_form
from pfh_domains.data.reading import Rows, read
from pfh_domains.data.settings import Options
from pfh_domains.data.verifiers import OfFunction, Verifier, open_verifier, usual_verifier, value_of
from pfh_domains.math.extraction import other_answers
from pfh_domains.math.prompts import chat as math_chat
from pfh_domains.math.prompts import written as boxed
from pfh_domains.qa.prompts import chat as qa_chat
from pfh_domains.qa.prompts import written as tagged
from pfh_domains.sources import digest, to_answer

NAMED = 10
"""Reasons, and rows of one reason, that are named; further ones are only counted."""
SHOWN = 40
"""Characters of a refused answer that are shown."""
_COMPARES = ("exact", "number", "math", "choice")
"""Verifiers that compare an answer with that of the row."""
Broken = list[tuple[int, str]]


@dataclass(frozen=True, kw_only=True)
class Collection:
    """The problems of a user's data."""

    rows: Rows
    form: Form
    verifier_name: str
    verifier: Verifier | None
    problems: dict[Split, tuple[Problem, ...]]
    duplicates: int
    broken: tuple[tuple[int, str], ...]
    chosen_by: str
    """Why it is this verifier, where the user named none."""

    @property
    def description(self) -> tuple[str, ...]:
        """What was read and how, in sentences."""
        named = ", ".join(f"{role} {column}" for role, column in self.form.columns.items())
        unused = f"; not used: {', '.join(self.form.unused)}" if self.form.unused else ""
        read_rows = len(self.rows.rows) + len(self.rows.broken)
        told = [
            f"Data: {self.rows.origin}, {read_rows} rows of the form {self.form.name} ({named}{unused}).",
            f"{len(self.problems['train'])} examples to train on, {len(self.problems['test'])} held out, "
            f"{self.duplicates} exact duplicates left out, {len(self.broken)} broken rows left out; "
            f"verifier: {self.verifier_name}{self.chosen_by}.",
        ]
        if self.broken:
            told.append(f"Left out: {named_rows(self.rows, self.broken)}.")
        return tuple(told)


def collect(options: Options, data: DataSource) -> Collection:
    """Read the user's rows.

    Raises:
        UserError: they cannot be read, the form is not clear, or rows are broken and `on_broken` says to stop.
        DataUnavailableError: a dataset of the hub cannot be had here.
    """
    rows = read(options.dataset, options.config, options.split, data)
    form = find_form(rows, options)
    broken: Broken = list(rows.broken)
    examples: list[Example] = []
    for place, row in rows.rows:
        try:
            examples += examples_of(place, row, form, options)
        except ValueError as error:
            broken.append((place, str(error)))
    name, chosen_by = _chosen_verifier(examples, form, options)
    verifier = open_verifier(name, options, data)
    kept, duplicates = _without_duplicates(_with_golds(examples, name, options, broken))
    problems = [(example, _problem(example, name, options, rows.unit)) for example in kept]
    if isinstance(verifier, OfFunction):
        verifier.rows |= {problem.id: example.row for example, problem in problems}
        _try_function(verifier, problems, name)
    if verifier is not None:
        problems = _without_refused(verifier, name, problems, broken)
    broken.sort()
    if broken and options.on_broken == "stop":
        raise UserError(
            f"{rows.origin}: {len(broken)} of {len(rows.rows) + len(rows.broken)} rows cannot be used: "
            f"{named_rows(rows, broken)}. Mend them, or leave them out with -o data.on_broken=skip."
        )
    if not problems:
        raise UserError(f"{rows.origin}: none of its rows can be used: {named_rows(rows, broken)}.")
    divided: dict[Split, list[Problem]] = {"train": [], "test": []}
    for example, problem in problems:
        divided["test" if _is_held_out(example.whole, options.held_out) else "train"].append(problem)
    return Collection(
        rows=rows,
        form=form,
        verifier_name=name,
        verifier=verifier,
        problems={split: tuple(found) for split, found in divided.items()},
        duplicates=duplicates,
        broken=tuple(broken),
        chosen_by=chosen_by,
    )


def named_rows(rows: Rows, broken: Sequence[tuple[int, str]]) -> str:
    """Name the broken rows, the first of each reason; further ones are only counted."""
    by_reason: dict[str, list[int]] = {}
    for place, reason in broken:
        by_reason.setdefault(reason, []).append(place)
    told = [
        f"{rows.unit}{'s' if len(places) > 1 else ''} {_listed(places)}: {reason}"
        for reason, places in by_reason.items()
    ]
    more = sum(map(len, list(by_reason.values())[NAMED:]))
    return "; ".join(told[:NAMED]) + (f"; and {more} more" if more else "")


def _listed(places: Sequence[int]) -> str:
    return ", ".join(map(str, places[:NAMED])) + (f" and {len(places) - NAMED} more" if len(places) > NAMED else "")


def _chosen_verifier(examples: Sequence[Example], form: Form, options: Options) -> tuple[str, str]:
    if options.verifier:
        return options.verifier, ""
    if "answer" not in form.columns:
        return "none", " (-o data.verifier=NAME chooses one)"
    golds = [_golds(example)[1] for example in examples]
    name = usual_verifier(golds, [example.messages[-1]["content"] for example in examples])
    return name, f" (as the column {form.columns['answer']} suggests; -o data.verifier=NAME chooses another)"


def _golds(example: Example) -> tuple[str | None, tuple[str, ...]]:
    """Return the completion and the answers of an example whose answer may be a worked solution."""
    if len(example.answers) == 1 and example.completion is None:
        whole = example.answers[0]
        marked = marked_answer(whole)
        if marked is not None and marked != whole.strip():
            return whole, (marked,)
    return example.completion, example.answers


def _with_golds(examples: Sequence[Example], name: str, options: Options, broken: Broken) -> list[Example]:
    """Return the examples with what their verifier compares with; without one an answer is a completion."""
    found = []
    for example in examples:
        completion, answers = example.completion, example.answers
        if name == "none":
            completion = completion if completion is not None else answers[0] if answers else None
            answers = ()
        elif name in _COMPARES:
            completion, answers = _golds(example)
            if not answers and completion is not None:
                answers = _told(completion, name)
            if not answers:
                reason = f"there is no answer that verifier={name} could compare with"
                broken.append((example.place, f"{reason}: name its column with -o data.answer=COLUMN"))
                continue
        elif not answers and not options.judged_alone:
            broken.append((example.place, f"there is no {'pattern' if name == 'regex' else 'schema'} in the answer"))
            continue
        found.append(dataclasses.replace(example, completion=completion, answers=answers))
    return found


def _told(completion: str, name: str) -> tuple[str, ...]:
    """Return the final answer of a completion; for numbers also one that stands in its last line."""
    told = [answer for answer in [final_answer(completion)] if answer]
    if name == "number":
        told = [answer for answer in [*told, *other_answers(completion)] if value_of(answer) is not None]
    return tuple(told[:1])


def _without_duplicates(examples: Sequence[Example]) -> tuple[list[Example], int]:
    kept: dict[str, Example] = {}
    for example in examples:
        kept.setdefault(_identity(example), example)
    return list(kept.values()), len(examples) - len(kept)


def _identity(example: Example) -> str:
    said = [list(example.messages), example.completion, example.answers, example.rejected]
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()


def _problem(example: Example, name: str, options: Options, unit: str) -> Problem:
    answers, completion = example.answers, example.completion
    if name == "choice" and answers:
        from pfh_domains.qa.choices import letter_of, options_in

        letter = letter_of(answers) or ""
        option = options_in(example.messages[-1]["content"]).get(letter)
        answers = (*answers, f"{letter}. {option}") if option else answers
    if completion is None and answers and name in _COMPARES:
        completion = written(answers[0], options)
    if completion is None and answers and ":" in name:
        completion = answers[0]
    return Problem(
        id=f"data-{_identity(example)[:16]}",
        environment="data",
        messages=_asked(example.messages, name, options),
        answer=kept_answers(answers),
        solution=completion,
        rejected=example.rejected,
        cluster=digest(example.whole)[:16],
        own_turns=len(example.messages) > 1,
        place=f"{unit} {example.place}",
    )


def written(answer: str, options: Options) -> str:
    """Return a completion that gives `answer` in the form that the prompts ask for."""
    match options.answer_format:
        case "boxed":
            return boxed(answer, "boxed")
        case "tagged":
            return tagged(answer, "tagged")
    return answer


def kept_answers(answers: Sequence[str]) -> str:
    """Return the accepted answers as `Problem.answer`, which `from_answer` reads."""
    if len(answers) == 1 and answers[0].startswith('["'):
        return json.dumps(list(answers))  # it would be read as a list of them
    return to_answer(answers) if answers else ""


def _asked(messages: tuple[Message, ...], name: str, options: Options) -> tuple[Message, ...]:
    *before, last = messages
    asked = last["content"]
    match options.answer_format:
        case "own":
            return messages
        case "tagged":
            put = qa_chat(asked, "tagged", (), "the letter of the answer" if name == "choice" else "the answer")
        case form:
            put = math_chat(asked, form, 0)
    return (*before, put[-1])


def _try_function(verifier: OfFunction, problems: Sequence[tuple[Example, Problem]], name: str) -> None:
    for _, problem in problems[:1]:
        if error := verifier.error_on(problem, ""):
            raise UserError(f"data.verifier={name} fails on an empty completion ({error}): give it 0 there.")


def _without_refused(
    verifier: Verifier, name: str, problems: Sequence[tuple[Example, Problem]], broken: Broken
) -> list[tuple[Example, Problem]]:
    """Leave out the rows whose own completion or answer the verifier refuses."""
    fitting = []
    for example, problem in problems:
        if why := verifier.why_not(example.answers) if example.answers else "":
            broken.append((example.place, why))
        else:
            fitting.append((example, problem))
    tried = [
        (place, text)
        for place, (_, problem) in enumerate(fitting)
        for text in ([problem.solution] if problem.solution is not None else [])
    ]
    verdicts = verifier.verify_many([fitting[place][1] for place, _ in tried], [text for _, text in tried])
    refused = {place: text for (place, text), verdict in zip(tried, verdicts, strict=True) if verdict.counted < 1}
    bare = [place for place in refused if name in _COMPARES and fitting[place][0].completion is None]
    in_forms = [(place, before + fitting[place][0].answers[0] + after) for place in bare for before, after in FORMS]
    again = verifier.verify_many([fitting[place][1] for place, _ in in_forms], [text for _, text in in_forms])
    for (place, _), verdict in zip(in_forms, again, strict=True):
        if verdict.counted >= 1:
            refused.pop(place, None)
    broken += [
        (fitting[place][0].place, _refusal(verifier, name, *fitting[place], text)) for place, text in refused.items()
    ]
    return [each for place, each in enumerate(fitting) if place not in refused]


def _refusal(verifier: Verifier, name: str, example: Example, problem: Problem, text: str) -> str:
    own = "answer" if example.completion is None else "completion"
    shown = text if len(text) <= SHOWN else f"{text[:SHOWN]}..."
    error = verifier.error_on(problem, text) if isinstance(verifier, OfFunction) else ""
    return f"verifier={name} refuses its own {own} {shown!r}{f' ({error})' if error else ''}"


def _is_held_out(whole: str, share: float) -> bool:
    return int(digest(whole)[:8], 16) < share * 16**8
