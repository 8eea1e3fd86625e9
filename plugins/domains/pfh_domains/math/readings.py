"""Other readings of an answer, as evaluation allows: units, names, words around a number, inequalities, percent.

A reward is paid for the answer as it stands; graders of published benchmarks look through its dress. Each reading is a
pair of reference and answer that is then judged by the same rules as a reward, so what is wrong stays wrong.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from fractions import Fraction

from pfh_domains.math.intervals import as_intervals, split
from pfh_domains.math.plain import HEDGE, NUMBER_WORDS, simplified, without_unit

_WRAPPED = re.compile(r"\\text\s*\{([^{}]*(?:\{[^{}]*\}[^{}]*)*)\}")
_LABEL = re.compile(
    r"^\W*(?:so |thus |hence |therefore,? )?(?:the |my )?(?:final |correct )?"
    r"(?:answer|result|solution)s?\s*(?:is|are|:|=)+\s*",
    re.IGNORECASE,
)
_PLAIN = r"-?(?:\d{1,3}(?:,\d{3})+|\d+)?(?:\.\d+)?(?:\s*/\s*\d+)?"
_ONE_NUMBER = re.compile(
    rf"(?P<before>\D*?)(?P<number>(?<![\d.])(?:{_PLAIN}|-?\\frac\{{\d+\}}\{{\d+\}})(?<=[\d}}]))(?P<after>\D*)"
)
_PROSE = re.compile(r"[A-Za-z\s.,;:'\"()€£¥₹$*/·\-]*")
_BOUND = re.compile(r"\b(?:more|less|fewer|least|most|than|above|below|under|between|except|but)\b", re.IGNORECASE)
_UNIT_LETTERS = frozenset("aAIsmghlLNJWVKCFdt")
_MONEY = re.compile(r"^(?:[€£¥₹$]|US\$|USD|EUR|GBP|Rs\.?)\s*|\s*(?:[€£¥₹$])$")
_TRAILING_UNIT = re.compile(
    r"(?<=[\d})\]a-z])\s*((?:[A-Za-zµ]+(?![A-Za-zµ])\.?(?:\^\{?-?\d\}?|[²³])?(?:\s*(?:/|·|\\cdot)\s*|\s+)?)+)$"
)
_SPACED = re.compile(r"-?\d{1,3}(?: \d{3})+(?:\.\d+)?")
_MIXED = re.compile(r"^(-?)(\d+) (?:and )?(\d+)/(\d+)$")
_ROOT = re.compile(r"(\d+|[A-Za-z]|\([^()]*\))\^(?:\{\s*(?:1/([2-9])|\\frac\{1\}\{([2-9])\})\s*\}|\(1/([2-9])\))")
_POWER = re.compile(r"(\d{1,3})\^\{?(\d{1,2})\}?")
_PERIOD = re.compile(r"(-?\d{0,20})\.(\d{0,20})\\(?:overline|bar|dot)\s*\{?(\d{1,20})\}?")
_REPEATED = re.compile(r"(-?\d{0,20})\.(\d{0,5}?)(\d{1,3})\3{2,9}(?:\\[lc]?dots|\.\.\.|…)")
_MODULUS = re.compile(r"\s*(?:\\pmod|\\bmod|\(?(?:\\text\s*\{)?\s*\(?(?:mod|\\mod)\b)[^=]*$")
_ALL_REALS = re.compile(
    r"^(?:[A-Za-z]\s*\\in\s*)?(?:\\mathbb\s*\{?R\}?|(?:\\text\s*\{)?\s*all real(?: number)?s?\s*\}?)$", re.IGNORECASE
)
_VALUE_OF = re.compile(r"^\\(?:lim|sum|int|prod|max|min|det|gcd|text)(?![A-Za-z])")
_EQUALS = ("=", "\\approx", "≈")
_CHOICE = re.compile(r"^\W{0,2}([A-J])\W{1,2}(?=\s|$|\S)")


WORDS = {
    word: str(value)
    for value, word in enumerate(
        [
            "zero",
            "one",
            "two",
            "three",
            "four",
            "five",
            "six",
            "seven",
            "eight",
            "nine",
            "ten",
            "eleven",
            "twelve",
            "thirteen",
            "fourteen",
            "fifteen",
            "sixteen",
            "seventeen",
            "eighteen",
            "nineteen",
            "twenty",
        ]
    )
}


def readings(gold: str, answer: str, problem: str) -> list[tuple[str, str]]:
    """Return pairs of reference and answer of which one must be equal, the pair as given first."""
    gold, answer = _computed(simplified(gold)), _computed(simplified(answer))
    found = [(gold, answer)]
    for text in _texts(answer, gold, problem):
        found += [(gold, text), *_converted(gold, text)]
    return list(dict.fromkeys(found))


def _computed(text: str) -> str:
    r"""Return a simplified answer with periods, \over, moduli and the names of all numbers written in one way."""
    text = _PERIOD.sub(lambda found: _fraction(found[1], found[2], found[3]), text)
    text = _REPEATED.sub(lambda found: _fraction(found[1], found[2], found[3]), text)
    text = re.sub(r"\{([^{}]*)\\over(?![A-Za-z])([^{}]*)\}", r"\\frac{\1}{\2}", text)
    if _MODULUS.search(text):
        text = _MODULUS.sub("", text).replace("\\equiv", "=").strip()
    return _ALL_REALS.sub(r"(-\\infty,\\infty)", text)


def _fraction(whole: str, fixed: str, period: str) -> str:
    """Return a repeating decimal as a fraction."""
    value = Fraction(int(fixed or 0), 10 ** len(fixed)) + Fraction(
        int(period), (10 ** len(period) - 1) * 10 ** len(fixed)
    )
    value += int(whole.lstrip("-") or 0)
    return f"{'-' * whole.startswith('-')}\\frac{{{value.numerator}}}{{{value.denominator}}}"


def _texts(answer: str, gold: str, problem: str) -> Iterator[str]:
    """Yield the answer without its dress, ever less of it."""
    answer = re.sub(r"^(?:\\approx|≈|=)\s*", "", answer)
    plain = simplified(_LABEL.sub("", _WRAPPED.sub(r" \1 ", answer)).strip().strip("*").rstrip(".").strip())
    yield plain
    yield from _named_values(plain, problem)
    if _MIXED.match(plain):
        yield _MIXED.sub(r"\1\2\\frac{\3}{\4}", plain)
    yield _ROOT.sub(_root, plain)
    power = _POWER.fullmatch(plain)
    if power:
        yield str(int(power[1]) ** int(power[2]))
    if _SPACED.fullmatch(plain):
        yield plain.replace(" ", "")
    values = [*_named_values(plain, problem), plain]
    for value in values:
        yield from _without_words(value, gold)
    choice = _CHOICE.match(plain)
    if choice and re.fullmatch(r"\W*[A-J]\W*", _WRAPPED.sub(r"\1", gold)):
        yield choice[1]


def _root(found: re.Match[str]) -> str:
    degree = found[2] or found[3] or found[4]
    return f"\\sqrt{{{found[1]}}}" if degree == "2" else f"\\sqrt[{degree}]{{{found[1]}}}"


def _without_words(text: str, gold: str) -> Iterator[str]:
    """Yield the number or the expression that stands among words, where the reference has no variable."""
    spelled = text.lower().strip(" .")
    if spelled in WORDS:
        yield WORDS[spelled]
    if (
        HEDGE.search(text)
        or _BOUND.search(text)
        or NUMBER_WORDS.search(text)
        or re.search(r"[A-Za-z]", re.sub(r"\\[A-Za-z]+", "", without_unit(gold)))
    ):
        return
    amount = _MONEY.sub("", text)
    if amount != text:
        yield amount
    alone = _ONE_NUMBER.fullmatch(_without_powers(text))
    if alone and _is_prose(alone["before"]) and _is_prose(alone["after"].strip().removeprefix("%")):
        yield alone["number"] + "%" * (re.match(r"\s*(?:%|percent\b)", alone["after"]) is not None)
    unit = _TRAILING_UNIT.search(text)
    if unit and _is_prose(_without_powers(unit[1])):
        yield text[: unit.start()].strip()


def _without_powers(text: str) -> str:
    """Take the powers off units; those of numbers stay."""
    return re.sub(r"(?<=[A-Za-z])(?:\^\{?-?\d\}?|[²³])", "", text)


def _is_prose(text: str) -> bool:
    """Whether `text` holds words and units only: no variable that stands alone."""
    text = re.sub(r"\\(?:text|circ|cdot)(?![A-Za-z])|[{}~]", " ", text)
    if not _PROSE.fullmatch(text) or re.search(r"[-+*^](?!\s*[A-Za-z]{2})\s*$", text):
        return False
    letters = re.findall(r"(?<![A-Za-z'])[A-Za-z](?![A-Za-z])", text)
    return all(letter in _UNIT_LETTERS for letter in letters)


def _named_values(text: str, problem: str) -> Iterator[str]:
    """Yield what stands behind `x =`, `f(3) =` or `(x, y) =`, of every part where all parts have such a name."""
    whole = _behind_name(text, problem)
    parts = [part.strip() for part in split(text, ",")]
    if len(parts) > 1:
        values = [_behind_name(part, problem) for part in parts]
        named = [value for value in values if value is not None]
        if len(named) == len(parts):
            yield ",".join(named)
            names = [_sides(part)[0] for part in parts]
            if len(set(names)) == len(names):
                yield "(" + ",".join(value for _, value in sorted(zip(names, named, strict=True))) + ")"
            return
    if whole is not None:
        yield whole


def _behind_name(text: str, problem: str) -> str | None:
    sides = _sides(text)
    if len(sides) < 2 or not sides[-1]:
        return None
    name, *between, value = sides
    copied = _squeezed(text) in _squeezed(simplified(problem))
    if (
        copied
        or not _is_name(name, problem)
        or not all(re.search(r"[A-Za-z]", re.sub(r"\\[A-Za-z]+", "", it)) for it in between)
    ):
        return None
    return value


def _is_name(text: str, problem: str) -> bool:
    """Whether a value may be given for `text`: a name, a function of something, or what the problem asks for."""
    text = text.strip()
    letters = re.sub(r"\\[A-Za-z]+", "", text)
    if _VALUE_OF.match(text) or re.fullmatch(r"\(?[A-Za-z](?:,\s*[A-Za-z])+\)?", text):
        return True
    if not re.search(
        r"[A-Za-z]|\\(?:theta|alpha|beta|gamma|lambda|mu|phi|rho|sigma|omega)",
        letters + text * ("\\" in text and not letters.strip()),
    ):
        return False
    if len(_squeezed(text)) > 2 and _squeezed(text) in _squeezed(simplified(problem)):
        return True
    if re.search(r"\\(?:frac|sqrt|binom)", text):
        return False
    bare = re.sub(r"\^\{?-1\}?|_\s*(?:\{[^{}]*\}|\w)", "", text)
    while (shorter := re.sub(r"\([^()]*\)|\{[^{}]*\}|\[[^\[\]]*\]", "", bare)) != bare:
        bare = shorter
    return re.fullmatch(r"(?:\\[A-Za-z]+|[A-Za-z\s|':+-])*", bare) is not None


def _converted(gold: str, text: str) -> Iterator[tuple[str, str]]:
    """Yield pairs in which both sides are written the same way."""
    if text.endswith("%") != gold.endswith("%"):
        yield gold.removesuffix("%"), text.removesuffix("%")
    if "\\pm" in text and "\\pm" not in gold and "," in gold:
        yield gold, ",".join(text.replace("\\pm", sign).strip().removeprefix("+") for sign in "+-")
    ours, theirs = as_intervals(gold), as_intervals(text)
    if ours or theirs:
        yield ours or gold, theirs or text
    if _two_variables(gold) and _two_variables(text):
        yield _as_zero(gold), _as_zero(text)
    based = re.fullmatch(r"(-?[0-9A-F]+)_\{?\w+\}?", gold)
    if based and "_" not in text:
        yield based[1], text


def _two_variables(text: str) -> bool:
    variables = set(re.findall(r"[A-Za-z]", re.sub(r"\\[A-Za-z]+", "", text)))
    return text.count("=") == 1 and len(variables) > 1


def _as_zero(equation: str) -> str:
    left, right = equation.split("=")
    return f"{left}-({right})=0"


def _sides(text: str) -> list[str]:
    for sign in _EQUALS[1:]:
        text = text.replace(sign, "=")
    return [side.strip() for side in split(text, "=")]


def _squeezed(text: str) -> str:
    return re.sub(r"[\s{}()\[\]$]", "", text)
