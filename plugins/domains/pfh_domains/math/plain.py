"""Answers as text: one spelling for equal writings, plain numbers, words, and what is no single final answer."""

from __future__ import annotations

import re
from fractions import Fraction

_SPELLINGS = (
    (re.compile(r"\\[cdt]frac(?![A-Za-z])"), r"\\frac"),
    (re.compile(r"\\frac\s*(\d)\s*(\d)(?!\d)"), r"\\frac{\1}{\2}"),
    (re.compile(r"\\frac\s*(\d)\s*(?=\{)"), r"\\frac{\1}"),
    (re.compile(r"(\\frac\s*\{[^{}]*\})\s*(\d)(?!\d)"), r"\1{\2}"),
    (re.compile(r"\\(?:left|right|displaystyle|limits)(?![A-Za-z])"), ""),
    (re.compile(r"\\(?:mbox|text(?:bf|rm|it)|math(?:rm|bf|it)|operatorname)(?![A-Za-z])"), r"\\text"),
    (re.compile(r"\^\s*(?:\\circ(?![A-Za-z])|\{\s*\\circ\s*\})|°"), ""),
    (re.compile(r"\\\\"), r"\\\\ "),
    (re.compile(r",\s*\\!\s*|(?<=\d)\{,\}(?=\d)"), ","),
    (re.compile(r"(?<!\\)\\[!,;: ]|~"), ""),
    (re.compile(r"\\\$|^\$(?=[\d.][^$]*$)"), ""),
    (re.compile(r"\\%"), "%"),
    (re.compile(r"[−﹣－–]"), "-"),
    (re.compile(r"\\varnothing(?![A-Za-z])|∅"), r"\\emptyset "),
    (re.compile(r"π|(?<![A-Za-z\\])pi(?![A-Za-z])"), r"\\pi "),
    (re.compile(r"∞"), r"\\infty "),
    (re.compile(r"\\langle(?![A-Za-z])\s*"), "("),
    (re.compile(r"\s*\\rangle(?![A-Za-z])"), ")"),
    (re.compile(r"^\s*\+\s*(?=[\d\\])|(?<=[,(\[])\s*\+\s*(?=\\infty)"), ""),
    (re.compile(r"\\log_\{?e\}?(?![A-Za-z])"), r"\\ln "),
    (re.compile(r"√\s*(\d+)|(?:√|(?<![A-Za-z\\])sqrt)\s*\(([^()]*)\)"), r"\\sqrt{\1\2}"),
    (re.compile(r"≤|\\leq(?:slant)?(?![A-Za-z])"), r"\\le "),
    (re.compile(r"≥|\\geq(?:slant)?(?![A-Za-z])"), r"\\ge "),
    (re.compile(r"(?<=\d)\.0+(?!\d)"), ""),
    (re.compile(r"(?<=\d) (?=i(?![A-Za-z]))|(?<![\w.])1(?=i(?![A-Za-z]))"), ""),
    (re.compile(r"^\s*\\text\s*\{\s*(-?[\d.,]+)\s*\}\s*$"), r"\1"),
    (re.compile(r"(?:\\q?quad|\\[,;:! ])\s*$"), ""),
    (re.compile(r",?\s*(?:\\text\s*\{\s*(?:and|or)\s*\}|(?<![A-Za-z\\])(?:and|or)(?![A-Za-z]))", re.IGNORECASE), ","),
    (re.compile(r"\s+"), " "),
    (re.compile(r"(?<!\w) | (?!\w)"), ""),
)
_NUMBER = re.compile(r"(?P<sign>-?)\s*(?P<whole>\d{1,3}(?:,\d{3})+|\d+)?(?P<rest>\.\d+)?")
_SCIENTIFIC = re.compile(
    r"(?P<mantissa>.*?)\s*(?:[eE]|(?:\\times|\\cdot|×|·|\*)\s*10\s*\^)\s*\{?\s*(?P<power>-?\d{1,3})\s*\}?"
)
_FRACTION = re.compile(r"(?P<sign>-?)\s*(?:\\frac\s*\{\s*(-?\d+)\s*\}\s*\{\s*(\d+)\s*\}|(\d+)\s*/\s*(\d+))")
_POWER = r"(?:\^\{?-?[23]\}?|[²³])?"
NUMBER_WORDS = re.compile(
    r"(?<![A-Za-z\\])(?:hundred|thousand|million|billion|trillion|dozen|score|squared|cubed|hal[fv]e?s?|thirds?|quarters?"
    r"|plus|minus|times|over|divided|factorial|zero|one|two|three|four|five|six|seven|eight|nine|ten)"
    r"(?![A-Za-z])",
    re.IGNORECASE,
)
"""Words that make another number of the number beside them."""
_UNIT = re.compile(
    rf"\s*\\text\s*\{{(?![^{{}}]*{NUMBER_WORDS.pattern})"
    rf"(?:[^{{}}\d^²³]|(?<=[A-Za-zµ])(?:\^\{{?-?[23]\}}?|[²³]))*\}}{_POWER}$",
    re.IGNORECASE,
)
r"""A unit in \text{}; a word there that changes the number is none."""
_TEXT = re.compile(r"\\text\s*\{([^{}]*)\}")
HEDGE = re.compile(
    r"(?<![A-Za-z\\])(?:either|neither|nor|not|maybe|perhaps|possibly|vs|versus)(?![A-Za-z])", re.IGNORECASE
)
_RELATION = re.compile(
    r"[=<>≈≠≤≥]|\\(?:n?eq?|[lg](?:eq?|eqslant|t)|approx|sim|simeq|equiv|cong|to|rightarrow|implies|iff)(?![A-Za-z])"
)
_NAME = re.compile(r"\\?[A-Za-z]+(?:_\{?\w+\}?)?(?:\([a-z, ]*\))?'*\s*(?:=|\\in(?![A-Za-z]))\s*")
_SIDE_BY_SIDE = re.compile(r"\d\s+\d|\\q?quad|\\\\(?!.*\\end)")
_SIGN_CHOICE = re.compile(r"\\(?:pm|mp)(?![A-Za-z])|±|∓")
_HUGE = re.compile(r"\^\s*\{?\s*-?\d{5,}|\^\s*\{?\s*\d+\s*\}?\s*\^|\d{5,}\s*!|!\s*!")
_OPERATION = re.compile(r"\\[A-Za-z]+|(?<=[\w})!])\s*[-+]|[*^!|]|×|·|÷|√|∑|∫")
_FORMATTING = frozenset({r"\frac", r"\text", r"\pi", r"\infty", r"\emptyset", r"\begin", r"\end", r"\cup", r"\in"})

