"""What is measured of a reply to a logged request: by rules, and against what was answered then."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from pfh_evals.behaviour.forms import NotJsonError, strict_json, table_rows
from pfh_evals.behaviour.replies import hollow, words
from pfh_evals.behaviour.tool_calls import read_calls
from pfh_evals.behaviour.tool_verdicts import fits_schema
from pfh_evals.policy.words import loops
from pfh_evals.traffic.requests import Logged

_JSON_ASKED = re.compile(r"\b(?:as|in|valid|only|strict|return|reply with)\s+(?:a\s+)?json\b", re.IGNORECASE)
_FENCE = re.compile(r"\A\s*```(?:json)?[ \t]*\n(.*?)\n?```\s*\Z", re.DOTALL | re.IGNORECASE)
_ENOUGH = 5
"""Words of a text whose language can be told."""
_SURE = 0.95


@dataclass(frozen=True, kw_only=True)
class Said:
    """One reply."""

    text: str
    refused: bool
    truncated: bool


Score = Callable[[Logged, Said], float | None]


@dataclass(frozen=True, kw_only=True)
class Measure:
    """One benchmark: a score of each reply; None where the request does not ask for it."""

    name: str
    metric: str
    higher_is_better: bool | None
    score: Score
    sound: bool = True
    """Belongs to what every sound reply keeps."""


def _says_something(request: Logged, said: Said) -> float:
    return float(not hollow(request.asked, said.text, quotes=True) and not loops(said.text))


def _refused(request: Logged, said: Said) -> float:
    return float(said.refused)


def _finished(request: Logged, said: Said) -> float:
    return float(not said.truncated)


def _form(request: Logged, said: Said) -> float | None:
    """Score whether the form is kept that was answered in, or that is asked for."""
    if _is_json(request.reply):
        return float(_is_json(said.text))
    if _JSON_ASKED.search(request.asked):
        inside = _FENCE.match(said.text)
        return float(_is_json(inside[1] if inside else said.text))
    if table_rows(request.reply) is not None:
        return float(table_rows(said.text) is not None)
    if "```" in request.reply:
        return float(said.text.count("```") >= 2)
    return None


def _is_json(text: str) -> bool:
    try:
        return isinstance(strict_json(text), dict | list)
    except NotJsonError:
        return False


def _tool(request: Logged, said: Said) -> float | None:
    """Score whether the same tools are called as were then, each as its schema has it; none where none was."""
    if not request.tools or not request.reply:
        return None
    names = [str(tool["name"]) for tool in request.tools]
    then, now = read_calls(request.reply, names), read_calls(said.text, names)
    if then.kind != "calls":
        return float(now.kind == "none")
    schemas = {str(tool["name"]): tool["parameters"] for tool in request.tools}
    same = sorted(call.name for call in then.calls) == sorted(call.name for call in now.calls)
    fit = all(
        call.arguments is not None and call.name in schemas and fits_schema(call.arguments, schemas[call.name])
        for call in now.calls
    )
    return float(same and fit)


def _language(request: Logged, said: Said) -> float | None:
    """Score whether the reply is in the language that was answered in, else in that of the request."""
    wanted = language_of(request.reply) or language_of(request.asked)
    if not wanted or len(words(said.text)) < _ENOUGH:
        return None
    return float(language_of(said.text, sure=0.5) == wanted)


def language_of(text: str, sure: float = _SURE) -> str:
    """Return the language of a text, by langdetect, seeded; empty where it is short, code or uncertain."""
    if len(words(text)) < _ENOUGH or "```" in text or _is_json(text):
        return ""
    import langdetect

    langdetect.DetectorFactory.seed = 0
    try:
        best = langdetect.detect_langs(text)[0]
    except langdetect.LangDetectException:
        return ""
    return str(best.lang) if best.prob >= sure else ""


def _length(request: Logged, said: Said) -> float:
    return float(len(said.text.split()))


def _like_the_log(request: Logged, said: Said) -> float | None:
    return overlap(request.reply, said.text) if request.reply else None


def overlap(one: str, other: str) -> float:
    """Return the F1 of the words that two texts share, each as often as both have it."""
    left, right = Counter(words(one)), Counter(words(other))
    both = sum((left & right).values())
    return 2 * both / (left.total() + right.total()) if left or right else 1.0


MEASURES = (
    Measure(name="says-something", metric="says_something", higher_is_better=True, score=_says_something),
    Measure(name="finished", metric="finished", higher_is_better=True, score=_finished),
    Measure(name="form-kept", metric="form_kept", higher_is_better=True, score=_form),
    Measure(name="tool-kept", metric="tool_kept", higher_is_better=True, score=_tool),
    Measure(name="language-kept", metric="language_kept", higher_is_better=True, score=_language),
    Measure(name="refused", metric="refusal_rate", higher_is_better=None, score=_refused, sound=False),
    Measure(name="length", metric="words", higher_is_better=None, score=_length, sound=False),
    Measure(name="like-the-log", metric="word_overlap", higher_is_better=None, score=_like_the_log, sound=False),
)
SOUND = "sound"
"""The benchmark that is the share of the sound measures that a reply keeps: by it replies are sorted, worst first."""


def scores(request: Logged, said: Said) -> dict[str, float | None]:
    """Return the score of every measure, and of `sound`: a refusal is none of the others' fault."""
    found = {each.name: each.score(request, said) for each in MEASURES}
    kept = [found[each.name] for each in MEASURES if each.sound]
    known = [score for score in kept if score is not None]
    return {SOUND: sum(known) / len(known), **found}


def lost(before: Mapping[str, float | None], after: Mapping[str, float | None]) -> list[str]:
    """Return the sound measures that a reply kept before and does not keep after."""
    sound = [each.name for each in MEASURES if each.sound]
    return [name for name in sound if before.get(name) == 1 and after.get(name) == 0]
