"""Multiple choice: the options that a prompt lists, and the letter that a completion chooses."""

from __future__ import annotations

import re
from collections.abc import Sequence

from pfh_domains.qa.matching import exact_match

_REFERENCE = re.compile(r"\(?([A-Z])\)?")
_OPTION = re.compile(r"^[ \t]*(?:\(([A-Z])\)|([A-Z])[.):])[ \t]+(\S[^\n]*)$", re.MULTILINE)
_END = r"(?=[\s*\"'\])]{0,6}(?:$|\n|[.,;:!)]|because\b|since\b|as\b|[-–—]\s))"
_CHOSEN = re.compile(
    r"(?i:\b(?:answers?|option|choice|letter)\b[\s*\"':]{0,6}(?:\b(?:is|was|would be|must be|should be)\b)?"
    r"[\s*\"':]{0,6}(?:option |choice )?|\b(?:choose|pick|select|it is|it's)\s+(?:option |choice )?)"
    rf"[\s*\"']{{0,6}}(?:\(([A-Z])\)|([A-Z])(?![\w+#']){_END})",
)
_SEARCHED = 20_000
"""Characters at the end of a completion that are read."""
_FIRST = re.compile(rf"^[\s*\"']{{0,6}}(?:\(([A-Z])\)|([A-Z])(?:[.):]|(?![\w+#']){_END}))")


def letter_of(references: Sequence[str]) -> str | None:
    """Return the letter of the right option; None where the question is no multiple choice."""
    found = _REFERENCE.fullmatch(references[0].strip()) if references else None
    return found[1] if found else None


def options_in(prompt: str) -> dict[str, str]:
    """Return letter to text of the options that a prompt lists, a line each."""
    return {found[1] or found[2]: found[3].strip() for found in _OPTION.finditer(prompt)}


def chosen_letter(completion: str, options: dict[str, str]) -> str | None:
    """Return the one letter that a completion chooses; None where it chooses none, or several.

    A letter whose text is another option's chooses nothing.
    """
    text = completion.strip()[-_SEARCHED:]
    named = {found[1] or found[2] for found in _CHOSEN.finditer(text)}
    first = _FIRST.match(text.partition("\n")[0])
    if first:
        named.add(first[1] or first[2])
        said = text[first.end() :].partition("\n")[0].strip(" .*:-")
        letter = first[1] or first[2]
        if said and any(other != letter and exact_match(said, [told]) for other, told in options.items()):
            return None
        if re.search(rf"(?<![\w(])\(?(?!{letter}\b)[B-Z]\)?(?![\w'])", said) and len(said) < 20:
            return None
    return named.pop() if len(named) == 1 else None
