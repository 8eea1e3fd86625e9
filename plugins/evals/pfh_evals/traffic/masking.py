"""Personal data in logged requests, masked by rules before a model, the store or a report sees them.

Rules find what has a form: addresses, numbers, keys. Names of people have none: they need patterns of one's own.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from pfh.errors import UserError, content_of, reading

_LARGEST = 1 << 20
Rules = Sequence[tuple[str, str]]
"""(Name of what is found, pattern)."""


def _luhn(text: str) -> bool:
    """Say whether the digits are those of a payment card (ISO/IEC 7812-1)."""
    digits = [int(each) for each in re.sub(r"\D", "", text)]
    doubled = [sum(divmod(2 * digit, 10)) for digit in digits[-2::-2]]
    return 13 <= len(digits) <= 19 and (sum(doubled) + sum(digits[-1::-2])) % 10 == 0


def _iban(text: str) -> bool:
    """Say whether the check digits of an account number are right (ISO 13616, mod 97)."""
    plain = text.replace(" ", "")
    return 15 <= len(plain) <= 34 and int("".join(str(int(each, 36)) for each in plain[4:] + plain[:4])) % 97 == 1


def _phone(text: str) -> bool:
    return 8 <= sum(each.isdigit() for each in text) <= 15


def _address(text: str) -> bool:
    return all(int(part) < 256 for part in text.split("."))


def _always(text: str) -> bool:
    return True


# Every pattern begins behind a boundary or is of bounded length, so that none takes more than linear time.
BUILT_IN: Mapping[str, tuple[re.Pattern[str], Callable[[str], bool]]] = {
    "URL": (re.compile(r"\bhttps?://[^\s<>\"')\]]*[^\s<>\"')\].,;:!?]"), _always),
    "EMAIL": (re.compile(r"(?<![\w.+-])[\w.+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63}){1,8}"), _always),
    "KEY": (
        re.compile(
            r"(?<![\w-])(?:(?:sk|pk|rk)[-_][\w-]{16,200}|gh[pousr]_\w{20,200}|AKIA[0-9A-Z]{16}|xox[abprs]-[\w-]{10,200}"
            r"|eyJ[\w-]{10,2000}\.[\w-]{10,2000}(?:\.[\w-]{0,2000})?)"
        ),
        _always,
    ),
    "IBAN": (re.compile(r"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?\b"), _iban),
    "CARD": (re.compile(r"(?<![\d-])\d(?:[ -]?\d){12,18}(?![\d-])"), _luhn),
    "SSN": (re.compile(r"(?<![\d-])\d{3}-\d{2}-\d{4}(?![\d-])"), _always),
    "IP": (re.compile(r"(?<![\d.])\d{1,3}(?:\.\d{1,3}){3}(?![\d.])"), _address),
    "PHONE": (re.compile(r"(?<![\w.])(?:\+|00|0|\()\(?\d[\d ()/.-]{5,18}\d(?!\w)"), _phone),
}


def read_rules(file: str) -> tuple[tuple[str, str], ...]:
    """Read patterns of one's own: a name and a pattern a line; lines that begin with # say nothing.

    Raises:
        UserError: the file cannot be read, or a line is at fault.
    """
    with reading(f"The file of masks {file}", "give a text file with a NAME and a pattern a line"):
        lines = content_of(Path(file).expanduser(), _LARGEST).decode().splitlines()
    rules = []
    for number, line in enumerate(lines, start=1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        name, _, pattern = line.strip().partition(" ")
        try:
            empty = re.compile(pattern.strip()).match("") is not None
        except re.error as error:
            raise UserError(
                f"{file}, line {number}: {pattern.strip()!r} is no regular expression ({error})."
            ) from error
        if not re.fullmatch(r"[A-Z][A-Z0-9_]*", name) or empty:
            raise UserError(
                f"{file}, line {number}: a line is a NAME in capitals and a pattern that does not match nothing, such "
                "as `CUSTOMER C-[0-9]{6}`."
            )
        rules.append((name, pattern.strip()))
    return tuple(rules)


def masked(texts: Sequence[str], rules: Rules = ()) -> tuple[list[str], dict[str, int]]:
    """Return the texts of one request with what the rules find replaced, and how often each kind was found.

    One value has one mask in all texts, so that what refers to another turn still does.
    """
    names: dict[tuple[str, str], str] = {}
    counts: Counter[str] = Counter()
    every: list[tuple[str, re.Pattern[str], Callable[[str], bool]]] = []
    every += [(name, re.compile(pattern), _always) for name, pattern in rules]
    every += [(name, pattern, holds) for name, (pattern, holds) in BUILT_IN.items()]
    found = []
    for given in texts:
        text = given
        for name, pattern, holds in every:

            def put(match: re.Match[str], name: str = name, holds: Callable[[str], bool] = holds) -> str:
                if not holds(match[0]):
                    return match[0]
                counts[name] += 1
                known = sum(kind == name for kind, _ in names)
                return names.setdefault((name, match[0]), f"<{name}_{known + 1}>")

            text = pattern.sub(put, text)
        found.append(text)
    return found, dict(counts)
