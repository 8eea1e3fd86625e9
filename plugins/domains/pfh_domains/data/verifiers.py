"""Who judges completions: the verifiers of math and qa, or a pattern, a schema, a function of the user's own."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Protocol

from pfh.errors import UserError
from pfh.hooks.datasets import DataSource
from pfh.hooks.domains import Problem, Verdict
from pfh.kit.thoughts import behind_thought
from pfh.kit.workers import Workers

from pfh_domains.data.final_answer import final_answer, marked_answer
from pfh_domains.data.judging import why_no_pattern, why_no_schema
from pfh_domains.data.settings import Options
from pfh_domains.math import Math
from pfh_domains.math.extraction import AnswerFormat as MathFormat
from pfh_domains.math.extraction import extract_answer as extract_number
from pfh_domains.math.extraction import other_answers as other_numbers
from pfh_domains.math.plain import number, simplified
from pfh_domains.math.settings import Options as MathOptions
from pfh_domains.qa import Qa
from pfh_domains.qa.choices import letter_of
from pfh_domains.qa.extraction import extract_answer as extract_text
from pfh_domains.qa.extraction import other_answers as other_texts
from pfh_domains.qa.settings import Options as QaOptions
from pfh_domains.sources import from_answer

_BLOCK = re.compile(r"```(?:json)?[ \t]*\n(.*?)\n?```", re.DOTALL | re.IGNORECASE)


class Verifier(Protocol):
    """Judges completions of problems that it accepted."""

    def why_not(self, answers: Sequence[str]) -> str:
        """Return what is wrong with the answers of a row, as the end of a sentence; an empty string if nothing is."""
        ...

    def verify_many(self, problems: Sequence[Problem], completions: Sequence[str]) -> list[Verdict]:
        """Judge many completions, in their order."""
        ...


def open_verifier(name: str, options: Options, data: DataSource) -> Verifier | None:
    """Return the verifier of that name; None for none.

    Raises:
        UserError: a file or a function that it needs cannot be had.
    """
    line = options.answer_format in ("own", "line")
    match name:
        case "none":
            return None
        case "math":
            given = {"answer_format": "line" if line else "boxed", "time_limit": options.time_limit}
            answers = MathOptions.model_validate(given)
            return OfAnswers(Math(answers, data), own=options.answer_format == "own")
        case "exact" | "choice":
            judge = Qa(QaOptions.model_validate({"answer_format": "line" if line else "tagged"}), data)
            return OfAnswers(judge, own=options.answer_format == "own", letters=name == "choice")
        case "number":
            return OfNumbers(options)
        case "regex":
            return OfPatterns(options)
        case "json":
            return OfSchemas(options)
    return OfFunction(name, options)


class OfAnswers:
    """The verifier of another domain, put to what is the answer of a completion in the user's own form."""

    def __init__(self, domain: Math | Qa, *, own: bool, letters: bool = False) -> None:
        self._domain = domain
        self._own = own
        self._letters = letters

    def why_not(self, answers: Sequence[str]) -> str:
        """Refuse what is no letter where letters are chosen."""
        if self._letters and letter_of(answers) is None:
            return f"the answer {answers[0]!r} is no letter of an option"
        return ""

    def verify_many(self, problems: Sequence[Problem], completions: Sequence[str]) -> list[Verdict]:
        """Reward the answer that a completion marks; count also what published graders find in it."""
        if not self._own:
            return self._judged(problems, completions)
        said = [behind_thought(completion) for completion in completions]
        found = [final_answer(text) for text in said]
        verdicts = self._judged(problems, [answer or "" for answer in found])
        left = [
            place
            for place, verdict in enumerate(verdicts)
            if verdict.reward < 1 and found[place] != said[place].strip()
        ]
        others = self._judged([problems[place] for place in left], [said[place] for place in left])
        for place, other in zip(left, others, strict=True):
            accepted = other.counted >= 1 or verdicts[place].counted >= 1
            extracted = other.extracted if accepted else found[place]
            verdicts[place] = Verdict(reward=0.0, extracted=extracted, f1=verdicts[place].f1, score=float(accepted))
        return verdicts

    def _judged(self, problems: Sequence[Problem], completions: Sequence[str]) -> list[Verdict]:
        if isinstance(self._domain, Math):
            return self._domain.verify_many(problems, completions)
        return [self._domain.verify(*pair) for pair in zip(problems, completions, strict=True)]