_SUMS = frozenset({"+", "-", r"\pm", r"\mp"})


def simplified(answer: str) -> str:
    """Return `answer` in one spelling: fractions, spaces, degrees, currency signs and lists are written alike."""
    for pattern, written in _SPELLINGS:
        answer = pattern.sub(written, answer)
    return answer.strip()


def without_name(answer: str) -> str:
    """Return what stands behind `x =`, `f(x) =` or `x \\in`; else `answer`."""
    named = _NAME.match(answer)
    return answer if named is None else answer[named.end() :]


def number(answer: str) -> Fraction | None:
    r"""Return the value of a simplified answer that is a plain number, with or without a unit in \text{}.

    Plain are integers, decimals, fractions of integers and scientific notation. None for anything else.
    """
    answer = _UNIT.sub("", answer)
    if not answer.isascii() or len(answer) > 60:
        return None
    fraction = _FRACTION.fullmatch(answer)
    if fraction:
        over, under = [int(part) for part in fraction.groups()[1:] if part is not None]
        value = Fraction(over, under) if under else None
        return value if value is None or not fraction["sign"] else -value
    scientific = _SCIENTIFIC.fullmatch(answer)
    power = 0
    if scientific:
        answer, power = scientific["mantissa"], int(scientific["power"])
    plain = _NUMBER.fullmatch(answer)
    if plain is None or not (plain["whole"] or plain["rest"]):
        return None
    value = Fraction((plain["whole"] or "0").replace(",", "") + (plain["rest"] or "")) * Fraction(10) ** power
    return -value if plain["sign"] else value


def word(answer: str) -> str | None:
    r"""Return what a simplified answer says that is all \text{}, in lower case and without brackets around it."""
    return _bare(answer) if _TEXT.fullmatch(answer) else None


def says(answer: str, wanted: str) -> bool:
    r"""Whether a simplified answer is the word `wanted`, in \text{} or not."""
    return _bare(answer) == wanted


