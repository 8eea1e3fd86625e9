"""What evaluation takes for the same answer beyond the reward's rule: another writing of a number, a date, a name."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

from pfh_domains.qa.matching import exact_match, plain

_UNITS = [
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
]
_TENS = ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]
_SMALL = {word: value for value, word in enumerate(_UNITS)} | {word: 10 * value for value, word in enumerate(_TENS, 2)}
_LARGE = {"hundred": 100, "thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12}
_ORDINALS = {
    "first": 1, "second": 2, "third": 3, "fourth": 4, "fifth": 5, "sixth": 6, "seventh": 7, "eighth": 8, "ninth": 9,
    "tenth": 10, "eleventh": 11, "twelfth": 12, "thirteenth": 13, "fourteenth": 14, "fifteenth": 15, "sixteenth": 16,
    "seventeenth": 17, "eighteenth": 18, "nineteenth": 19, "twentieth": 20,
}  # fmt: skip
_MONTHS = [
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
]
_MONTH = {name: number for number, month in enumerate(_MONTHS, 1) for name in (month, month[:3])} | {"sept": 9}
_MONTH_NAME = "|".join(sorted(_MONTH, key=len, reverse=True))
_DATES = (
    re.compile(r"(?<!\d)(?P<year>\d{4})-(?P<month>\d{1,2})-(?P<day>\d{1,2})(?!\d)"),
    re.compile(rf"\b(?P<name>{_MONTH_NAME})\.? (?P<day>\d{{1,2}})(?:st|nd|rd|th)?,? (?P<year>\d{{4}})(?!\d)"),
    re.compile(
        rf"(?<!\d)(?P<day>\d{{1,2}})(?:st|nd|rd|th)? (?:of )?(?P<name>{_MONTH_NAME})\.?,? (?P<year>\d{{4}})(?!\d)"
    ),
)
_MONEY = {"$": "dollars", "£": "pounds", "€": "euros", "¥": "yen", "₹": "rupees"}
_BULLET = re.compile(r"^\s*(?:[•·▪‣*-]|\d{1,2}[.)](?=\s))\s+(?=\S)")
_QUANTITY = re.compile(r"\d[\d,]*(?:\.\d+)?")


def same_answer(answer: str, references: Iterable[str]) -> bool:
    """Whether `answer` is a reference in another writing: digits and words, dates, spans, currencies, accents."""
    return any(
        exact_match(ours, [theirs])
        for reference in references
        for ours in _writings(answer, reference)
        for theirs in _writings(reference, reference)
    )


def _writings(text: str, reference: str) -> list[str]:
    """Return `text` as it is and rewritten, and with joined words where the reference has a hyphen."""
    written = _rewritten(_BULLET.sub("", text))
    found = [text, written]
    if "-" in plain(reference):
        found.append(re.sub(r"(?<=[^\W\d])[- ](?=[^\W\d])", "", plain(text)))
    return found


def _rewritten(text: str) -> str:
    text = plain(unicodedata.normalize("NFKC", text))
    text = "".join(str(unicodedata.digit(each)) if each.isdecimal() else each for each in text)
    text = "".join(each for each in unicodedata.normalize("NFD", text) if not unicodedata.combining(each))
    text = text.replace("ø", "o").replace("ł", "l").replace("đ", "d").replace("ı", "i")
    for pattern in _DATES:
        text = pattern.sub(_date, text)
    text = re.sub(r"([$£€¥₹])\s?(\d[\d,.]*\d|\d)((?: (?:hundred|thousand|million|billion|trillion))?)", _money, text)
    text = re.sub(r"(?<=\d)\s?%|\bper cent\b", " percent", text)
    text = re.sub(r"\s*&\s*", " and ", text)
    text = re.sub(r"\b(?:from |between )?(\d{1,4}) ?(?:-|to|until|through|and) ?(\d{1,4})(?![\d-])", _span, text)
    return _numbers_in_digits(text)


def _date(found: re.Match[str]) -> str:
    parts = found.groupdict()
    month = _MONTH[parts["name"]] if parts.get("name") else int(parts["month"])
    return f"date{parts['year']}m{month}d{int(parts['day'])}"


def _money(found: re.Match[str]) -> str:
    return f"{found[2]}{found[3]} {_MONEY[found[1]]}"


def _span(found: re.Match[str]) -> str:
    joined = found[0]
    if " and " in joined and not joined.startswith("between "):
        return joined
    return f"{found[1]} to {found[2]}"


def _numbers_in_digits(text: str) -> str:
    """Write the numbers in words as digits: four, twenty-one, 1.5 million, second."""
    words = re.sub(r"\b((?:twen|thir|for|fif|six|seven|eigh|nine)ty)-(?=[a-z])", r"\1 ", text).split()
    out: list[str] = []
    place = 0
    while place < len(words):
        value, used = _number_at(words, place)
        if used:
            out.append(value)
            place += used
        else:
            word = words[place].strip(".,")
            out.append(_ordinal(_ORDINALS[word]) if word in _ORDINALS else words[place])
            place += 1
    return " ".join(out)


def _number_at(words: list[str], place: int) -> tuple[str, int]:
    """Return the number that begins at `place`, in digits, and how many words it takes; ("", 0) where none begins."""
    total, current, used, seen = 0.0, 0.0, 0, False
    for word in words[place:]:
        bare = word.strip(".,")
        if bare in _SMALL and (not current or (current % 100 == 0) or (current % 10 == 0 and _SMALL[bare] < 10)):
            current += _SMALL[bare]
        elif not seen and _QUANTITY.fullmatch(bare) and len(bare) < 16:
            current = float(bare.replace(",", ""))
        elif bare in _LARGE and (seen or bare != "hundred"):
            current = max(current, 1.0) * _LARGE[bare]
            if _LARGE[bare] > 100:
                total, current = total + current, 0.0
        elif (
            bare == "and"
            and seen
            and words[place + used + 1 : place + used + 2]
            and (words[place + used + 1].strip(".,") in _SMALL and words[place + used - 1].strip(".,") in _LARGE)
        ):
            used += 1
            continue
        else:
            break
        seen = True
        used += 1
    if not seen or (used == 1 and not words[place].strip(".,").isalpha()):
        return "", 0
    value = total + current
    return (str(int(value)) if value == int(value) else repr(value)), used


def _ordinal(number: int) -> str:
    suffix = "th" if 10 < number % 100 < 14 else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{suffix}"