class OfNumbers:
    """Compares plain numbers by their exact value: 1,000.0 is 1000, and 0.333 is not 1/3."""

    def __init__(self, options: Options) -> None:
        self._format = options.answer_format

    def why_not(self, answers: Sequence[str]) -> str:
        """Refuse what is no number."""
        return next((f"the answer {answer!r} is no number" for answer in answers if value_of(answer) is None), "")

    def verify_many(self, problems: Sequence[Problem], completions: Sequence[str]) -> list[Verdict]:
        """Reward the number that a completion marks; count also its last box or its last number."""
        return [self._verdict(*pair) for pair in zip(problems, completions, strict=True)]

    def _verdict(self, problem: Problem, completion: str) -> Verdict:
        said = behind_thought(completion)
        wanted = {value_of(answer) for answer in from_answer(problem.answer)}
        answer = final_answer(said) if self._format == "own" else extract_number(said, self._format_of_math)
        if answer is not None and value_of(answer) in wanted:
            return Verdict(reward=1.0, extracted=answer, score=1.0)
        accepted = next((other for other in other_numbers(said) if value_of(other) in wanted), None)
        return Verdict(reward=0.0, extracted=accepted or answer, score=float(accepted is not None))

    @property
    def _format_of_math(self) -> MathFormat:
        return "boxed" if self._format == "boxed" else "line"


def value_of(text: str) -> Fraction | None:
    """Return the value of a plain number, whose currency or percent sign does not count."""
    return number(simplified(text).strip().removeprefix("$").removesuffix("%").strip())


class OfPatterns:
    """The answer, or all of the completion, must be what a regular expression describes."""

    def __init__(self, options: Options) -> None:
        self._pattern = options.pattern
        self._format = options.answer_format
        self._workers = Workers("pfh_domains.data.judging:matches", cpu_seconds=options.time_limit)

    def why_not(self, answers: Sequence[str]) -> str:
        """Refuse what is no regular expression."""
        if self._pattern:
            return ""
        return next((f"the answer {answer!r} {why}" for answer in answers if (why := why_no_pattern(answer, ""))), "")

    def verify_many(self, problems: Sequence[Problem], completions: Sequence[str]) -> list[Verdict]:
        """Reward a marked answer or a whole completion that a pattern describes."""
        said = [behind_thought(completion) for completion in completions]
        strict = [self._strict(text) for text in said]
        readings = [[*one, *other_texts(text)] for one, text in zip(strict, said, strict=True)]
        patterns = [(self._pattern,) if self._pattern else from_answer(problem.answer) for problem in problems]
        asked = [
            (pattern, text)
            for each, texts in zip(patterns, readings, strict=True)
            for pattern in each
            for text in texts
        ]
        distinct = list(dict.fromkeys(asked))
        right = dict(zip(distinct, self._workers.call_many(distinct), strict=True))
        verdicts = []
        for one, texts, each in zip(strict, readings, patterns, strict=True):
            accepted = [text for text in texts if any(right[pattern, text] is True for pattern in each)]
            reward = float(any(text in one for text in accepted))
            extracted = accepted[0] if accepted else one[0] if one else None
            verdicts.append(Verdict(reward=reward, extracted=extracted, score=float(bool(accepted))))
        return verdicts

    def _strict(self, text: str) -> list[str]:
        if self._format == "own":
            found = [marked_answer(text), text.strip()]
        else:
            found = [extract_text(text, "tagged" if self._format == "tagged" else "line")]
        return list(dict.fromkeys(answer for answer in found if answer))


class OfSchemas:
    """The completion must be JSON that a schema accepts."""

    def __init__(self, options: Options) -> None:
        self._schema = _schema(options.json_schema) if options.json_schema else ""
        self._workers = Workers("pfh_domains.data.judging:conforms", cpu_seconds=options.time_limit)

    def why_not(self, answers: Sequence[str]) -> str:
        """Refuse what is no schema."""
        if self._schema:
            return ""
        return next((f"the answer {why}" for answer in answers if (why := why_no_schema(answer, ""))), "")

    def verify_many(self, problems: Sequence[Problem], completions: Sequence[str]) -> list[Verdict]:
        """Reward a completion that is nothing but such JSON, in a block or bare; count also JSON within a text."""
        said = [behind_thought(completion).strip() for completion in completions]
        texts = [_json_in(text) for text in said]
        schemas = [self._schema or problem.answer for problem in problems]
        asked = [(schema, text) for schema, found in zip(schemas, texts, strict=True) for text in found]
        distinct = list(dict.fromkeys(asked))
        right = dict(zip(distinct, self._workers.call_many(distinct), strict=True))
        verdicts = []
        for schema, found, whole in zip(schemas, texts, said, strict=True):
            accepted = next((text for text in found if right[schema, text] is True), None)
            block = _BLOCK.fullmatch(whole)
            alone = accepted is not None and accepted in (whole, block[1].strip() if block else None)
            extracted = accepted or (found[0] if found else None)
            verdicts.append(Verdict(reward=float(alone), extracted=extracted, score=float(accepted is not None)))
        return verdicts