def why_not_final(answer: str, gold: str, problem: str) -> str | None:
    r"""Say why `answer` is not one final answer where `gold` is the reference (both simplified); None if it is one.

    A checker that computes finds `12 \cdot 13` equal to 156, `5 = 6` equal to 6, `5 \pm 0` equal to 5 and `1 2` equal
    to 3. So an answer may offer no alternatives, and where the reference is a number it may leave no more to compute
    than the reference does. An expression copied from the problem is no answer, unless it is the reference.
    """
    bare = _UNIT.sub("", answer)
    if any(character.isdigit() and not character.isascii() for character in bare):
        return "digits that are not ASCII"
    if "$" in answer or "boxed" in answer:
        return "more than one answer"
    if HEDGE.search(answer) and not HEDGE.search(gold):
        return "alternatives"
    if NUMBER_WORDS.search(answer) and not NUMBER_WORDS.search(gold):
        return "a word that makes another number"
    if any(re.search(r"\d", text) for text in _TEXT.findall(bare)):
        return "a number inside text"
    if _SIDE_BY_SIDE.search(answer) and not _SIDE_BY_SIDE.search(gold):
        return "several answers side by side"
    if "%" in answer[:-1]:
        return "a percent sign that is not at the end"
    if _RELATION.search(answer) and not _RELATION.search(gold):
        return "a relation"
    if _SIGN_CHOICE.search(answer) and not _SIGN_CHOICE.search(gold) and _parts(gold) == 1:
        return "a choice of sign"
    if _parts(answer) != _parts(gold) and not _SIGN_CHOICE.search(answer + gold):
        return "another number of parts than the reference"
    if gold[0] in "([" and gold[-1] in ")]" and _parts(gold) > 1 and answer[:1] != gold[:1]:
        return "a list, where the reference is a point or an interval"
    if _HUGE.search(answer):
        return "a number too large to be written out"
    own = _operations(answer)
    if _is_numeric(gold):
        if own - _operations(gold):
            return "more left to compute than in the reference"
        value = number(gold)
        if value is not None and value.denominator == 1 and re.search(r"/|\\frac", bare) and "frac" not in gold:
            return "a fraction left to reduce"
    if _squeezed(answer).startswith(2 * _squeezed(gold)):
        return "the reference, repeated"
    copied = _squeezed(answer) in _squeezed(simplified(problem)) and _squeezed(answer) != _squeezed(gold)
    if copied and (own or re.search(r"/|\\frac", answer)):
        return "copied from the problem"
    return None


def without_unit(answer: str) -> str:
    r"""Return a simplified answer without a unit in \text{} at its end."""
    return _UNIT.sub("", answer)


def _bare(answer: str) -> str:
    answer = _TEXT.sub(r"\1", answer).strip().rstrip(".").strip()
    answer = re.sub(r"\b([ap])\.?\s?m\b\.?", r"\1m", answer, flags=re.IGNORECASE)  # half of the day
    if re.fullmatch(r"\([^()]*\)", answer):
        answer = answer[1:-1]
    return " ".join(answer.lower().split())


def _parts(answer: str) -> int:
    """Count the parts that an answer is divided into; the comma of 1,000 divides nothing."""
    return len(re.split(r"[,;&]|\\(?:cup|quad)(?![A-Za-z])", re.sub(r"(?<=\d),(?=\d{3}(?!\d))", "", answer)))


def _is_numeric(answer: str) -> bool:
    """Whether an answer holds no variable and no word."""
    return not re.search(r"[A-Za-z]", re.sub(r"\\text\s*\{[^{}]*\}|\\[A-Za-z]+|(?<=\d)[eE](?=-?\d)", "", answer))


def _operations(answer: str) -> frozenset[str]:
    """Return the operations that a simplified answer leaves to compute.

    Powers of ten, and products with a root or with pi, leave nothing.
    """
    answer = re.sub(r"(?<=\d)[eE]-|(?:\\times|\\cdot|×|·|\*)?\s*(?<![\d.])10\s*\^", "", answer)
    answer = re.sub(r"(?:\\cdot|\\times|\*)\s*(?=\\pi|\\sqrt)", "", answer)
    answer = re.sub(r"\\l[ng](?![A-Za-z])", r"\\log", answer)
    answer = re.sub(r"\\times(?![A-Za-z])|[*×·]", r"\\cdot", answer)
    found = (match[0].strip() for match in _OPERATION.finditer(_UNIT.sub("", answer)))
    return frozenset("+" if operation in _SUMS else operation for operation in found) - _FORMATTING


def _squeezed(text: str) -> str:
    return re.sub(r"[\s{}()\[\]]", "", text)