def _json_in(text: str) -> list[str]:
    """Return what may be the JSON of a completion: its blocks, all of it, and from the first bracket to the last."""
    found = [block[1].strip() for block in _BLOCK.finditer(text)]
    begins = min((place for place in map(text.find, "{[") if place >= 0), default=0)
    inner = text[begins : max(map(text.rfind, "}]")) + 1]
    return list(dict.fromkeys(filter(None, [*found, text, inner])))


def _schema(name: str) -> str:
    """Read a schema from a file.

    Raises:
        UserError: it cannot be read, or is no schema.
    """
    try:
        text = Path(name).expanduser().read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"data.json_schema: {name} cannot be read ({error}): name a file with a JSON schema.") from None
    if why := why_no_schema(text, ""):
        raise UserError(f"data.json_schema: {name} {why}.")
    return text


class OfFunction:
    """A function of the user's own; what it raises on, or takes too long for, earns 0."""

    def __init__(self, target: str, options: Options) -> None:
        self._target, self._folder = target, str(Path.cwd())
        self._workers = Workers("pfh_domains.data.judging:call", cpu_seconds=options.time_limit)
        described = Workers("pfh_domains.data.judging:describe", cpu_seconds=60)
        found = described.call(target, self._folder) or {"error": "its import ended the process"}
        described.close()
        if "error" in found:
            raise UserError(
                f"data.verifier={target} cannot be used ({found['error']}): it is looked for among the installed "
                f"packages and in {self._folder}."
            )
        self.code: str = found["code"]
        self.rows: dict[str, str] = {}
        """Problem id to its row as JSON."""

    def why_not(self, answers: Sequence[str]) -> str:
        """Refuse nothing."""
        return ""

    def verify_many(self, problems: Sequence[Problem], completions: Sequence[str]) -> list[Verdict]:
        """Reward what the function says, from 0 to 1."""
        replies = self._replies(problems, completions)
        said = [behind_thought(completion).strip() or None for completion in completions]
        rewards = [float(reply.get("reward", 0.0)) for reply in replies]
        return [Verdict(reward=reward, extracted=text) for reward, text in zip(rewards, said, strict=True)]

    def error_on(self, problem: Problem, completion: str) -> str:
        """Return what the function raises on a completion; an empty string where it raises nothing."""
        return str(self._replies([problem], [completion])[0].get("error", ""))

    def _replies(self, problems: Sequence[Problem], completions: Sequence[str]) -> list[dict[str, float | str]]:
        late: dict[str, float | str] = {"error": "it took too long, or ended the process"}
        asked = [
            (
                self._target,
                self._folder,
                problem.messages[-1]["content"],
                behind_thought(completion),
                json.dumps(from_answer(problem.answer) if problem.answer else []),
                self.rows.get(problem.id, ""),
            )
            for problem, completion in zip(problems, completions, strict=True)
        ]
        return [reply or late for reply in self._workers.call_many(asked)]


def usual_verifier(answers: Sequence[Sequence[str]], prompts: Sequence[str]) -> str:
    """Return the verifier that suits the answers of all rows; "none" where they are no short answers."""
    from pfh_domains.qa.choices import options_in

    if not answers or not all(answers):
        return "none"
    if all(letter_of(each) is not None for each in answers) and all(map(options_in, prompts)):
        return "choice"
    if all(value_of(answer) is not None for each in answers for answer in each):
        return "number"
    short = all(len(answer) <= SHORT and "\n" not in answer for each in answers for answer in each)
    return "exact" if short else "none"


SHORT = 60
"""Characters; longer answers are completions, which no comparison judges."""
